"""Brings snapshots into a running stack of any shape, key by key; see docs/decisions/0058."""
