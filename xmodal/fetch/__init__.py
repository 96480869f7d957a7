"""YouTube-8M from its servers: shards, the vocabulary, and the YouTube ids of clips."""
