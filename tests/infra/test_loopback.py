"""Published ports"""

from tests.infra.host import listeners
from tests.infra.subject import Subject


def test_somebody_listens_on_the_published_port_and_on_loopback_alone(node: Subject) -> None:
    assert listeners(node.entry.host_port) == {"127.0.0.1"}
