"""Reading specs: YAML as it looks, overrides by path, every problem at once, no traceback for anything a user writes."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from operations.errors import ExitCode, InvalidInput
from topologies.load import load_spec, parse_spec
from topologies.spec import Spec

ROOT = Path(__file__).resolve().parents[2]


def read(text: str, **overrides: str) -> Spec:
    loaded = parse_spec(text, {name.replace("__", "."): value for name, value in overrides.items()})
    assert [str(problem) for problem in loaded.findings.problems] == []
    assert loaded.spec is not None
    return loaded.spec


def problems(text: str, overrides: dict[str, str] | None = None) -> list[str]:
    return [problem.located for problem in parse_spec(text, overrides).findings.problems]


def refusal(text: str) -> str:
    with pytest.raises(InvalidInput) as caught:
        parse_spec(text)
    return str(caught.value)


@pytest.mark.parametrize("name", ["standalone", "replication", "sentinel", "cluster"])
def test_the_specs_out_of_the_box_are_valid_without_a_warning_and_say_the_defaults(name: str) -> None:
    text = (ROOT / "configs" / f"{name}.yaml").read_text()
    loaded = parse_spec(text, stack=name)
    assert (loaded.findings.problems, loaded.findings.warnings) == ((), ())
    default = Spec.model_validate({"topology": name})
    assert loaded.spec is not None
    assert loaded.spec.model_copy(update={"shards": None, "replicas": None}) == default
    assert (loaded.spec.shard_count, loaded.spec.replica_count) == (default.shard_count, default.replica_count)
    template = (ROOT / "configs" / "stacks" / f"Pulumi.{name}.yaml").read_text()
    assert f"redis-topologies:spec: configs/{name}.yaml" in template


def test_values_mean_what_they_look_like() -> None:
    made = read(
        """
        topology: cluster
        engine: {version: 8.0}
        persistence: {aof: {fsync: no}}
        cluster: {full_coverage: yes, node_timeout_seconds: 2}
        memory: {maxmemory: 1gb}
        parameters: {unixsocketperm: 0700, repl-timeout: 90}
        """
    )
    assert made.engine.version == "8.0"
    assert made.persistence.aof.fsync == "no"
    assert made.cluster.full_coverage is True
    assert made.parameters == {"unixsocketperm": 700, "repl-timeout": 90}


def test_a_version_keeps_its_last_zero() -> None:
    assert "engine.version is 8.10 but the toolkit has images of" in problems("topology: cluster\nengine: {version: 8.10}")[0]


@pytest.mark.parametrize(
    ("path", "text", "found"),
    [
        ("shards", "5", lambda spec: spec.shards == 5),
        ("persistence.aof.fsync", "always", lambda spec: spec.persistence.aof.fsync == "always"),
        ("persistence.aof.fsync", "no", lambda spec: spec.persistence.aof.fsync == "no"),
        ("engine.version", "7.0", lambda spec: spec.engine.version == "7.0"),
        ("memory.maxmemory", "1gb", lambda spec: spec.memory.maxmemory == 1024**3),
        ("cluster.full_coverage", "true", lambda spec: spec.cluster.full_coverage is True),
        ("persistence.rdb.save", "[[60, 1]]", lambda spec: spec.persistence.rdb.save == ((60, 1),)),
        ("persistence", '{"policy":"both"}', lambda spec: spec.uses_rdb and spec.persistence.aof.fsync == "always"),
        ("parameters.hz", "20", lambda spec: spec.parameters == {"io-threads": 2, "hz": 20}),
        ("parameters", '{"hz": 20}', lambda spec: spec.parameters == {"io-threads": 2, "hz": 20}),
        ("network.subnet", "10.50.0.0/24", lambda spec: spec.network.subnet == "10.50.0.0/24"),
        ("replicas", "", lambda spec: spec.replicas is None),
    ],
)
def test_an_override_reaches_its_field_and_leaves_the_others(path: str, text: str, found: object) -> None:
    base = "topology: cluster\nreplicas: 2\npersistence: {aof: {fsync: always}}\nparameters: {io-threads: 2}\n"
    spec = parse_spec(base, {path: text}).spec
    assert spec is not None
    assert callable(found)
    assert found(spec)


@pytest.mark.parametrize(
    ("path", "text", "sentence"),
    [
        ("shard", "5", "shard is not a field of a spec; did you mean shards? (pulumi config)"),
        (
            "persistence.aof.fsyn",
            "no",
            "persistence.aof.fsyn is not a field of a spec; did you mean persistence.aof.fsync? (pulumi config)",
        ),
        ("fsync", "no", "fsync is not a field of a spec; did you mean persistence.aof.fsync? (pulumi config)"),
        (
            "sentinel.watchers",
            "3",
            "sentinel.watchers is not a field of a spec; use count, quorum, down_after_seconds, "
            "failover_timeout_seconds or service "
            "in sentinel (pulumi config)",
        ),
        ("shards", "many", "shards is many but must be a whole number; use 1 or more (pulumi config)"),
        (
            "shards",
            "2",
            "shards is 2 but a cluster needs at least 3 primaries to agree that one of them failed; use 3 to 48 (pulumi config)",
        ),
        (
            "persistence",
            "aof",
            "persistence is aof but is a section of several fields; write its fields below it, for example persistence.policy "
            "(pulumi config)",
        ),
        (
            "replication",
            '{"backlog": "1gb", "backlog": "2gb"}',
            "replication.backlog is given twice, in lines 1 and 1; keep one (pulumi config)",
        ),
    ],
)
def test_a_wrong_override_is_refused_and_says_where_it_came_from(path: str, text: str, sentence: str) -> None:
    assert sentence in problems("topology: cluster", {path: text})


def test_an_override_that_is_no_yaml_is_refused() -> None:
    (sentence,) = problems("topology: cluster", {"parameters.hz": "[1"})
    assert sentence.startswith('parameters.hz is "[1" but the override parameters.hz is not YAML in line 1')


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("shards: 3", "topology is missing; use standalone, replication, sentinel or cluster"),
        ("topology: clutser", "topology is clutser, which is not possible here; did you mean cluster? (line 1)"),
        ("topology: 3", "topology is 3, which is not possible here; use standalone, replication, sentinel or cluster (line 1)"),
        ("topology:", "topology is empty, which is not possible here; use standalone, replication, sentinel or cluster (line 1)"),
        ("topology: cluster\nshards: three", "shards is three but must be a whole number; use 1 or more (line 2)"),
        ("topology: cluster\nshards: 0", "shards is 0, which is out of range; use 1 or more (line 2)"),
        ("topology: cluster\nshards: 3\nshards: 4", "shards is given twice, in lines 2 and 3; keep one (line 2)"),
        ("topology: cluster\nengine: {nam: redis}", "engine.nam is not a field of engine; did you mean name? (line 2)"),
        ("topology: cluster\nfsync: always", "fsync is not a field of a spec; did you mean persistence.aof.fsync? (line 2)"),
        (
            "topology: cluster\nengine: redis",
            "engine is redis but is a section of several fields; write its fields below it, for example engine.name (line 2)",
        ),
        (
            "topology: cluster\nengine: {version: 8}",
            'engine.version is 8 but must be major.minor; write for example version: "8.0" (line 2)',
        ),
        (
            "topology: cluster\nsentinel: {service: a b}",
            'sentinel.service is "a b" but may hold letters, digits, dots, hyphens and '
            "underscores alone; use a name such as main (line 2)",
        ),
        (
            "topology: cluster\nmemory: {maxmemory: much}",
            "memory.maxmemory is much, which is not a size; write for example 256mb or 2gb (line 2)",
        ),
        (
            "topology: cluster\nmemory: {maxmemory: -1}",
            "memory.maxmemory is -1, which is out of range; write for example 256mb or 2gb (line 2)",
        ),
        (
            "topology: cluster\ncluster: {node_timeout_seconds: .inf}",
            "cluster.node_timeout_seconds is inf but must be a number; use more than 0, up to 3600 (line 2)",
        ),
        (
            "topology: cluster\nnetwork: {publish: maybe}",
            "network.publish is maybe but must be true or false; see network.publish in docs/guide/spec.md (line 2)",
        ),
        (
            "topology: cluster\nnetwork: {subnet: [1]}",
            "network.subnet is [1] but must be text; see network.subnet in docs/guide/spec.md (line 2)",
        ),
        (
            "topology: cluster\npersistence: {rdb: {save: [[60, 1], [0, 1]]}}",
            "persistence.rdb.save[1] is [0, 1] but is not a pair of "
            "whole numbers from 1 up; write save points as [seconds, changes], for example [[3600, 1], [60, 10000]] (line 2)",
        ),
        (
            "topology: cluster\npersistence: {rdb: {save: 60}}",
            "persistence.rdb.save is 60 but must be a list of save points; "
            "write save points as [seconds, changes], for example [[3600, 1], [60, 10000]] (line 2)",
        ),
        (
            "topology: cluster\nparameters: {hz: [1]}",
            "parameters.hz is [1] but a server parameter has a single value; write text, a number, true or false (line 2)",
        ),
        (
            "topology: cluster\nparameters: {hz: }",
            "parameters.hz is empty but a server parameter has a single value; write text, a number, true or false (line 2)",
        ),
        (
            "topology: cluster\nparameters: hz",
            "parameters is hz but is a section of several fields; write name: value below it (line 2)",
        ),
        (
            "topology: !!python/name:os.system x",
            "topology has the YAML tag !!python/name:os.system; write a plain value (line 1)",
        ),
    ],
)
def test_a_wrong_field_gives_one_sentence_with_its_line(text: str, sentence: str) -> None:
    assert sentence in problems(text)


def test_wrong_fields_overrides_and_broken_rules_are_all_listed_at_once() -> None:
    found = problems(
        "topology: sentinel\nshards: 5\nreplicas: two\nsentinel: {quorum: 4}\nmemory: {maxmemory: much}\nbogus: 1\n",
        {"restar": "never", "network.port_base": "65400"},
    )
    assert [sentence.split(" ")[0] for sentence in found] == [
        "restar",
        "replicas",
        "memory.maxmemory",
        "bogus",
        "shards",
        "sentinel.quorum",
        "network.port_base",
    ]


def test_a_rule_says_nothing_about_a_field_whose_value_was_refused() -> None:
    found = problems("topology: sentinel\nsentinel: {count: five, quorum: 4}\n")
    assert [sentence.split(" ")[0] for sentence in found] == ["sentinel.count"]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "is empty; write at least one line, for example topology: cluster"),
        ("# nothing\n", "is empty"),
        ("- 1", "holds a list where a mapping is needed"),
        ("cluster", "holds a single value where a mapping is needed"),
        ("topology: cluster\n\tshards: 3", "is not YAML in line 2, column 1"),
        ("topology: [", "is not YAML in line 1"),
        ("a: 1\n---\nb: 1", "is not YAML in line 2, column 1: expected a single document"),
        ("topology: \x00", "is not YAML: unacceptable character"),
        ("a: &a [*a]", "refers to itself by an alias"),
        ("[" * 2000, "is nested far too deeply for a spec"),
        (
            "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
            + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True)),
            "holds more than 20000 values, which is no spec",
        ),
    ],
)
def test_what_is_no_yaml_mapping_is_refused_with_the_place(text: str, part: str) -> None:
    assert part in refusal(text)


def test_a_missing_file_names_those_that_exist(tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text("topology: cluster")
    with pytest.raises(InvalidInput) as caught:
        load_spec(tmp_path / "clutser.yaml")
    assert str(caught.value) == f"there is no file {tmp_path}/clutser.yaml; did you mean {tmp_path}/cluster.yaml?"
    with pytest.raises(InvalidInput, match=r"the folder .* does not exist either"):
        load_spec(tmp_path / "none" / "cluster.yaml")
    with pytest.raises(InvalidInput, match=r"is a folder, not a spec; in .* are cluster\.yaml"):
        load_spec(tmp_path)


def test_a_file_that_is_no_text_or_endless_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "x.yaml"
    target.write_bytes(b"topology: \xff\xfe")
    with pytest.raises(InvalidInput, match="is not UTF-8 text"):
        load_spec(target)
    target.write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(InvalidInput, match=r"which is no spec; is it the right file\?"):
        load_spec(target)


def test_loading_raises_one_error_that_lists_everything_and_ends_with_65(tmp_path: Path) -> None:
    target = tmp_path / "x.yaml"
    target.write_text("topology: sentinel\nsentinel: {quorum: 4}\nshards: x\n")
    with pytest.raises(InvalidInput) as caught:
        load_spec(target)
    assert caught.value.exit_code == ExitCode.INVALID
    assert str(caught.value) == (
        f"{target} is not a valid spec, 2 problems:\n"
        "  - shards is x but must be a whole number; use 1 or more (line 3)\n"
        "  - sentinel.quorum is 4 but only 3 sentinels exist; use 1 to 3 (line 2)"
    )


def test_a_windows_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    target = tmp_path / "x.yaml"
    target.write_bytes(b"\xef\xbb\xbftopology: cluster\r\nshards: 3\r\n")
    assert load_spec(target).shards == 3


@given(st.text(max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        loaded = parse_spec(text)
    except InvalidInput:
        return
    assert loaded.findings.problems


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60)
@given(
    st.dictionaries(
        st.sampled_from([*Spec.model_fields, "bogus"]),
        _VALUES | st.dictionaries(st.sampled_from(["name", "count", "policy", "rdb"]), _VALUES),
    )
)
def test_no_values_break_the_checks(data: dict[str, object]) -> None:
    text = yaml.safe_dump({"topology": "sentinel", **data}, allow_unicode=True)
    try:
        loaded = parse_spec(text)
    except InvalidInput:
        return
    assert (loaded.spec is None) == bool(loaded.findings.problems)
    assert all("\n" not in str(problem) for problem in loaded.findings.problems)
