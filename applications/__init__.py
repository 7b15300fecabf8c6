"""How backends use Redis: one small module per use, written to survive a failover, and beside each, in `careless`, the version
that people write. Standard library and redis-py alone (but for `library_limiter`), so that a module can be copied into an
application.

All work on one server, behind sentinels and in a cluster: every key of one use carries one hash tag.
"""
