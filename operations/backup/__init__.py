"""Backups of a whole topology in a restic repository: settings, jobs in a container beside the stack, catalogue, restore.

Everything that touches a repository runs in a container of the client image (`launch.py` starts it, `job.py` is its main), so the
machine that asks needs neither restic nor a way to the nodes. What decides is pure: `manifest.py`, `catalogue.py`,
`retention.py`, `sources.py`, `fit.py`.
"""
