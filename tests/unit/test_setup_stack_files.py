"""Stack files are made from committed templates; a name that nothing stands behind is refused."""

from pathlib import Path

import pytest
import yaml

from operations.errors import InvalidInput, UsageError
from scripts.pulumi_cli import ROOT
from scripts.stack_files import forget_salt, possible_stacks, prepare, settings, spec_path

TEMPLATE = "config:\n  redis-topologies:spec: configs/special.yaml\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "configs" / "stacks").mkdir(parents=True)
    (tmp_path / "configs" / "stacks" / "Pulumi.cluster.yaml").write_text(TEMPLATE)
    (tmp_path / "configs" / "mine.yaml").write_text("topology: standalone\n")
    return tmp_path


def test_a_stack_file_is_a_copy_of_its_template(root: Path) -> None:
    assert prepare("cluster", root)
    assert (root / ".stacks" / "Pulumi.cluster.yaml").read_text() == TEMPLATE
    assert spec_path("cluster", settings("cluster", root), root) == root / "configs" / "special.yaml"


def test_an_own_spec_needs_no_template(root: Path) -> None:
    assert prepare("mine", root)
    assert settings("mine", root) == {}
    assert spec_path("mine", {}, root) == root / "configs" / "mine.yaml"


def test_a_stack_file_that_exists_is_left_alone(root: Path) -> None:
    prepare("cluster", root)
    target = root / ".stacks" / "Pulumi.cluster.yaml"
    target.write_text("encryptionsalt: v1:abc\n")
    assert not prepare("cluster", root)
    assert target.read_text() == "encryptionsalt: v1:abc\n"


def test_nothing_but_the_stack_file_is_left_in_the_folder(root: Path) -> None:
    prepare("cluster", root)
    assert [path.name for path in (root / ".stacks").iterdir()] == ["Pulumi.cluster.yaml"]


def test_a_salt_of_an_earlier_state_is_forgotten(root: Path) -> None:
    prepare("cluster", root)
    target = root / ".stacks" / "Pulumi.cluster.yaml"
    target.write_text(f"encryptionsalt: v1:abc\n{TEMPLATE}")
    assert forget_salt("cluster", root)
    assert target.read_text() == TEMPLATE
    assert not forget_salt("cluster", root)


def test_a_file_of_nothing_but_a_salt_becomes_an_empty_configuration(root: Path) -> None:
    prepare("mine", root)
    (root / ".stacks" / "Pulumi.mine.yaml").write_text("encryptionsalt: v1:abc\n")
    assert forget_salt("mine", root)
    assert settings("mine", root) == {}


def test_a_salt_that_encrypted_values_need_is_kept(root: Path) -> None:
    prepare("mine", root)
    text = "encryptionsalt: v1:abc\nconfig:\n  redis-topologies:token:\n    secure: v1:xyz\n"
    (root / ".stacks" / "Pulumi.mine.yaml").write_text(text)
    assert not forget_salt("mine", root)
    assert (root / ".stacks" / "Pulumi.mine.yaml").read_text() == text


def test_an_unknown_stack_is_refused_with_the_names_that_exist(root: Path) -> None:
    with pytest.raises(InvalidInput, match=r"no stack clutser: .* use one of: cluster, mine"):
        prepare("clutser", root)
    assert not (root / ".stacks").exists()


def test_without_any_spec_the_error_says_so(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="none yet"):
        prepare("cluster", tmp_path)


@pytest.mark.parametrize("name", ["", "Cluster", "a b", "../x", "-a", "a" * 41, "a;b", "a\n"])
def test_a_name_that_docker_cannot_carry_is_refused(root: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a stack's name"):
        prepare(name, root)


def test_only_our_own_plain_settings_are_read(root: Path) -> None:
    prepare("mine", root)
    (root / ".stacks" / "Pulumi.mine.yaml").write_text(
        "encryptionsalt: v1:abc\nconfig:\n  docker:host: tcp://other\n  redis-topologies:shards: '5'\n"
        "  redis-topologies:persistence.aof.fsync: no\n  redis-topologies:token:\n    secure: v1:xyz\n"
    )
    assert settings("mine", root) == {"shards": "5", "persistence.aof.fsync": "no"}


@pytest.mark.parametrize("text", ["", "{}", "config:\n", "config: {}\n"])
def test_an_empty_configuration_has_no_settings(root: Path, text: str) -> None:
    prepare("mine", root)
    (root / ".stacks" / "Pulumi.mine.yaml").write_text(text)
    assert settings("mine", root) == {}


@pytest.mark.parametrize("text", ["- a\n", "config: 3\n", "config: {\n", "\x00"])
def test_a_broken_stack_file_is_named_in_the_error(root: Path, text: str) -> None:
    prepare("mine", root)
    (root / ".stacks" / "Pulumi.mine.yaml").write_text(text)
    with pytest.raises(InvalidInput, match=r"\.stacks/Pulumi\.mine\.yaml"):
        settings("mine", root)


def test_every_committed_template_names_a_spec_that_exists() -> None:
    templates = sorted((ROOT / "configs" / "stacks").glob("Pulumi.*.yaml"))
    assert [path.name.split(".")[1] for path in templates] == ["cluster", "replication", "sentinel", "standalone"]
    for path in templates:
        config = yaml.safe_load(path.read_text())["config"]
        assert (ROOT / config["redis-topologies:spec"]).is_file()


def test_the_stacks_out_of_the_box_are_possible() -> None:
    assert {"standalone", "replication", "sentinel", "cluster"} <= set(possible_stacks())
