"""The archive of append-only files, for points in time; see docs/guide/point-in-time.md and docs/decisions/0059."""
