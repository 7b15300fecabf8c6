"""The suite that `make verify` runs against a stack that is up, driven by the stack's outputs alone."""
