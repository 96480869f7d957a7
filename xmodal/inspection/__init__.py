"""What shards hold, what is wrong with them, and copies without it."""
