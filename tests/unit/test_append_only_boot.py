"""With which form of its data a node starts (configs/node/role.sh), run in a real shell on hand-made volumes."""

import os
import subprocess
from pathlib import Path

import pytest

ROLE = Path(__file__).resolve().parents[2] / "configs" / "node" / "role.sh"
SCRIPT = 'say() { :; }; . "$1"; settle_append_only; printf %s "$append_only"'


def started_with(folder: Path, declared: str, noted: str = "", log: int = 0, snapshot: int = 0) -> str:
    """What `appendonly` a node starts with. `noted` stands in its own file; `log` and `snapshot` are the times of its files."""
    data, shared = folder / "data", folder / "shared"
    (data / "appendonlydir").mkdir(parents=True)
    shared.mkdir()
    (shared / "declared.conf").write_text(f"maxmemory 1\nappendonly {declared}\n")
    if noted:
        (data / "server.conf").write_text(f"include {shared}/declared.conf\nappendonly {noted}\n")
    for time, path in ((log, data / "appendonlydir" / "appendonly.aof.1.incr.aof"), (snapshot, data / "dump.rdb")):
        if time:
            path.write_text("x")
            os.utime(path, (time, time))
    env = {**os.environ, "DATA": str(data), "shared": str(shared)}
    return subprocess.run(["sh", "-c", SCRIPT, "sh", str(ROLE)], env=env, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("declared", ["yes", "no"])
def test_a_new_volume_starts_as_declared(declared: str, tmp_path: Path) -> None:
    assert started_with(tmp_path, declared) == declared


@pytest.mark.parametrize(("declared", "noted"), [("yes", "yes"), ("no", "no"), ("no", "yes"), ("yes", "no")])
def test_a_node_starts_as_it_ran_the_last_time_whatever_is_declared_now(declared: str, noted: str, tmp_path: Path) -> None:
    assert started_with(tmp_path, declared, noted, log=100, snapshot=200) == noted


def test_a_log_from_before_a_switch_is_not_taken_up_again(tmp_path: Path) -> None:
    assert started_with(tmp_path, "yes", noted="no", log=300, snapshot=200) == "no"


def test_a_snapshot_without_a_log_is_never_hidden_by_an_empty_one(tmp_path: Path) -> None:
    assert started_with(tmp_path, "yes", noted="yes", snapshot=200) == "no"


@pytest.mark.parametrize(("log", "snapshot", "expected"), [(200, 100, "yes"), (100, 200, "no"), (200, 0, "yes")])
def test_on_a_volume_without_a_note_the_newest_data_counts(log: int, snapshot: int, expected: str, tmp_path: Path) -> None:
    assert started_with(tmp_path, "no", log=log, snapshot=snapshot) == expected


def test_an_empty_node_that_ran_with_a_log_keeps_it(tmp_path: Path) -> None:
    assert started_with(tmp_path, "yes", noted="yes") == "yes"


ASKED = """
say() { :; }; replace() { printf '%s\\n' "$2" > "$1"; }
. "$1"; . "${1%/*}/confirm.sh"
primary_elsewhere() { echo $ELSEWHERE; }
wait_for_failover() { touch "$DATA/waited"; }
own_lines() { :; }
settle_role; cp "$DATA/server.conf" "$DATA/first"; [ ! -e "$DATA/waited" ] || touch "$DATA/waited-first"
settle_role
"""


def settle(data: Path, shared: Path, topology: str, elsewhere: str) -> None:
    """Two starts of a node that was primary; `elsewhere` is whom the others name instead."""
    env = {**os.environ, "DATA": str(data), "shared": str(shared), "PORT": "6379", "TOPOLOGY": topology,
           "RESTART": "after-failover", "ELSEWHERE": elsewhere}  # fmt: skip
    told = subprocess.run(["sh", "-uc", ASKED, "sh", str(ROLE)], env=env, check=True, capture_output=True, text=True)
    assert told.stderr == ""


@pytest.mark.parametrize("restored", [True, False])
def test_a_primary_asks_who_took_over_but_not_at_the_one_start_after_a_restore_that_stopped_all_others(
    restored: bool, tmp_path: Path
) -> None:
    data, shared = tmp_path / "data", tmp_path / "shared"
    data.mkdir()
    shared.mkdir()
    (shared / "declared.conf").write_text("appendonly no\n")
    (data / "server.conf").write_text("appendonly no\n")
    if restored:
        (data / "restored").write_text("20260101\n")
    settle(data, shared, "sentinel", "10.0.0.9")
    assert ("replicaof" in (data / "first").read_text()) is not restored
    assert "replicaof 10.0.0.9 6379" in (data / "server.conf").read_text()
    assert (data / "waited-first").exists() is not restored


@pytest.mark.parametrize("topology", ["sentinel", "replication", "standalone", "cluster"])
def test_a_primary_that_can_have_been_replaced_starts_with_its_writes_refused_except_after_a_restore(
    topology: str, tmp_path: Path
) -> None:
    data, shared = tmp_path / "data", tmp_path / "shared"
    data.mkdir()
    shared.mkdir()
    (shared / "declared.conf").write_text("appendonly no\nmin-replicas-to-write 1\n")
    (data / "server.conf").write_text("appendonly no\n")
    (data / "restored").write_text("20260101\n")
    settle(data, shared, topology, "")
    refused = "min-replicas-to-write 1000000"
    assert refused not in (data / "first").read_text()
    assert (refused in (data / "server.conf").read_text().splitlines()[-1]) is (topology in ("sentinel", "replication"))
