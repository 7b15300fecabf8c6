"""The database behind the caches, on SQLite, and on a PostgreSQL of its own where Debian's package is installed."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from applications.origin import Origin, OriginDown, SqliteOrigin, postgres_at
from applications.origin_postgres import PostgresOrigin
from drills.workload.launcher import LoadFailed, start_process
from drills.workload.plan import Load, use_settings
from operations.errors import InvalidInput
from operations.inventory import Access, Credentials
from scripts.drill import read_origin
from tests.postgres import MISSING, Server
from tests.unit.states import inventory_of


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    if MISSING:
        pytest.skip(MISSING)
    with Server("127.0.0.1") as running:
        yield running


@pytest.fixture(params=["sqlite", "postgres"])
def origin(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Origin]:
    made: Origin
    if request.param == "sqlite":
        made = SqliteOrigin(tmp_path / "rows.sqlite")
    else:
        made = PostgresOrigin(request.getfixturevalue("server").url, "rows_of_a_test")
    made.create()
    yield made
    made.drop()


def test_the_version_of_a_row_grows_with_every_change(origin: Origin) -> None:
    assert origin.read("a") is None
    assert [origin.write("a", "one"), origin.write("a", "two"), origin.write("b", "one")] == [1, 2, 1]
    assert origin.read("a") == (2, "two")
    assert origin.all_keys() == ["a", "b"]


def test_an_older_change_that_comes_later_changes_nothing(origin: Origin) -> None:
    for number, value in ((1, "one"), (3, "three"), (2, "two"), (3, "again")):
        origin.apply("a", number, value)
    assert origin.read("a") == (3, "three")


def test_the_table_may_be_made_twice_and_dropped_twice(origin: Origin) -> None:
    origin.create()
    origin.drop()
    origin.drop()
    origin.create()
    assert origin.all_keys() == []


def test_an_origin_that_does_not_answer_is_down_and_comes_back(server: Server) -> None:
    origin = PostgresOrigin(server.url, "rows_of_a_test")
    origin.create()
    server.stop()
    with pytest.raises(OriginDown):
        origin.read("a")
    server.start()
    assert origin.read("a") is None
    origin.drop()


def test_a_wrong_password_is_told_without_it(server: Server) -> None:
    origin = PostgresOrigin(server.url.replace(server.password, "not-that"), "rows_of_a_test")
    with pytest.raises(OriginDown) as told:
        origin.read("a")
    assert "authentication failed" in str(told.value)
    assert "not-that" not in str(told.value)


@pytest.mark.parametrize(
    "url", ["", "mysql://u:secret@h/db", "postgresql://h/db", "postgresql://u:secret@/db", "postgresql://u:secret@h"]
)
def test_a_url_of_something_else_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ValueError, match="postgresql://USER:PASSWORD@HOST:PORT/DATABASE") as told:
        postgres_at(url)
    assert "secret" not in str(told.value)


def test_an_origin_that_cannot_be_reached_ends_the_applications_with_a_sentence() -> None:
    access = Access(inventory=inventory_of("sentinel"), credentials=Credentials.of({"app": "secret"}))
    unreachable = "postgresql://u:secret@127.0.0.1:1/db"
    told = use_settings(access, Load(), "run", {}, ["cache-aside"], 1, "/nowhere", inside=True, origin_url=unreachable)
    process = start_process(told.to_data(), lambda _lines: None, None, "application", "the applications")
    with process, pytest.raises(LoadFailed) as failed:
        process.ask("start", origin=0)
    assert re.search("the applications ended: the origin of cache-aside does not answer: .*127.0.0.1", str(failed.value))
    assert "secret" not in str(failed.value)
    assert "Traceback" not in str(failed.value)


@pytest.mark.parametrize(("text", "why"), [("mysql://u:secret@h/db", "it is not postgresql://"), (None, "No such file")])
def test_a_drill_refuses_a_file_without_the_url_of_a_postgresql(text: str | None, why: str, tmp_path: Path) -> None:
    file = tmp_path / "origin"
    if text is not None:
        file.write_text(text + "\n")
    with pytest.raises(InvalidInput, match=f"--origin {file} cannot be used: .*{why}") as told:
        read_origin(file)
    assert "secret" not in str(told.value)
    file.write_text("postgresql://u:p%40ss@h:5433/db\n")
    assert postgres_at(read_origin(file)) == {"user": "u", "password": "p@ss", "host": "h", "port": 5433, "database": "db"}


def test_what_is_no_name_for_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be the name of a table"):
        PostgresOrigin("postgresql://u@h/db", "rows; drop table users")
