"""The part of the agent that archives: a password that is not for a repository is not kept, and what status is told then."""

import json
from pathlib import Path
from typing import Any

import pytest

from operations.archive import agent as module
from operations.archive.agent import STATE, archive_repository
from operations.backup.session import Home, Session
from operations.backup.settings import BackupSettings
from operations.errors import Unreachable
from tests.unit.test_backup_parts import inventory


def work(folder: Path) -> Any:
    told = {
        "stack": "shop",
        "settings": BackupSettings(point_in_time=True, repository="rest:https://host:8000/").model_dump(mode="json"),
        "inventory": inventory("standalone").model_dump(mode="json"),
        "passwords": {"backup": "secret"},
    }
    return module._Work(Session(told, Home(folder), lambda _: None), lambda _: None)


class Others:
    """A repository that another password opens."""

    def prepare(self) -> None:
        raise Unreachable("another password")


def test_the_archive_has_a_repository_of_its_own_with_the_same_password(tmp_path: Path) -> None:
    session = work(tmp_path)._session
    found = archive_repository(session)
    assert found.place == "rest:https://host:8000/point-in-time/"
    assert found._environment["RESTIC_PASSWORD_FILE"] == session.repository._environment["RESTIC_PASSWORD_FILE"]


def test_secrets_that_are_stored_while_the_agent_works_are_used(tmp_path: Path) -> None:
    session = work(tmp_path)._session
    repositories = (session.repository, archive_repository(session))
    assert all("RESTIC_REST_PASSWORD" not in one._environment for one in repositories)
    session.home.store_secret("RESTIC_REST_PASSWORD", "secret")
    assert all(one._environment["RESTIC_REST_PASSWORD"] == "secret" for one in repositories)


@pytest.mark.parametrize("known", [True, False])
def test_a_new_password_is_kept_only_where_it_opens_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    one = work(tmp_path)
    monkeypatch.setattr(one._session.repository, "exists", lambda: False)
    if known:
        with one._session.home.ensured_password():
            pass
    with pytest.raises(Unreachable):
        one._begin(Others())
    assert one._session.home.password_file.exists() == known


def test_status_keeps_what_was_known_before_a_failure(tmp_path: Path) -> None:
    one = work(tmp_path)
    one._known = {"current_until": 1000.0, "restorable": [900, 999]}
    one._tell("repository", ["the repository is away"])
    one._note()
    told = json.loads((tmp_path / STATE).read_text())
    assert (told["current_until"], told["restorable"], told["problems"]) == (1000.0, [900, 999], ["the repository is away"])
