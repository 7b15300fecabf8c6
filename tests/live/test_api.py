"""The shop of examples/api on a stack that `pulumi up` made, asked from outside; and what its visitors see of a drill."""

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import FIGURE
from tests.live.harness import ROOT, Stack, run, throw_away_stack
from tests.live.lifecycle import FAST, UP_SECONDS, Record

API = ROOT / "examples" / "api"
PYTHON = API / ".venv" / "bin" / "python"
MISSING = "" if (API / ".venv" / ".complete").exists() else "examples/api/.venv is missing; bash toolchain/steps/api.sh makes it"
LIMIT = 40
NOTICED_SECONDS = 0.5

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)


@pytest.fixture(scope="module", params=["cluster", pytest.param("sentinel", marks=pytest.mark.full)])
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    topology, folder = request.param, tmp_path_factory.mktemp("api")
    with throw_away_stack("api", ROOT / "configs" / f"{topology}.yaml", folder, request.config, **FAST[topology]) as made:
        made.up().ok()
        made.wait_healthy(made.access(), UP_SECONDS)
        yield made


@contextmanager
def serving(stack: Stack, folder: Path, **settings: str) -> Iterator[int]:
    """The port of a shop on the stack."""
    connection = stack.outputs()["connection"]
    driver = (
        "import sys, json; from pathlib import Path; from drill import environment, service\n"
        "told = json.loads(sys.stdin.readline()); folder = Path(told['folder'])\n"
        "env = environment(folder, told['connection'], **told['settings'])\n"
        "with service(env, folder / 'log') as url: print(url, flush=True); sys.stdin.read()"
    )
    told = json.dumps({"folder": str(folder), "connection": connection, "settings": settings})
    command = [sys.executable, "-c", driver]
    with subprocess.Popen(command, cwd=API, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(told + "\n")
        process.stdin.flush()
        try:
            url = process.stdout.readline().strip()
            assert url, "the shop did not come up"
            yield int(url.rpartition(":")[2])
        finally:
            process.stdin.close()


@pytest.fixture(scope="module")
def port(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with serving(stack, tmp_path_factory.mktemp("shop"), RATE_LIMIT=str(LIMIT), PERSON_SECONDS="20") as found:
        yield found


class Answer:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.data: Any = json.loads(response.read() or b"null")


def ask(port: int, method: str, path: str, session: str = "") -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, headers={"cookie": f"session={session}"} if session else {})
        return Answer(connection.getresponse())
    finally:
        connection.close()


def log_in(port: int, user: str) -> str:
    answer = ask(port, "POST", f"/login?user={user}")
    assert answer.status == 200
    return str(answer.headers["set-cookie"]).partition("session=")[2].partition(";")[0]


def test_a_page_comes_from_the_cache_the_second_time(port: int) -> None:
    first, second = ask(port, "GET", "/products/tea"), ask(port, "GET", "/products/tea")
    assert (first.headers["x-cache"], second.headers["x-cache"]) == ("miss", "hit")
    assert first.data == second.data


def test_a_session_begins_with_the_login_and_ends_with_the_logout(port: int) -> None:
    session = log_in(port, "ann")
    assert ask(port, "GET", "/me", session).data == {"user": "ann"}
    ask(port, "POST", "/logout", session)
    assert ask(port, "GET", "/me", session).status == 401
    assert ask(port, "GET", "/me", "guessed").status == 401


def test_many_orders_at_once_are_numbered_without_a_gap(port: int) -> None:
    session = log_in(port, "ann")
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: ask(port, "POST", "/products/cup/orders", session), range(40)))
    assert [answer.status for answer in answers] == [201] * 40
    assert sorted(answer.data["number"] for answer in answers) == list(range(1, 41))


def test_too_many_logins_are_refused_with_the_time_to_come_back(port: int) -> None:
    answers = [ask(port, "POST", f"/login?user=guest-{number}") for number in range(LIMIT + 20)]
    refused = [answer for answer in answers if answer.status == 429]
    assert refused and all(1 <= int(answer.headers["retry-after"]) <= 11 for answer in refused)


@pytest.mark.full
@pytest.mark.parametrize("drill", ["switchover", "crash-primary", "hang-primary", "isolate-primary", "rolling-restart"])
def test_a_drill_is_reported_as_visitors_see_it(stack: Stack, drill: str, tmp_path: Path, record_property: Record) -> None:
    command = [
        sys.executable,
        str(API / "drill.py"),
        drill,
        "--stack",
        stack.name,
        "--rate",
        "40",
        "--report",
        str(tmp_path),
        "--json",
    ]
    result = run(command, stack.env, seconds=400).ok()
    found = {(row["kind"], row["part"]): row for row in json.loads(result.output)}
    assert {kind for kind, _ in found} == {"page", "session", "order", "login"}
    for (kind, part), row in found.items():
        record_property(FIGURE, f"{drill}, {kind}, {part}: {100 * row['availability']:.2f} % of {row['requests']} good")
        assert row["broken"] == 0 or kind == "order", row
    assert all(found["page", part]["availability"] == 1 for part in ("before", "during", "after"))
    if drill in ("crash-primary", "hang-primary"):
        row = found["session", "during"]
        assert row["refused"] > 0 or row["slowest_seconds"] > NOTICED_SECONDS, "the fault was not seen at all"
