"""The drill's own disks: what is left after SIGKILL and how it is undone, what is copied, what a power cut dropped."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from drills.faults import disk_agent
from drills.faults.disk import account
from drills.faults.disks import AGENT, disk_volume, ground
from drills.targets import Roles
from operations.inventory import Inventory
from tests.unit.states import inventory_of

OWN, OTHER = 11, 22

MOUNTINFO = """\
36 35 98:0 / / rw,noatime shared:1 - ext4 /dev/vda rw
90 36 7:0 / /volumes/a/_data rw,noatime - ext4 /dev/loop0 rw
91 36 7:1 / /volumes/a/_data rw,noatime shared:7 master:2 - ext4 /dev/loop1 rw
92 36 0:44 / /with\\040space rw - tmpfs tmpfs rw
"""


def test_the_topmost_mount_of_a_place_comes_last() -> None:
    found = [mount for mount in disk_agent.mounts(MOUNTINFO) if mount.at == "/volumes/a/_data"]
    assert [mount.source for mount in found] == ["/dev/loop0", "/dev/loop1"]
    assert disk_agent.mounts(MOUNTINFO)[-1] == disk_agent.Mount("/with space", "tmpfs", "tmpfs")


@pytest.mark.parametrize(
    ("state", "inode", "done"),
    [
        ({}, OWN, "drop"),
        ({"step": "made"}, OWN, "drop"),
        ({"step": "attaching", "original": OWN}, OWN, "drop"),
        ({"step": "attaching", "original": OWN}, OTHER, "put back"),
        ({"step": "attached", "original": OWN}, OTHER, "copy"),
        ({"step": "copied", "original": OWN, "new": OTHER}, OWN, "exchange"),
        ({"step": "copied", "original": OWN, "new": OTHER}, OTHER, "drop"),
    ],
)
def test_what_was_left_tells_how_it_is_undone(state: dict[str, Any], inode: int, done: str) -> None:
    assert disk_agent.what_is_left(state, inode) == done


def test_from_the_moment_the_image_is_in_use_its_content_is_kept_whatever_the_folder_is() -> None:
    assert disk_agent.what_is_left({"step": "attached", "original": OWN}, OWN) == "copy"


def test_the_state_is_written_whole_and_read_back(tmp_path: Path) -> None:
    assert disk_agent.read_state(str(tmp_path)) == {}
    disk_agent.write_state(str(tmp_path), step="attaching", original=OWN)
    assert disk_agent.read_state(str(tmp_path)) == {"step": "attaching", "original": OWN}
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


def test_a_copy_keeps_content_modes_times_and_links_and_leaves_out_what_is_the_drills_own(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "appendonlydir").mkdir(parents=True)
    target.mkdir()
    log = source / "appendonlydir" / "a.aof"
    log.write_bytes(b"*1\r\n" * 1000)
    log.chmod(0o640)
    os.utime(log, (1_000, 2_000))
    (source / "link").symlink_to("appendonlydir/a.aof")
    (source / "lost+found").mkdir()
    (source / disk_agent.FILLER).write_bytes(b"0" * 4096)
    source.chmod(0o700)

    assert disk_agent.copy_tree(str(source), str(target)) == 4000

    copied = target / "appendonlydir" / "a.aof"
    assert copied.read_bytes() == log.read_bytes()
    assert stat.S_IMODE(copied.stat().st_mode) == 0o640 and copied.stat().st_mtime == 2_000
    assert (target / "link").readlink() == Path("appendonlydir/a.aof")
    assert sorted(path.name for path in target.iterdir()) == ["appendonlydir", "link"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o700


def test_two_folders_change_names_in_one_step(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
        (folder / folder.name).touch()
    disk_agent.exchange(str(one), str(other))
    assert (one / "other").exists() and (other / "one").exists()


def test_a_folder_without_a_partner_is_not_exchanged(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    with pytest.raises(OSError, match="exchange"):
        disk_agent.exchange(str(tmp_path / "one"), str(tmp_path / "none"))


def test_an_ordinary_folder_is_never_taken_for_the_drills_disk(tmp_path: Path) -> None:
    (tmp_path / disk_agent.IMAGE).touch()
    assert not disk_agent.ours(str(tmp_path), str(tmp_path))


def test_only_a_folder_on_the_drills_disk_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_agent, "find_engine", lambda _path: 0)
    monkeypatch.setattr(disk_agent, "enter", lambda _pid: None)
    with pytest.raises(disk_agent.Failed, match="is not the drill's disk, so it is not filled"):
        disk_agent.fill({"image": str(tmp_path), "data": str(tmp_path)})
    assert list(tmp_path.iterdir()) == []


def test_the_account_names_files_that_are_shorter_and_nothing_else() -> None:
    before = {"appendonlydir/a.incr.aof": 1_000, "appendonlydir/a.manifest": 80, "temp": 5}
    after = {"appendonlydir/a.incr.aof": 900, "appendonlydir/a.manifest": 80, "grown": 1}
    assert account(before, after, True) == "the journal was replayed, dropped: a.incr.aof 100 of 1,000 bytes, temp 5 of 5 bytes"
    assert account(after, after, False) == "the journal held nothing to replay, no file is shorter than it was"


def test_zeros_between_records_are_a_hole_and_zeros_in_values_are_not() -> None:
    record = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n"
    assert disk_agent.zeros(record * 3) == 0
    assert disk_agent.zeros(record + b"\0" * 54 + record) == 54
    assert disk_agent.zeros(record + b"\0" * 9) == 9
    assert disk_agent.zeros(b"*2\r\n$3\r\nGET\r\n$4\r\n\0\0\0\0\r\n") == 0


def roles(stack: Inventory, **primaries: str) -> Roles:
    return Roles(stack, {int(shard.removeprefix("shard_")): name for shard, name in primaries.items()})


def test_every_data_node_of_the_targets_shard_gets_a_disk_its_primary_last() -> None:
    stack = inventory_of("cluster")
    found = roles(stack, **{f"shard_{shard}": f"node-{shard}-1" for shard in stack.shards})
    word, nodes = ground("primary", found, [stack.node("node-2-1")])
    assert word == "primary of shard 2"
    assert {node.shard for node in nodes} == {2} and nodes[-1].name == "node-2-1" and len(nodes) > 1


def test_a_target_that_is_no_single_node_stays_as_it_is_and_sentinels_get_no_disk() -> None:
    stack = inventory_of("sentinel")
    word, nodes = ground("all", roles(stack, shard_1="node-1"), stack.nodes)
    assert word == "all"
    assert not any(node.is_sentinel for node in nodes) and nodes[-1].name == "node-1"


def test_the_volume_of_a_disk_carries_the_name_of_its_node() -> None:
    assert disk_volume(inventory_of("standalone").nodes[0]).endswith("node-1-drill-disk")


def test_the_agent_needs_nothing_but_the_standard_library_and_says_what_went_wrong(tmp_path: Path) -> None:
    told, place = json.dumps({"image": "/nowhere", "data": "/nowhere"}), tmp_path / "answer"
    asked = [sys.executable, "-I", "-c", AGENT.read_text(encoding="utf-8"), "space", told, str(place)]
    done = subprocess.run(asked, capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 3, done.stderr
    assert "cannot be found" in json.loads(place.read_text())["error"]
