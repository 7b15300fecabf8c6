"""Whose a stack is."""

from pathlib import Path

import pytest

from operations.owner import DEFAULT_BACKEND, backend_url, current_owner_id, owner_id


def test_an_owner_id_is_twelve_hexadecimal_digits_and_stays_the_same() -> None:
    first = owner_id("file:///var/state", "machine-1", "cluster")
    assert first == owner_id("file:///var/state", "machine-1", "cluster")
    assert len(first) == 12
    assert set(first) <= set("0123456789abcdef")


def test_stacks_of_one_backend_have_different_owners() -> None:
    assert owner_id("file:///var/state", "m", "cluster") != owner_id("file:///var/state", "m", "cluster-b")


def test_the_same_path_on_another_machine_is_another_backend() -> None:
    assert owner_id("file:///var/state", "machine-1", "cluster") != owner_id("file:///var/state", "machine-2", "cluster")


def test_a_shared_backend_is_the_same_from_every_machine() -> None:
    assert owner_id("s3://states", "machine-1", "cluster") == owner_id("s3://states/", "machine-2", "cluster")


def test_spellings_of_one_folder_are_one_backend(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "state")
    plain = owner_id(f"file://{tmp_path}/state", "m", "cluster")
    assert plain == owner_id(f"file://{tmp_path}/state/", "m", "cluster")
    assert plain == owner_id(f"file://{tmp_path}/other/../state?metadata=skip", "m", "cluster")
    assert plain == owner_id(f"file://{tmp_path}/link", "m", "cluster")


def test_the_home_folder_may_be_written_as_a_tilde() -> None:
    assert owner_id("file://~", "m", "cluster") == owner_id(f"file://{Path.home()}", "m", "cluster")


def test_the_backend_is_the_named_one_before_the_one_logged_in_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path))
    monkeypatch.delenv("PULUMI_BACKEND_URL", raising=False)
    assert backend_url() == DEFAULT_BACKEND
    (tmp_path / "credentials.json").write_text('{"current": "s3://states"}')
    assert backend_url() == "s3://states"
    assert current_owner_id("cluster") == owner_id("s3://states", "any", "cluster")
    monkeypatch.setenv("PULUMI_BACKEND_URL", "file:///elsewhere")
    assert backend_url() == "file:///elsewhere"


def test_unreadable_credentials_mean_the_default_backend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path))
    monkeypatch.delenv("PULUMI_BACKEND_URL", raising=False)
    (tmp_path / "credentials.json").write_text("not json")
    assert backend_url() == DEFAULT_BACKEND
