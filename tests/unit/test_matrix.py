"""The page about topologies and policies is made from what was measured, and from nothing else."""

import json
from typing import Any

from scripts._matrix_page import PAGE, RAW, UNBROKEN, WIDTH, page, worst
from scripts.matrix import merged


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
        "uses": ["lock", "queue"],
        "runs": list(runs),
    }


def test_a_cell_is_the_worst_of_all_drills() -> None:
    runs = [ran("plain", "crash-primary", lock="true", queue="false"), ran("plain", "switchover", lock="unknown", queue="true")]
    assert worst(runs, "lock")[:2] == ("unknown", "switchover")
    assert worst(runs, "queue")[:3] == ("false", "crash-primary", "queue in crash-primary")
    assert worst(runs, "cache-aside")[0] == "unknown"


def test_the_page_says_what_holds_and_what_breaks_where() -> None:
    text = page(
        data(
            ran("plain", "crash-primary", lock="true", queue="false"), ran("wait-all", "crash-primary", lock="true", queue="true")
        )
    )
    assert "| lock | holds | holds |" in text
    assert "| queue | **breaks** in crash-primary | holds |" in text
    assert "- plain **breaks**, crash-primary: queue in crash-primary." in text
    assert "snapshots" not in text


def test_a_use_that_was_not_measured_is_not_known() -> None:
    assert "| queue | not known |" in page(data(ran("plain", "crash-primary", lock="true")))


def test_the_page_of_the_guide_is_what_was_measured() -> None:
    if RAW.exists():
        assert PAGE.read_text() == page(json.loads(RAW.read_text()))
    else:
        assert not PAGE.exists()


def test_what_is_measured_anew_takes_the_place_of_what_was_measured_before_and_of_nothing_else() -> None:
    before = [ran("snapshots", "crash-primary", lock="true"), ran("plain", "switchover", lock="false")]
    before.append(ran("plain", "crash-primary", lock="false"))
    runs = merged(before, [ran("plain", "crash-primary", lock="true")])
    assert [(run["policy"], run["drill"], run["workloads"][0]["verdict"]) for run in runs] == [
        ("plain", "crash-primary", "true"), ("plain", "switchover", "false"), ("snapshots", "crash-primary", "true"),
    ]  # fmt: skip


def test_the_page_names_the_drills_that_were_played_and_no_others() -> None:
    assert "(cluster: `switchover`; 2026-01-01" in " ".join(page(data(ran("plain", "switchover", lock="true"))).split())


def test_of_runs_that_all_hold_the_one_with_most_losses_is_told() -> None:
    calm, loss = ran("plain", "crash-primary", queue="true"), ran("plain", "isolate-primary", queue="true")
    loss["workloads"][0]["figures"] = {"lost": 5}
    assert worst([calm, loss], "queue") == ("true", "isolate-primary", "queue in isolate-primary", True)
    assert "| queue | holds, with losses in isolate-primary |" in page(data(calm, loss))


def test_of_runs_without_losses_the_one_is_told_that_strains_the_use_most() -> None:
    calm, strained = ran("plain", "crash-primary", queue="true"), ran("plain", "isolate-primary", queue="true")
    calm["workloads"][0]["figures"], strained["workloads"][0]["figures"] = {"most_in_fault": 10}, {"most_in_fault": 20}
    assert worst([calm, strained], "queue") == ("true", "isolate-primary", "queue in isolate-primary", False)
    calm["workloads"][0]["figures"]["lost"] = 1
    assert worst([calm, strained], "queue").drill == "crash-primary"


def careless(topology: str, drill: str, verdict: str) -> dict[str, Any]:
    told = {"name": "near-cache-careless", "verdict": verdict, "sentence": f"old in {drill}", "figures": {}}
    return {**ran("plain", drill), "topology": topology, "workloads": [told]}


def test_a_careless_version_is_told_by_the_drill_that_breaks_it_and_by_why_none_does() -> None:
    runs = [careless("sentinel", "hang-primary", "false"), careless("sentinel", "crash-primary", "true")]
    told = page(
        {**data(ran("plain", "switchover", lock="true")), "careless": [*runs, careless("cluster", "hang-primary", "true")]}
    )
    assert "| near-cache-careless | breaks in hang-primary | not broken |" in told
    assert "- sentinel, hang-primary: old in hang-primary." in told
    reason = UNBROKEN["near-cache-careless", "cluster"]
    assert reason in " ".join(told.split())
    assert "The careless versions" not in page(data(ran("plain", "switchover", lock="true")))


def test_policies_that_were_played_through_other_drills_say_which() -> None:
    runs = [ran("plain", "crash-primary", lock="true"), ran("plain", "switchover", lock="true")]
    told = page(data(*runs, ran("wait-all", "crash-primary", lock="true")))
    assert "cluster under plain: `crash-primary`, `switchover`; cluster under wait-all: `crash-primary`;" in " ".join(
        told.split()
    )


def test_lines_of_text_are_not_wider_than_others_in_the_guide() -> None:
    long = ran("plain", "switchover", lock="true")
    long["workloads"][0]["sentence"] = "many words " * 40
    assert max(map(len, page(data(long)).splitlines())) <= WIDTH
