"""From shards to features: TFRecord files, the YouTube-8M schema, and sets to train on."""
