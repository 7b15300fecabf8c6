"""Checkers: pure functions over a history. Each file answers one question; none touches Docker or Redis."""
