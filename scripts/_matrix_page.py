"""docs/guide/choosing.md, made from what `scripts/matrix.py` measured and from nothing else."""

import os
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from drills.uses.base import badness, harm
from drills.uses.catalogue import USES

ROOT = Path(__file__).resolve().parent.parent
RAW = ROOT / "bench" / "results" / "choosing.json"
PAGE = ROOT / "docs" / "guide" / "choosing.md"
WIDTH = 130
_FORGETS = (
    "the client of a cluster learns the slots anew when any node fails it, and forgets with them all that it has read. What "
    "breaks this version is a primary that falls silent without anybody noticing, and among the keys of a cluster somebody does"
)
_PASSES_ON = (
    "a cluster passes a message on to all its nodes, so that only those miss any who listen at the node that fails, and what "
    "they miss may lie within what the policy can lose"
)
_NO_SLOT = "its keys have no slot in common, so that a cluster cannot take them in one step, and the drill refuses to play it"
UNBROKEN = {
    ("near-cache-careless", "cluster"): _FORGETS, ("broadcast-careless", "cluster"): _PASSES_ON,
    ("leaderboard-total", "cluster"): _NO_SLOT,
}  # fmt: skip
"""Why a careless version is not broken by any drill of a topology, or not even played, by version and topology."""


@dataclass(frozen=True)
class Policy:
    """A way to run a topology: what differs from configs/TOPOLOGY.yaml, and what it is in a sentence."""

    name: str
    settings: Mapping[str, str]
    sentence: str


POLICIES = (
    Policy("plain", {}, "as shipped: append-only file synced every second, the application does not wait for replicas"),
    Policy("wait-all", {"objectives.writes": "wait-all"}, "the application waits for every replica (WAIT) and checks the answer"),
    Policy("snapshots", {"persistence.policy": "rdb"}, "snapshots instead of an append-only file, nobody waits"),
)


class Fate(NamedTuple):
    """Verdict and sentence of a use in a drill, and whether its users lost something within what was promised."""

    verdict: str
    drill: str
    sentence: str
    harmed: bool

    @property
    def words(self) -> str:
        if self.verdict == "true":
            return "holds, with losses" if self.harmed else "holds"
        return {"false": "**breaks**", "unknown": "not known"}[self.verdict]


def worst(runs: Sequence[Mapping[str, Any]], use: str) -> Fate:
    """How a use fared in the run in which it fared worst, by its verdict, then by what was lost, then by what was late or too
    much; unknown where it was never played."""
    found = [(run, told) for run in runs for told in run["workloads"] if told["name"] == use]
    if not found:
        return Fate("unknown", "", "not measured", False)
    run, told = max(found, key=lambda one: badness(one[1]["verdict"], one[1]["figures"]))
    return Fate(str(told["verdict"]), str(run["drill"]), str(told["sentence"]), harm(told["figures"]) > 0)


def small(title: str) -> str:
    """A title inside a sentence."""
    return title[:1].lower() + title[1:]


def page(data: Mapping[str, Any]) -> str:
    """The whole page."""
    runs, careless = data["runs"], data.get("careless", [])
    policies = [policy for policy in POLICIES if any(run["policy"] == policy.name for run in runs)]
    lines = ["# Which topology and policy for which use?", "", _wrapped(introduction(data)), ""]
    lines += [_wrapped(f"- **{policy.name}**: {policy.sentence}") for policy in policies]
    for topology in dict.fromkeys(run["topology"] for run in runs):
        lines += ["", f"## {topology}", ""]
        lines += section([run for run in runs if run["topology"] == topology], data["uses"], policies)
    if careless:
        lines += ["", "## The careless versions", ""]
        lines += careless_section(careless)
    return "\n".join(lines) + "\n"


def introduction(data: Mapping[str, Any]) -> str:
    """What was played where and when, and how to read a cell."""
    runs = data["runs"]
    days = sorted({run["measured"] for run in runs})
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return (
        f"Made by `make matrix` from [what was measured]({os.path.relpath(RAW, PAGE.parent)}); do not edit. Every careful use of "
        "[applications/](applications.md) was played through drills on a stack of each kind, one run each "
        f"({played(runs)}; {when}, {data['machine']}). A cell is the worst of these drills, against what topology and policy can "
        "promise: under `plain` a failover may lose the writes of its last second, a partition those until the lag limit stops "
        "the old primary. *holds* means within that, *with losses* that users lost something, and the sentences say how much; "
        "*not known* is what could not be told, for instance because the machine stood still."
    )


def played(runs: Sequence[Mapping[str, Any]]) -> str:
    """The drills of every topology and policy, policies with the same ones together."""
    told = []
    for topology in dict.fromkeys(run["topology"] for run in runs):
        by_drills: dict[tuple[str, ...], list[str]] = {}
        for policy in dict.fromkeys(run["policy"] for run in runs if run["topology"] == topology):
            own = (run["drill"] for run in runs if (run["topology"], run["policy"]) == (topology, policy))
            by_drills.setdefault(tuple(own), []).append(policy)
        for drills, policies in by_drills.items():
            which = f" under {' and '.join(policies)}" if len(by_drills) > 1 else ""
            told.append(f"{topology}{which}: " + ", ".join(f"`{drill}`" for drill in drills))
    return "; ".join(told)


def section(runs: Sequence[Mapping[str, Any]], uses: Sequence[str], policies: Sequence[Policy]) -> Iterator[str]:
    """The table of a topology, and a sentence for each cell."""
    own = {policy.name: [run for run in runs if run["policy"] == policy.name] for policy in policies}
    fates = {(use, name): worst(found, use) for use in uses for name, found in own.items()}
    yield "| use | " + " | ".join(policy.name for policy in policies) + " |"
    yield "|---" * (len(policies) + 1) + "|"
    for use in uses:
        cells = (fates[use, policy.name] for policy in policies)
        words = (fate.words + (f" in {fate.drill}" if fate.words != "holds" and fate.drill else "") for fate in cells)
        yield f"| {use} | " + " | ".join(words) + " |"
    for use in uses:
        yield ""
        yield f"**{use}**: {small(USES[use].title) if use in USES else use}."
        for policy in policies:
            fate = fates[use, policy.name]
            where = f", {fate.drill}" if fate.drill else ""
            yield _wrapped(f"- {policy.name} {fate.words}{where}: {fate.sentence}.")


def careless_section(runs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """In which drill each careless version broke, and how; why not, where none broke it."""
    topologies = list(dict.fromkeys(run["topology"] for run in runs))
    versions = list(dict.fromkeys(told["name"] for run in runs for told in run["workloads"]))
    yield _wrapped(
        "What people write instead, through the same drills until each is broken "
        f"({played(runs)}; under `{runs[0]['policy']}`). A version that no drill breaks would prove that the drills see nothing."
    )
    yield ""
    yield "| version | " + " | ".join(topologies) + " |"
    yield "|---" * (len(topologies) + 1) + "|"
    own = {topology: [run for run in runs if run["topology"] == topology] for topology in topologies}
    fates = {(version, topology): worst(found, version) for version in versions for topology, found in own.items()}
    for version in versions:
        found = (fates[version, topology] for topology in topologies)
        words = (
            f"breaks in {fate.drill}" if fate.verdict == "false" else "not broken" if fate.drill else "not played"
            for fate in found
        )
        yield f"| {version} | " + " | ".join(words) + " |"
    for version in versions:
        yield ""
        yield f"**{version}**: {small(USES[version].title) if version in USES else version}."
        for topology in topologies:
            fate = fates[version, topology]
            why = UNBROKEN.get((version, topology), "nobody has said why")
            if not fate.drill:
                told = f"- {topology}: not played: {why}."
            else:
                told = f"- {topology}, {fate.drill}: {fate.sentence}."
                told += "" if fate.verdict == "false" else f" Not broken: {why}."
            yield _wrapped(told)


def _wrapped(text: str) -> str:
    indent = "  " if text.startswith("- ") else ""
    return textwrap.fill(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
