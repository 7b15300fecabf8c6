"""The load of a drill. Everything in here but `launcher.py` and `plan.py` runs inside the client container: standard library and
redis-py alone."""
