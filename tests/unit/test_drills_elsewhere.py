"""What a stack's backups know is kept aside and put back while nobody writes into it."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import DockerException

from drills.faults import elsewhere
from drills.faults.base import FaultFailed

NODE: Any = SimpleNamespace(name="node-1")


class Docker:
    """Notes what it is asked to do, in order. `fails` is a word of the script at which a helper's container fails."""

    def __init__(self, fails: str = "") -> None:
        self.done: list[str] = []
        self._fails = fails
        self.containers = self.volumes = self

    def list(self, **_: Any) -> Sequence[Any]:
        return [SimpleNamespace(name="agent", stop=self._note("stop"), start=self._note("start"), remove=self._note("remove"))]

    def run(self, _image: str, words: Sequence[str], **_: Any) -> None:
        self.done.append("keep" if elsewhere.KEEP in words[1] else "put back")
        if self._fails and self._fails in words[1]:
            raise DockerException("exit status 1")

    def create(self, _name: str, **_: Any) -> None:
        self.done.append("make room")

    def get(self, name: str) -> Any:
        return SimpleNamespace(remove=self._note(f"remove {name}"))

    def _note(self, what: str) -> Any:
        return lambda **_: self.done.append(what)


def engine(docker: Docker) -> Any:
    return SimpleNamespace(client=docker, inventory=SimpleNamespace(stack="shop"))


def test_the_agent_is_gone_before_what_it_writes_is_copied() -> None:
    docker = Docker()
    elsewhere.keep_home(engine(docker))
    assert docker.done == ["make room", "remove", "keep", "remove redis-shop-backup"]


@pytest.mark.parametrize("fails", [False, True])
def test_the_agent_stands_still_while_its_home_is_put_back_and_runs_again_whatever_came_of_it(fails: bool) -> None:
    docker = Docker("delete" if fails else "")
    if fails:
        with pytest.raises(FaultFailed, match="cannot be put back"):
            elsewhere.put_back_home(engine(docker))
    else:
        assert elsewhere.put_back_home(engine(docker))
    assert docker.done == ["stop", "put back", "start", *(() if fails else ("remove redis-shop-drill-home",))]


def test_a_heal_that_could_not_put_the_home_back_is_repeated_without_the_way_there_and_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ways = iter(["there and back"])
    monkeypatch.setattr(elsewhere.RestoreElsewhere, "_bring_back", lambda _: next(ways))
    docker = Docker("delete")
    fault = elsewhere.LoseMachine(engine(docker), [NODE], lambda _: None)
    with pytest.raises(FaultFailed, match="cannot be put back"):
        fault._bring_back()
    fault.engine = engine(Docker())
    assert fault._bring_back() == "there and back"
