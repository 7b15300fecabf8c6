"""The life of a stack of topology replication, on the default engine."""

from tests.live.lifecycle import Lifecycle


class TestReplication(Lifecycle):
    topology = "replication"
