"""docs/guide/connecting.md quotes the examples word for word, all of them, and nothing else: what it shows is what is run."""

import re

import pytest

from tests.live.harness import ROOT
from topologies.outputs import timing
from topologies.spec import Spec

PAGE = ROOT / "docs" / "guide" / "connecting.md"
QUOTED = re.compile(r"^\*\*(examples/\S+)\*\*\n\n```(python|js)\n(.*?)```$", re.MULTILINE | re.DOTALL)
FOLDERS = {"python": "*.py", "node": "**/*.mjs"}
OTHERS = {f"examples/node/{name}.mjs" for name in ("uses", "shop", "node-redis/commands", "ioredis/commands")}
"""Not about connecting."""


def examples() -> set[str]:
    return {
        str(path.relative_to(ROOT))
        for folder, pattern in FOLDERS.items()
        for path in (ROOT / "examples" / folder).glob(pattern)
        if "node_modules" not in path.parts
    } - OTHERS


def test_the_guide_quotes_every_example_word_for_word(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-golden", default=False):
        PAGE.write_text(
            QUOTED.sub(lambda found: f"**{found[1]}**\n\n```{found[2]}\n{(ROOT / found[1]).read_text()}```", PAGE.read_text())
        )
    quoted = {found[1]: found[3] for found in QUOTED.finditer(PAGE.read_text())}
    assert set(quoted) == examples()
    for name, text in quoted.items():
        assert text == (ROOT / name).read_text(), f"{name} was changed; if that is meant: pytest tests/unit --update-golden"


def test_the_guide_shows_no_code_that_is_not_run() -> None:
    fences = re.findall(r"^```\w+$", PAGE.read_text(), re.MULTILINE)
    assert len(fences) == len(QUOTED.findall(PAGE.read_text()))


@pytest.mark.parametrize("topology", ["standalone", "replication", "sentinel", "cluster"])
def test_the_guide_says_the_patience_of_the_defaults(topology: str) -> None:
    patience = timing(Spec.model_validate({"topology": topology}))["patience_seconds"]
    row = next(line for line in PAGE.read_text().splitlines() if line.startswith("| `patience_seconds`"))
    others = topology in ("standalone", "replication")
    assert f"{patience} ({'others' if others else topology})" in row


def test_patience_outlasts_the_longest_window_that_the_spec_bounds() -> None:
    quick = timing(Spec.model_validate({"topology": "cluster", "cluster": {"node_timeout_seconds": 2}}))
    assert quick == {"connect_seconds": 1, "command_seconds": 2, "patience_seconds": 11}
    slow = timing(Spec.model_validate({"topology": "cluster", "cluster": {"node_timeout_seconds": 30}}))
    assert slow["patience_seconds"] > 2 * 30 + 1.3


def test_patience_is_that_of_a_restart_where_no_replica_may_take_over() -> None:
    """With one replica and one that must confirm, the promoted node refuses writes until the old one is back."""
    alone = {"topology": "cluster", "replicas": 1, "replication": {"min_replicas_to_write": 1}}
    assert timing(Spec.model_validate(alone)) == timing(Spec.model_validate({"topology": "standalone"}))
