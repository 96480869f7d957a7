"""From YouTube-8M's servers, and about its shards: download, YouTube ids, inspection, repair."""
