"""The shell side of set-up: env.sh, the engine step's messages, the tables that the steps read."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from operations.errors import InvalidInput
from scripts.pulumi_cli import ROOT
from scripts.up import own_image_name, own_images

SCRIPTS = sorted([*ROOT.glob("toolchain/**/*.sh"), ROOT / "images" / "build.sh", ROOT / "env.sh", ROOT / ".ci" / "run"])
BASH = shutil.which("bash") or "/bin/bash"
SHOW = "PATH PULUMI_BACKEND_URL PULUMI_CONFIG_PASSPHRASE_FILE PULUMI_SKIP_UPDATE_CHECK DOCKER_HOST"


def sourced(home: Path, before: str = "", **environment: str) -> dict[str, str]:
    """Variables as they are after `source env.sh` in a fresh shell whose home is `home`, in another folder."""
    show = "; ".join(f'printf "%s\\0" "{name}=${{{name}-}}"' for name in SHOW.split())
    answer = subprocess.run(
        [BASH, "-euc", f"{before}\nsource {ROOT}/env.sh\n{show}"],
        cwd=home,
        env={"HOME": str(home), "PATH": "/usr/local/bin:/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(entry.split("=", 1) for entry in answer.stdout.split("\0") if entry)


def step(name: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BASH, str(ROOT / "toolchain" / "steps" / name)],
        env={"HOME": "/nonexistent", "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_shell_script_is_well_formed(script: Path) -> None:
    answer = subprocess.run([BASH, "-n", str(script)], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr


def test_env_gives_a_private_passphrase_and_a_local_backend(tmp_path: Path) -> None:
    found = sourced(tmp_path)
    state = tmp_path / ".local" / "state" / "redis-topologies"
    assert found["PULUMI_BACKEND_URL"] == f"file://{state}/pulumi"
    passphrase = Path(found["PULUMI_CONFIG_PASSPHRASE_FILE"])
    assert passphrase.stat().st_mode & 0o777 == 0o600
    assert re.fullmatch("[0-9a-f]{64}", passphrase.read_text())
    assert (state / "pulumi").stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in state.iterdir()) == ["passphrase", "pulumi"]


def test_env_leaves_no_other_variable_behind(tmp_path: Path) -> None:
    names = f"compgen -v | grep -v -E '^(BASH|_|SECONDS|RANDOM|SRANDOM|EPOCH|PIPESTATUS|{SHOW.replace(' ', '|')}$)'"
    answer = subprocess.run(
        [BASH, "-c", f"before=$({names}); source {ROOT}/env.sh; diff <(echo \"$before\") <({names} | grep -v '^before$')"],
        env={"HOME": str(tmp_path), "PATH": "/usr/local/bin:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout


def test_two_shells_at_the_same_time_agree_on_one_passphrase(tmp_path: Path) -> None:
    program = f"source {ROOT}/env.sh; cat $PULUMI_CONFIG_PASSPHRASE_FILE"
    environment = {"HOME": str(tmp_path), "PATH": "/usr/local/bin:/usr/bin:/bin"}
    shells = [subprocess.Popen([BASH, "-c", program], env=environment, stdout=subprocess.PIPE) for _ in range(6)]
    assert len({shell.communicate()[0] for shell in shells}) == 1


def test_env_keeps_the_passphrase_of_the_first_time(tmp_path: Path) -> None:
    first = Path(sourced(tmp_path)["PULUMI_CONFIG_PASSPHRASE_FILE"]).read_text()
    assert Path(sourced(tmp_path)["PULUMI_CONFIG_PASSPHRASE_FILE"]).read_text() == first


def test_env_leaves_what_the_user_has_set(tmp_path: Path) -> None:
    found = sourced(tmp_path, PULUMI_BACKEND_URL="s3://states", PULUMI_CONFIG_PASSPHRASE="", DOCKER_HOST="tcp://engine:2375")
    assert found["PULUMI_BACKEND_URL"] == "s3://states"
    assert found["PULUMI_CONFIG_PASSPHRASE_FILE"] == ""
    assert found["DOCKER_HOST"] == "tcp://engine:2375"
    assert not (tmp_path / ".local").exists()


def test_env_sourced_twice_does_not_make_the_path_longer(tmp_path: Path) -> None:
    once = sourced(tmp_path)["PATH"]
    assert sourced(tmp_path, before=f"source {ROOT}/env.sh")["PATH"] == once
    assert once.split(":")[0] == f"{ROOT}/.venv/bin"


@pytest.mark.skipif(shutil.which("docker") is None, reason="needs the docker command")
def test_env_hands_on_the_engine_of_a_docker_context(tmp_path: Path) -> None:
    docker = "docker context create far --docker host=tcp://engine:2375 >/dev/null && docker context use far >/dev/null"
    assert sourced(tmp_path, before=docker)["DOCKER_HOST"] == "tcp://engine:2375"
    (tmp_path / "other").mkdir()
    assert sourced(tmp_path / "other")["DOCKER_HOST"] == ""


def test_an_engine_that_was_named_and_does_not_answer_is_not_replaced_by_another(tmp_path: Path) -> None:
    answer = step("engine.sh", DOCKER_HOST=f"unix://{tmp_path}/none.sock", HOME=str(tmp_path))
    assert answer.returncode == 69
    assert "none.sock (named by DOCKER_HOST) does not answer" in answer.stderr


def test_an_image_that_nobody_described_is_bad_usage(tmp_path: Path) -> None:
    answer = subprocess.run(
        [BASH, str(ROOT / "toolchain" / "steps" / "images.sh"), "redis-1.0"],
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 64
    assert "there is no image 'redis-1.0'; images/images.tsv has: redis-8.0" in answer.stderr


def test_the_image_table_agrees_with_itself() -> None:
    rows = [
        line.split("\t")
        for line in (ROOT / "images" / "images.tsv").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert {len(row) for row in rows} == {7}
    for name, tag, _, _, engine, version, packages in rows:
        if engine != "-":
            assert name == f"{engine}-{version}"
            assert tag == f"redis-topologies/node:{name}"
            assert f"{engine}-server" in packages.split()


def test_an_image_of_ours_is_built_and_others_are_pulled() -> None:
    known = own_images()
    assert known == ("redis-8.0", "redis-7.0", "valkey-8.1", "valkey-9.1")
    assert own_image_name("redis-topologies/node:valkey-9.1", known) == "valkey-9.1"
    assert own_image_name("redis:8", known) is None


def test_an_engine_version_without_an_image_is_refused_with_the_choices() -> None:
    with pytest.raises(InvalidInput, match=r"no image for redis 6\.2; use redis 8\.0, .*engine\.image"):
        own_image_name("redis-topologies/node:redis-6.2", own_images())


def test_the_pulumi_packages_are_those_that_the_toolchain_provides() -> None:
    versions = dict(re.findall(r"^(\w+)=([\d.]+)$", (ROOT / "toolchain" / "versions.env").read_text(), re.MULTILINE))
    locked = dict(re.findall(r"^([a-z-]+)==([\d.]+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    assert locked["pulumi"] == versions["PULUMI_VERSION"]
    assert locked["pulumi-docker"] == versions["PULUMI_DOCKER_VERSION"]


@pytest.mark.parametrize(("folder", "least"), [(".", 41), ("applications", 5)])
def test_every_locked_package_has_hashes_and_no_index_is_named(folder: str, least: int) -> None:
    text = (ROOT / folder / "requirements.txt").read_text()
    entries = re.findall(r"^[A-Za-z0-9_.-]+==.*?(?=^[A-Za-z0-9]|\Z)", text, re.MULTILINE | re.DOTALL)
    assert len(entries) >= least
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    assert "://" not in text


def locked_in(folder: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / folder / "requirements.txt").read_text(), re.MULTILINE))


@pytest.mark.parametrize("folder", [".", "applications"])
def test_everything_that_is_asked_for_is_locked(folder: str) -> None:
    asked = re.findall(r"^([A-Za-z0-9-]+)", (ROOT / folder / "requirements.in").read_text(), re.MULTILINE)
    assert [name for name in asked if name.lower() not in locked_in(folder)] == []


def test_a_package_of_both_locks_has_one_version() -> None:
    ours, theirs = locked_in("."), locked_in("applications")
    assert {name: theirs[name] for name in ours if name in theirs} == {name: ours[name] for name in theirs if name in ours}
