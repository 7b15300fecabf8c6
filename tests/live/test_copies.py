"""Copies of a stack that its backups make: a rehearsal when it is due, and a new cluster of another number of shards."""

import dataclasses
from collections.abc import Iterator

import pytest

from operations.clients import application_client
from tests.live.contents import contents, fill_all_types
from tests.live.harness import Stack, fresh_name, throw_away_stack
from tests.live.test_archive_agent import in_repository

pytestmark = [pytest.mark.live, pytest.mark.full]

SOURCE = {
    "topology": "standalone",
    "memory": {"maxmemory": "64mb"},
    "replication": {"backlog": "4mb"},
    "backup": {"schedule": "0 3 1 1 *", "rehearsal": "0 4 1 1 *"},
}


@pytest.fixture(scope="module")
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with throw_away_stack("copies", SOURCE, tmp_path_factory.mktemp("copies"), request.config) as made:
        made.up().ok()
        client = application_client(made.access())
        fill_all_types(client, "kept")
        client.close()
        made.script("backup", "create").ok()
        yield made


@pytest.fixture
def copy(stack: Stack) -> Iterator[Stack]:
    """A name beside the stack, in the same backend; what was made of it is removed."""
    made = dataclasses.replace(stack, name=fresh_name("copy"))
    kept = made.stack_file.with_name(f"{made.name}.yaml")
    try:
        yield made
    finally:
        made.remove()
        kept.unlink(missing_ok=True)


def test_a_rehearsal_is_run_when_it_is_due_and_status_says_when(stack: Stack) -> None:
    stack.script("status").failed(10).says("no backup was ever rehearsed")
    stack.script("backup", "rehearse", "--if-due").ok().says("was rehearsed")
    stack.script("backup", "rehearse", "--if-due").ok().says("no rehearsal is due before")
    stack.script("status").ok().says("rehearsal due 20")


def test_a_rehearsal_that_fails_turns_the_stack_red_and_leaves_nothing_behind(stack: Stack) -> None:
    in_repository(stack, "mv /repository/data /repository/away; mkdir /repository/data")
    try:
        stack.script("backup", "rehearse").failed(10).says("the rehearsal of backup", "failed")
        stack.script("status").failed(10).says("the last rehearsal failed")
        assert [name for name in stack.leftovers() if "rehearsal" in name] == []
    finally:
        in_repository(
            stack, "cp -a /repository/data/. /repository/away; rm -r /repository/data; mv /repository/away /repository/data"
        )
    stack.script("backup", "rehearse").ok()
    stack.script("status").ok()


def test_status_reminds_until_the_key_was_exported(stack: Stack) -> None:
    assert "export-key" in stack.script("status").text
    stack.script("backup", "export-key", text="correct horse battery").ok()
    assert "export-key" not in stack.script("status").text


def test_a_backup_becomes_a_new_cluster_of_so_many_shards(stack: Stack, copy: Stack) -> None:
    stack.script("restore", "--to", copy.name, "--shards", "2").failed(65).says("at least 3 primaries")
    assert copy.leftovers() == []
    stack.script("restore", "--to", copy.name, "--shards", "3").ok().says("is up with 3 shards")
    assert contents(copy.access()) == contents(stack.access())
    stack.script("restore", "--to", copy.name, "--shards", "4", "--replace").failed(64).says("has 3 shards, not 4")
    stack.script("restore", "--to", copy.name, "--shards", "3", "--replace").ok()
