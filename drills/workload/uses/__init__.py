"""Simulated applications, one module per use of `applications`. They run inside the client container: standard library,
redis-py and `applications` alone."""
