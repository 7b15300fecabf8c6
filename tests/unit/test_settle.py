"""Users that were changed by hand are restored before anything else, also when some servers cannot be asked."""

from typing import Any

import pytest

from operations import settle
from operations.connect import Refused
from operations.errors import NotOurs, ToolkitError, Unreachable
from operations.inventory import Access, Credentials
from operations.settle import let_in, restore_own, restore_users
from tests.unit.fleets import FakeFleet
from tests.unit.states import inventory_of

INVENTORY = inventory_of("replication")
RESTORED = [("ACL", "LOAD"), ("CLIENT", "KILL", "USER", "default")]
ACCESS = Access(inventory=INVENTORY, credentials=Credentials.of({"replication": "s3cret"}))


class Changed(FakeFleet):
    """Of three servers the first cannot be asked, the second has users of somebody's own, the third is as declared."""

    def __init__(self) -> None:
        super().__init__(INVENTORY, {})
        self.answers: dict[str, Any] = {
            "node-1": Unreachable("nothing listens"), "node-2": {"replication": "cannot log in"}, "node-3": {},
        }  # fmt: skip

    def users_of(self, link: Any, _access: Access) -> Any:
        answer = self.answers[link.node.name]
        if isinstance(answer, ToolkitError):
            raise answer
        return answer


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> Changed:
    made = Changed()
    monkeypatch.setattr(settle, "users_of", made.users_of)
    return made


def test_users_are_restored_where_they_differ_before_the_shape_is_looked_at(fleet: Changed) -> None:
    told: list[str] = []
    let_in(ACCESS, fleet.as_fleet, told.append)
    assert told == ["users of node-2 are as declared again: replication"]
    assert {name: link.sent for name, link in fleet.links.items()} == {"node-1": [], "node-2": RESTORED, "node-3": []}


def test_a_replica_gets_the_password_back_with_which_it_follows_and_nobody_sees_it(fleet: Changed) -> None:
    for name, password in (("node-1", "s3cret"), ("node-2", "wrong"), ("node-3", "s3cret")):
        fleet.links[name].config = {"masteruser": "replication", "masterauth": password}
    told: list[str] = []
    restore_own(ACCESS, fleet.as_fleet, told.append)
    assert told == ["masterauth of node-2 as declared again"]
    assert fleet.links["node-2"].sent == [("CONFIG", "SET", "masterauth", "s3cret")]
    assert not fleet.links["node-1"].sent + fleet.links["node-3"].sent


def test_a_node_that_announces_another_address_announces_its_own_again(fleet: Changed) -> None:
    own = {node.name: node.address for node in INVENTORY.data_nodes}
    for name, link in fleet.links.items():
        link.config = {"replica-announce-ip": "10.1.2.3" if name == "node-3" else own[name], "replica-announce-port": "6379"}
    restore_own(ACCESS, fleet.as_fleet, print)
    assert [link.sent for link in fleet.links.values()] == [[], [], [("CONFIG", "SET", "replica-announce-ip", own["node-3"])]]


def test_at_the_end_a_server_that_cannot_be_asked_is_an_error_after_the_others_were_restored(fleet: Changed) -> None:
    with pytest.raises(Unreachable, match="nothing listens"):
        restore_users(ACCESS, fleet.as_fleet, print)
    assert fleet.links["node-2"].sent == RESTORED


@pytest.mark.parametrize(("error", "ends"), [(Refused("BUSY a script runs"), False), (NotOurs("a stranger"), True)])
def test_a_busy_server_is_left_to_the_shape_and_a_stranger_ends_everything(
    fleet: Changed, error: ToolkitError, ends: bool
) -> None:
    fleet.answers["node-1"] = error
    if ends:
        with pytest.raises(NotOurs):
            let_in(ACCESS, fleet.as_fleet, print)
    else:
        let_in(ACCESS, fleet.as_fleet, print)
