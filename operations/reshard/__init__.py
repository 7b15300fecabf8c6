"""Moving slots between the shards of a running cluster: plan, mover, journal; see docs/guide/reshard.md."""
