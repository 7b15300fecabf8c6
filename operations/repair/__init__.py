"""Repairing a broken cluster: what is wrong, what would be done about it, and doing it; see docs/guide/repair.md."""
