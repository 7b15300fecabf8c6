"""Extra server parameters are checked against what the servers of each version really know."""

import csv
from pathlib import Path
from typing import Any

import pytest

from topologies.addresses import addressing
from topologies.parameters import OWNED, catalogue, check_parameters, parameter_text, recorded
from topologies.plan import make_plan
from topologies.render import USERS, stack_files
from topologies.rules.engine import OWN_VERSIONS
from topologies.spec import DEFAULT_VERSIONS, Spec

ROOT = Path(__file__).resolve().parents[2]
ENGINES = [(name, version) for name, versions in OWN_VERSIONS.items() for version in versions]


def spec(parameters: dict[str, Any], **engine: str) -> Spec:
    return Spec.model_validate({"topology": "cluster", "engine": engine, "parameters": parameters})


def problems(parameters: dict[str, Any], **engine: str) -> list[str]:
    return [str(problem) for problem in check_parameters(spec(parameters, **engine))[0]]


@pytest.mark.parametrize(
    "parameters",
    [
        {"hz": 20},
        {"hz": "20"},
        {"maxmemory-clients": "10%"},
        {"maxmemory-clients": "64mb"},
        {"proto-max-bulk-len": "256mb"},
        {"activedefrag": True},
        {"lazyfree-lazy-eviction": "yes"},
        {"loglevel": "warning"},
        {"oom-score-adj": False},
        {"notify-keyspace-events": "Ex"},
        {"notify-keyspace-events": ""},
        {"slowlog-log-slower-than": -1},
        {"unixsocketperm": 700},
        {"latency-tracking-info-percentiles": "50 99 99.9"},
        {"io-threads": 4},
    ],
)
@pytest.mark.parametrize(("name", "version"), ENGINES)
def test_parameters_that_every_engine_takes_pass(name: str, version: str, parameters: dict[str, Any]) -> None:
    assert problems(parameters, name=name, version=version) == []


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"maxmemory-smples": 5}, "parameters.maxmemory-smples is not a parameter of redis 8.0; did you mean maxmemory-samples?"),
        (
            {"nothing-like-it-at-all": 1},
            "parameters.nothing-like-it-at-all is not a parameter of redis 8.0; see configs/parameters/redis-8.0.json for those "
            "it has",
        ),
        (
            {"cluster-databases": 2},
            "parameters.cluster-databases is not a parameter of redis 8.0; remove it, or use an engine that knows it: valkey 9.1",
        ),
        ({"HZ": 20}, "parameters is HZ, which cannot be the name of a parameter; did you mean hz?"),
        ({"a\nb": 20}, 'parameters is "a\\nb", which cannot be the name of a parameter; use letters, digits and hyphens'),
        ({"hz": "fast"}, "parameters.hz is fast but must be a whole number; use 0 to 2147483647"),
        ({"hz": -1}, "parameters.hz is -1, which is out of range; use 0 to 2147483647"),
        ({"hz": 10.5}, "parameters.hz is 10.5 but must be a whole number; use 0 to 2147483647"),
        ({"hz": True}, "parameters.hz is true but must be a whole number; use 0 to 2147483647"),
        ({"proto-max-bulk-len": "big"}, "parameters.proto-max-bulk-len is big but must be a size; use for example 64mb"),
        (
            {"proto-max-bulk-len": "1kb"},
            "parameters.proto-max-bulk-len is 1kb, which is out of range; use 1048576 to 9223372036854775807",
        ),
        ({"activedefrag": 1}, "parameters.activedefrag is 1 but must be yes or no; use yes or no"),
        (
            {"loglevel": "loud"},
            "parameters.loglevel is loud, which is not possible here; use debug, verbose, notice, warning or nothing",
        ),
        ({"io-threads": 500}, "parameters.io-threads is 500, which is out of range; use 1 to 128"),
        (
            {"slave-priority": 5},
            "parameters.slave-priority is 5 but slave-priority is an old name of replica-priority; "
            "use parameters.replica-priority",
        ),
        ({"maxmemory": "1gb"}, "parameters.maxmemory is 1gb but belongs to memory.maxmemory; use memory.maxmemory"),
        (
            {"min-slaves-to-write": 1},
            "parameters.min-slaves-to-write is 1 but belongs to replication.min_replicas_to_write; "
            "use replication.min_replicas_to_write",
        ),
        (
            {"dir": "/tmp"},  # noqa: S108
            "parameters.dir is /tmp but cannot be set, because files of a node have fixed places on its data volume; remove it",
        ),
        (
            {"requirepass": "hunter2"},
            "parameters.requirepass is *** but cannot be set, because users and passwords are made by the toolkit; remove it",
        ),
        ({"tls-port": 6380}, "parameters.tls-port is 6380 but this release does not set up TLS; remove it"),
        (
            {"notify-keyspace-events": "E\nrequirepass x"},
            'parameters.notify-keyspace-events is "E\\nrequirepass x" but a value cannot hold quotes, backslashes '
            "or line breaks; "
            "write it without them",
        ),
        (
            {"rename-command": "FLUSHALL x"},
            'parameters.rename-command is "FLUSHALL x" but cannot be set, because the toolkit needs the server\'s own command '
            "names; remove it",
        ),
    ],
)
def test_parameters_that_cannot_work_are_refused(parameters: dict[str, Any], sentence: str) -> None:
    assert problems(parameters) == [sentence]


def test_no_secret_is_repeated_in_a_message() -> None:
    for name in ("requirepass", "masterauth", "primaryauth", "tls-key-file-pass"):
        assert "hunter2" not in "".join(problems({name: "hunter2"}, name="valkey"))


def test_an_image_of_an_unknown_version_gets_a_warning_and_still_no_owned_parameter() -> None:
    made = spec({"hz": 20, "new-in-8-9": 1, "port": 7000}, image="redis:8.9", version="8.9")
    refused, doubted = check_parameters(made)
    assert [finding.path for finding in refused] == ["parameters.port"]
    assert [finding.path for finding in doubted] == ["engine.version"]
    assert "hz, new-in-8-9 or port cannot be checked here" in str(doubted[0])


def test_an_image_of_a_known_version_is_checked_like_the_toolkits_own() -> None:
    assert problems({"hz": "x"}, image="redis:8.0", version="8.0") != []


@pytest.mark.parametrize(("name", "version"), ENGINES)
def test_what_changes_live_and_what_is_fixed_at_boot_is_known(name: str, version: str) -> None:
    known = catalogue(name, version)
    assert known is not None
    live = {
        parameter: found.live
        for parameter in ("maxmemory", "hz", "databases", "tcp-backlog", "rdbchecksum")
        if (found := known.find(parameter))
    }
    assert live == {"maxmemory": True, "hz": True, "databases": False, "tcp-backlog": False, "rdbchecksum": False}
    assert known.exact_version.startswith(f"{version}.")
    old, new = known.find("slave-priority"), known.find("replica-priority")
    assert old == new is not None


def test_io_threads_can_change_live_only_where_the_server_says_so() -> None:
    live = {engine: found.live for engine in ENGINES if (known := catalogue(*engine)) and (found := known.find("io-threads"))}
    assert live == {("redis", "7.0"): False, ("redis", "8.0"): False, ("valkey", "8.1"): False, ("valkey", "9.1"): True}


def test_there_is_a_list_for_every_version_that_has_an_image_and_for_the_defaults() -> None:
    assert sorted(recorded()) == sorted(ENGINES)
    assert all(version in OWN_VERSIONS[name] for name, version in DEFAULT_VERSIONS.items())
    with (ROOT / "images" / "images.tsv").open() as table:
        rows = [row for row in csv.reader(table, delimiter="\t") if not row[0].startswith("#")]
    assert sorted((row[4], row[5]) for row in rows if row[4] != "-") == sorted(ENGINES)


@pytest.mark.parametrize("topology", ["standalone", "replication", "sentinel", "cluster"])
@pytest.mark.parametrize(("name", "version"), ENGINES)
def test_whatever_the_toolkit_writes_is_known_to_the_server_and_not_for_users(name: str, version: str, topology: str) -> None:
    made = Spec.model_validate({"topology": topology, "engine": {"name": name, "version": version}})
    plan = make_plan(made, "shop", addressing(7))
    files = stack_files(plan, dict.fromkeys(USERS, "x"))
    written = {line.split(" ")[0] for line in files["data/declared.conf"].splitlines() if line}
    known = catalogue(name, version)
    assert known is not None
    assert written
    assert {parameter for parameter in written if known.find(parameter) is None} == set()
    assert {p for p in written if p not in OWNED and known.aliases.get(p, p) not in OWNED} == set()


@pytest.mark.parametrize(("value", "text"), [(True, "yes"), (False, "no"), (10, "10"), (0.5, "0.5"), ("64mb", "64mb")])
def test_values_are_written_as_the_configuration_file_has_them(value: bool | float | str, text: str) -> None:
    assert parameter_text(value) == text
