"""The digest of a data set: independent of order, of shards and of encodings; see docs/guide/digest.md."""
