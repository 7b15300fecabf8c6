"""The life of a stack of topology cluster, on the default engine."""

from tests.live.lifecycle import Lifecycle


class TestCluster(Lifecycle):
    topology = "cluster"
