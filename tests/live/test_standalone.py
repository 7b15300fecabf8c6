"""The life of a stack of topology standalone, on the default engine."""

from tests.live.lifecycle import Lifecycle


class TestStandalone(Lifecycle):
    topology = "standalone"
