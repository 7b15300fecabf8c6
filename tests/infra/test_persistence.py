"""Persistence"""

from tests.infra.subject import Subject


def policy(node: Subject) -> str:
    return str(node.access.inventory.spec["persistence"]["policy"])


def test_the_append_only_file_is_on_as_declared(data_node: Subject) -> None:
    wanted = policy(data_node) in ("aof", "both")
    assert data_node.config("appendonly") == ("yes" if wanted else "no")
    assert data_node.info("persistence")["aof_enabled"] == ("1" if wanted else "0")


def test_the_append_only_file_lies_on_the_data_volume_exactly_when_declared(data_node: Subject) -> None:
    folder = f"{data_node.config('dir')}/{data_node.config('appenddirname')}"
    manifests = data_node.shell(f"for file in {folder}/*.manifest; do [ ! -s $file ] || echo $file; done").split()
    if policy(data_node) in ("aof", "both"):
        assert len(manifests) == 1, f"{data_node.name} keeps no append-only file in {folder}"
    else:
        assert manifests == []


def test_the_append_only_file_reaches_the_disk_as_often_as_declared(data_node: Subject) -> None:
    assert data_node.config("appendfsync") == data_node.access.inventory.spec["persistence"]["aof"]["fsync"]


def test_snapshots_are_taken_at_the_declared_points(data_node: Subject) -> None:
    points = data_node.access.inventory.spec["persistence"]["rdb"]["save"]
    wanted = " ".join(f"{seconds} {changes}" for seconds, changes in points) if policy(data_node) in ("rdb", "both") else ""
    assert data_node.config("save") == wanted


def test_the_server_writes_where_the_data_volume_is_mounted(data_node: Subject) -> None:
    assert data_node.config("dir") == "/data"


def test_the_last_write_rewrite_and_snapshot_succeeded(data_node: Subject) -> None:
    state = data_node.info("persistence")
    names = ("aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status")
    results = {name: state.get(name, "ok") for name in names}
    assert set(results.values()) == {"ok"}, results
    assert state["loading"] == "0"


def test_nobody_but_the_server_can_read_the_data(node: Subject) -> None:
    others = node.shell("for file in /data/*.conf /data/*.rdb; do [ ! -f $file ] || stat -c '%a %n' $file; done").splitlines()
    open_files = [line for line in others if not line.split()[0].endswith("0")]
    assert not open_files, f"others can read {open_files}"


def test_the_volume_says_what_it_belongs_to(data_node: Subject) -> None:
    lines = data_node.shell("cat /data/identity").splitlines()
    identity = dict(line.split("=", 1) for line in lines)
    inventory = data_node.access.inventory
    assert identity["stack"] == inventory.stack
    assert identity["node"] == data_node.name
    assert identity["topology"] == inventory.topology
    assert identity["engine"] == inventory.engine.name
    assert identity["version"] == inventory.engine.version
