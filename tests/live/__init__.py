"""Lifecycle tests: throw-away stacks made with the real Pulumi on the real Docker engine."""
