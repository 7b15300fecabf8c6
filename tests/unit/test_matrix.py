"""The page about topologies and policies is made from what was measured, and from nothing else."""

import json
from typing import Any

from scripts.matrix import PAGE, RAW, merged, page, worst


def ran(policy: str, drill: str, **verdicts: str) -> dict[str, Any]:
    workloads = [
        {"name": name, "verdict": verdict, "sentence": f"{name} in {drill}", "figures": {}} for name, verdict in verdicts.items()
    ]
    return {
        "topology": "cluster", "policy": policy, "drill": drill, "measured": "2026-01-01", "result": "met", "summary": "",
        "workloads": workloads,
    }  # fmt: skip


def data(*runs: dict[str, Any]) -> dict[str, Any]:
    return {
        "machine": "2 processors",
        "drills": {"cluster": ["a", "b"]},
        "uses": ["lock", "queue"],
        "runs": list(runs),
    }


def test_a_cell_is_the_worst_of_all_drills() -> None:
    runs = [ran("plain", "a", lock="true", queue="false"), ran("plain", "b", lock="unknown", queue="true")]
    assert worst(runs, "lock")[:2] == ("unknown", "b")
    assert worst(runs, "queue") == ("false", "a", "queue in a")
    assert worst(runs, "cache-aside")[0] == "unknown"


def test_the_page_says_what_holds_and_what_breaks_where() -> None:
    text = page(data(ran("plain", "a", lock="true", queue="false"), ran("wait-all", "a", lock="true", queue="true")))
    assert "| lock | holds | holds |" in text
    assert "| queue | **breaks** in a | holds |" in text
    assert "- plain **breaks**, a: queue in a." in text
    assert "snapshots" not in text


def test_a_use_that_was_not_measured_is_not_known() -> None:
    assert "| queue | not known |" in page(data(ran("plain", "a", lock="true")))


def test_the_page_of_the_guide_is_what_was_measured() -> None:
    if RAW.exists():
        assert PAGE.read_text() == page(json.loads(RAW.read_text()))
    else:
        assert not PAGE.exists()


def test_what_is_measured_anew_takes_the_place_of_what_was_measured_before_and_of_nothing_else() -> None:
    before = [ran("snapshots", "a", lock="true"), ran("plain", "a", lock="false"), ran("plain", "b", lock="false")]
    runs = merged(before, [ran("plain", "a", lock="true")])
    assert [(run["policy"], run["drill"], run["workloads"][0]["verdict"]) for run in runs] == [
        ("plain", "a", "true"), ("snapshots", "a", "true"),
    ]  # fmt: skip
