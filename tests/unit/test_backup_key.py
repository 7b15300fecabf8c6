"""The key that reads backups elsewhere: opened by its passphrase alone, and never in the place of another one by mistake."""

from pathlib import Path

import pytest

from operations.backup.chores import export_key, import_key
from operations.backup.job import do_secret
from operations.backup.session import Home, Session
from operations.backup.settings import BackupSettings
from operations.errors import InvalidInput, Unreachable

PHRASE = "correct horse battery"


def session(folder: Path) -> Session:
    folder.mkdir(exist_ok=True)
    return Session({"stack": "shop", "settings": BackupSettings().model_dump(mode="json")}, Home(folder), lambda _: None)


@pytest.fixture
def exported(tmp_path: Path) -> str:
    one = session(tmp_path / "first")
    one.home.store_secret("password", "the password")
    one.home.store_secret("AWS_SECRET_ACCESS_KEY", "the key")
    one.home.store_secret("SSH_KEY", "several\nlines")
    return export_key(one, PHRASE)


def test_a_key_brings_all_secrets_to_another_machine_and_shows_none_of_them(exported: str, tmp_path: Path) -> None:
    other = session(tmp_path / "second")
    assert import_key(other, exported, PHRASE, replace=False)["stack"] == "shop"
    assert other.home.password_file.read_text() == "the password"
    assert other.home.secrets() == {"AWS_SECRET_ACCESS_KEY": "the key"}
    assert (tmp_path / "second" / "ssh_key").read_text() == "several\nlines\n"
    assert (tmp_path / "second" / "ssh_key").stat().st_mode & 0o077 == 0
    assert other.home.password_file.stat().st_mode & 0o077 == 0
    assert "password" not in exported


@pytest.mark.parametrize(
    "damage", [lambda key: key[:-8], lambda key: key.replace(key[40:44], "AAAA"), lambda key: f"no key {len(key)}"]
)
def test_a_wrong_passphrase_and_a_damaged_key_are_told_as_such(exported: str, tmp_path: Path, damage: object) -> None:
    other = session(tmp_path / "second")
    with pytest.raises(InvalidInput, match="does not open"):
        import_key(other, exported, "another phrase", replace=False)
    with pytest.raises(InvalidInput, match=r"does not open|damaged"):
        import_key(other, damage(exported), PHRASE, replace=False)  # type: ignore[operator]
    assert not other.home.password_file.exists()


def test_another_password_in_place_is_kept_unless_it_was_given_up(exported: str, tmp_path: Path) -> None:
    other = session(tmp_path / "second")
    other.home.store_secret("password", "mine")
    with pytest.raises(InvalidInput, match="another repository password already"):
        import_key(other, exported, PHRASE, replace=False)
    assert other.home.password_file.read_text() == "mine"
    import_key(other, exported, PHRASE, replace=True)
    assert other.home.password_file.read_text() == "the password"


def test_nothing_is_exported_before_there_is_a_password_or_under_a_short_phrase(tmp_path: Path) -> None:
    one = session(tmp_path / "first")
    with pytest.raises(Unreachable, match="no backup yet"):
        export_key(one, PHRASE)
    one.home.store_secret("password", "the password")
    with pytest.raises(InvalidInput, match="fewer than 12"):
        export_key(one, "short")


def test_a_key_that_was_exported_before_a_secret_changed_is_no_key_any_more(tmp_path: Path) -> None:
    one = session(tmp_path / "first")
    one.home.store_secret("password", "the password")
    export_key(one, PHRASE)
    for value, is_kept in (("the password", True), ("another one", False)):
        one.told = {"name": "password", "value": value}
        do_secret(one)
        assert bool(one.home.status()["exported"]) is is_kept


@pytest.mark.parametrize(
    ("name", "value"), [("password", " \n"), ("password", "two\nlines"), ("PATH", "/opt/mine"), ("SSH_KEY", " \n")]
)
def test_secrets_that_nobody_would_read_are_refused(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(InvalidInput):
        session(tmp_path / "first").home.store_secret(name, value)
