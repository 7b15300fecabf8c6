"""The life of a stack of topology sentinel, on the default engine."""

from tests.live.lifecycle import Lifecycle


class TestSentinel(Lifecycle):
    topology = "sentinel"
