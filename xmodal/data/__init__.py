"""From shards to features: the framing, the YouTube-8M schema, and sets ready to train on."""
