"""Checkers against hand-written histories that pass and that fail."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drills.checkers.base import Check, Fold, Quality, Verdict, run, worst
from drills.checkers.ledger import Ledger
from drills.checkers.lost import LostWrites
from drills.checkers.one_primary import OnePrimary
from drills.checkers.phantom import phantom_values
from drills.checkers.redundancy import Redundancy
from drills.checkers.roles_kept import RolesKept
from drills.checkers.stale import StaleReads
from drills.checkers.views import ViewsAgree
from drills.records import Damage, Fault, FinalRead, Operation, Outcome, Record, Reserve
from drills.synthetic import Failover, Story, failover, runs

TRUE, FALSE, UNKNOWN = Verdict.TRUE, Verdict.FALSE, Verdict.UNKNOWN


def ledger_of(records: list[Record]) -> tuple[Check, Check, LostWrites]:
    """The checks for lost writes and for phantoms."""
    ledger, quality = Ledger(), Quality()
    lost = LostWrites(ledger, quality)
    run(records, [quality, ledger, lost])
    return lost.check(), phantom_values(ledger, quality), lost


def records_of(story: Story) -> list[Record]:
    return list(story.records)


def writes(outcomes: str) -> tuple[Story, int]:
    """A story with one lane; one letter per write: o(k), f(ail), i(nfo), I(nfo that landed)."""
    story = Story()
    lane = story.lane()
    words: dict[str, Outcome] = {"o": "ok", "f": "fail", "i": "info"}
    for number, letter in enumerate(outcomes):
        story.write(lane, number, words[letter.lower()], landed=letter in "oI")
    return story, lane


# --- lost ---------------------------------------------------------------------------------------------------------------


def test_a_history_in_which_every_acknowledged_write_is_found_again_passes() -> None:
    story, _ = writes("oofiIo")
    story.audit()
    story.end()
    check, _, _ = ledger_of(records_of(story))
    assert (check.verdict, check.summary) == (TRUE, "all 3 acknowledged writes are there")
    assert check.figures["refused"] == 1
    assert check.figures["unknown"] == 2
    assert check.figures["unknown_but_kept"] == 1


def test_one_acknowledged_write_that_is_gone_fails_and_is_named() -> None:
    story, lane = writes("ooooo")
    story.audit(lost=[(lane, 3)])
    story.end()
    check, _, lost = ledger_of(records_of(story))
    assert (check.verdict, check.summary) == (FALSE, "1 of 5 acknowledged writes are gone")
    assert "lane 0 write 3, acknowledged by node-1-1 at 2.001 s" in check.details
    assert lost.by_shard[1].count == 1


def test_a_loss_that_a_later_write_would_hide_in_a_register_is_found() -> None:
    """Write 2 went to the old primary and is gone; write 3 went to the new one: a plain SET would show 3 and look fine."""
    story = Story()
    lane = story.lane()
    story.write(lane, 1)
    story.write(lane, 2, landed=False)
    story.write(lane, 3, node="node-1-2")
    story.audit()
    story.end()
    assert ledger_of(records_of(story))[0].figures["lost"] == 1


def test_the_span_of_lost_writes_runs_from_the_first_to_the_last_lost_acknowledgement() -> None:
    story, lane = writes("o" * 10)
    story.audit(lost=[(lane, 4), (lane, 5), (lane, 8)])
    story.end()
    _, _, lost = ledger_of(records_of(story))
    assert lost.span_seconds == pytest.approx(4.0)


def test_unknown_and_refused_writes_that_are_gone_are_no_loss() -> None:
    story, _ = writes("oiiff")
    story.audit()
    story.end()
    assert ledger_of(records_of(story))[0].verdict is TRUE


def test_a_lane_that_could_not_be_read_is_unknown_and_not_passed() -> None:
    story, lane = writes("ooo")
    story.lane()
    story.audit(unreadable=[lane])
    story.end()
    check, _, _ = ledger_of(records_of(story))
    assert (check.verdict, check.summary) == (UNKNOWN, "3 of 3 acknowledged writes could not be read back")
    assert check.details == ("lane 0, values 1 to 3: timeout",)


def test_a_final_read_that_never_happened_is_unknown() -> None:
    story, _ = writes("ooo")
    story.end()
    assert ledger_of(records_of(story))[0].verdict is UNKNOWN


def test_a_loss_is_a_loss_even_where_other_writes_could_not_be_read() -> None:
    story, lane = writes("ooo")
    other = story.lane()
    story.write(other, 5)
    story.audit(lost=[(lane, 1)], unreadable=[other])
    story.end()
    check, _, _ = ledger_of(records_of(story))
    assert (check.verdict, check.figures["lost"], check.figures["unread"]) == (FALSE, 1, 1)


def test_a_history_without_its_end_cannot_pass() -> None:
    story, _ = writes("ooo")
    story.audit()
    check, _, _ = ledger_of(records_of(story))
    assert (check.verdict, "not complete" in check.summary) == (UNKNOWN, True)


def test_nothing_acknowledged_proves_nothing() -> None:
    story, _ = writes("fff")
    story.audit()
    story.end()
    assert ledger_of(records_of(story))[0].verdict is UNKNOWN


def test_a_write_recorded_twice_makes_the_history_doubtful() -> None:
    story, _ = writes("oo")
    story.records.append(story.records[-1])
    story.audit()
    story.end()
    assert ledger_of(records_of(story))[0].verdict is UNKNOWN


@given(st.lists(st.tuples(st.sampled_from(["ok", "fail", "info"]), st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_the_ledger_counts_as_plain_sets_do(plan: list[tuple[Outcome, bool, bool]]) -> None:
    """Against a model with sets: each write has an outcome, landed or not, and lies in a range that was read or not."""
    story = Story()
    lane = story.lane()
    for number, (outcome, landed, _) in enumerate(plan):
        story.write(lane, number, outcome, landed=landed)
    landed_values = {n for n, (_, landed, _) in enumerate(plan, 1) if landed}
    readable = {n for n, (*_, readable) in enumerate(plan, 1) if readable}
    for low, high in runs(sorted(readable)):
        found = runs(sorted(landed_values & set(range(low, high + 1))))
        story.records.append(FinalRead(0, lane, low, high, found))
    story.end()
    lost, phantom, _ = ledger_of(records_of(story))
    acked = {n for n, (outcome, *_) in enumerate(plan, 1) if outcome == "ok"}
    failed = {n for n, (outcome, *_) in enumerate(plan, 1) if outcome == "fail"}
    assert lost.figures["acknowledged"] == len(acked)
    assert lost.figures["lost"] == len((acked & readable) - landed_values)
    assert lost.figures["unread"] == len(acked - readable)
    assert phantom.figures["refused_but_present"] == len(failed & readable & landed_values)
    assert (lost.verdict is FALSE) == bool((acked & readable) - landed_values)


def test_the_ledger_takes_about_one_byte_per_write() -> None:
    ledger = Ledger()
    for value in range(1, 200_001):
        ledger.see(Operation("write", 0, value, 0, value, "node-1-1", value, value, 0, "ok"))
    ledger.see(FinalRead(0, 0, 1, 200_000, ((1, 200_000),)))
    assert ledger.tally.kept == 200_000
    assert sum(len(lane.writes) for lane in ledger._lanes.values()) < 250_000


# --- phantom ------------------------------------------------------------------------------------------------------------


def phantom_after(story: Story, *extra: Record, end: bool = True) -> Check:
    story.audit()
    if end:
        story.end()
    return ledger_of([*records_of(story), *extra])[1]


def test_a_final_read_of_what_was_written_holds_no_phantom() -> None:
    story, _ = writes("oIo")
    assert phantom_after(story).verdict is TRUE


def test_a_value_whose_write_certainly_failed_is_a_phantom() -> None:
    story, lane = writes("ofo")
    check = phantom_after(story, FinalRead(0, lane, 1, 3, ((2, 2),)))
    assert check.verdict is FALSE
    assert check.details == ("lane 0 value 2: certainly failed, seen in the final read",)


def test_a_value_that_nobody_attempted_is_a_phantom() -> None:
    story, lane = writes("oo")
    check = phantom_after(story, FinalRead(0, lane, 1, 1000, ((1, 2), (900, 901))))
    assert (check.verdict, check.figures["never_attempted_but_present"]) == (FALSE, 2)
    assert check.details[0] == "lane 0 value 900: never attempted, seen in the final read"


def test_a_read_that_returned_a_refused_value_is_a_phantom() -> None:
    story, lane = writes("of")
    story.read(lane, 5, 2)
    assert phantom_after(story).verdict is FALSE


def test_a_read_that_returned_a_value_never_attempted_is_a_phantom() -> None:
    story, lane = writes("oo")
    story.read(lane, 5, 7)
    assert phantom_after(story).verdict is FALSE


def test_content_that_does_not_belong_to_its_write_is_a_phantom() -> None:
    story, lane = writes("oo")
    check = phantom_after(story, FinalRead(0, lane, 2, 2, (), ((2, "written by a stranger"),)))
    assert (check.verdict, check.figures["wrong_content"]) == (FALSE, 1)


def test_values_after_the_end_of_a_cut_off_history_are_unknown_when_they_had_been_reserved() -> None:
    story, lane = writes("oo")
    reserved = Reserve(lane, 500)
    found = FinalRead(0, lane, 1, 500, ((1, 40),))
    assert phantom_after(story, reserved, found, end=False).verdict is UNKNOWN


def test_values_beyond_the_reservation_are_phantoms_even_in_a_cut_off_history() -> None:
    story, lane = writes("oo")
    check = phantom_after(story, Reserve(lane, 500), FinalRead(0, lane, 1, 1000, ((501, 501),)), end=False)
    assert check.verdict is FALSE


def test_a_reserved_value_without_a_record_is_a_phantom_in_a_complete_history() -> None:
    story, lane = writes("oo")
    assert phantom_after(story, Reserve(lane, 500), FinalRead(0, lane, 1, 500, ((40, 40),))).verdict is FALSE


def test_reading_nothing_proves_nothing_about_phantoms() -> None:
    story, _ = writes("ff")
    assert phantom_after(story).verdict is UNKNOWN


# --- the history itself -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([], "it stops in the middle"),
        ([Damage(9, "the last line is not finished", torn=True)], "its last line is torn"),
        ([Damage(4, "unknown record 'x'", torn=False)], "1 lines are damaged (line 4: unknown record 'x')"),
    ],
)
def test_an_incomplete_history_says_what_is_missing(records: list[Record], words: str) -> None:
    quality = Quality()
    run(records, [quality])
    assert quality.check().verdict is UNKNOWN
    assert words in quality.check().summary


def test_the_worst_verdict_wins_and_nothing_is_unknown() -> None:
    assert worst([TRUE, UNKNOWN, FALSE]) is FALSE
    assert worst([TRUE, UNKNOWN]) is UNKNOWN
    assert worst([TRUE, TRUE]) is TRUE
    assert worst([]) is UNKNOWN


# --- stale --------------------------------------------------------------------------------------------------------------


def one(fold: Fold, story: Story) -> Check:
    run(story.records, [fold])
    check: Callable[[], Check] = fold.check  # type: ignore[attr-defined]
    return check()


def test_reads_that_show_at_least_what_was_acknowledged_pass() -> None:
    story, lane = writes("oo")
    story.read(lane, 5, 2)
    story.write(lane, 6, "info")
    story.read(lane, 7, 3)
    story.read(lane, 8, 3)
    assert one(StaleReads(), story).verdict is TRUE


def test_a_read_that_misses_the_last_acknowledged_write_of_its_node_is_stale() -> None:
    story, lane = writes("oo")
    story.read(lane, 5, 1)
    check = one(StaleReads(), story)
    assert (check.verdict, check.figures["stale"]) == (FALSE, 1)
    assert check.details == ("lane 0: node-1-1 showed 1 at 5.001 s after it had shown 2",)


def test_a_read_that_shows_less_than_an_earlier_read_is_stale() -> None:
    story, lane = writes("oi")
    story.read(lane, 5, 2)
    story.read(lane, 6, 1)
    assert one(StaleReads(), story).verdict is FALSE


def test_a_new_primary_that_shows_less_is_a_matter_of_loss_not_of_staleness() -> None:
    story, lane = writes("oo")
    story.read(lane, 5, 1, node="node-1-2")
    assert one(StaleReads(), story).verdict is TRUE


def test_a_node_that_was_restarted_starts_a_new_tenure() -> None:
    story, lane = writes("oo")
    story.fault(3, targets=["node-1-1"])
    story.read(lane, 5, 1)
    assert one(StaleReads(), story).verdict is TRUE


def test_a_fault_elsewhere_does_not_excuse_a_stale_read() -> None:
    story, lane = writes("oo")
    story.fault(3, targets=["node-2-1"])
    story.read(lane, 5, 1)
    assert one(StaleReads(), story).verdict is FALSE


def test_what_a_heal_does_while_it_goes_on_is_excused_when_it_ends() -> None:
    for at, verdict in ((4.5, TRUE), (3.5, FALSE), (5.5, FALSE)):
        story, lane = writes("oo")
        story.read(lane, at, 1)
        story.fault(4, "heal", took=1)
        assert one(StaleReads(), story).verdict is verdict, at


def test_a_write_from_before_a_fault_that_is_recorded_after_it_binds_no_read() -> None:
    for at, verdict in ((3.5, TRUE), (4.5, FALSE)):
        story, lane = writes("oo")
        story.fault(3, took=1)
        story.write(lane, at)
        story.read(lane, 5, 1)
        assert one(StaleReads(), story).verdict is verdict, at


def test_reads_on_a_replica_may_go_back_in_time() -> None:
    """A primary that was cut off and taken over from has lost what it took alone; as a replica it shows that."""
    story, lane = writes("oo")
    story.role(3, "node-1-1", "replica")
    story.read(lane, 4, 2)
    story.read(lane, 5, 1)
    assert one(StaleReads(), story).verdict is TRUE


def test_a_change_of_role_is_seen_a_little_later_than_it_happens() -> None:
    for seen, verdict in ((5.3, TRUE), (6, FALSE)):
        story, lane = writes("oo")
        story.read(lane, 5, 1)
        story.role(seen, "node-1-1", "replica")
        assert one(StaleReads(), story).verdict is verdict, seen


def test_a_node_that_acknowledges_writes_again_is_a_primary_again() -> None:
    story, lane = writes("oo")
    story.role(3, "node-1-1", "replica")
    story.write(lane, 4)
    story.read(lane, 5, 2)
    assert one(StaleReads(), story).verdict is FALSE


def test_what_others_say_of_a_node_does_not_excuse_its_reads() -> None:
    story, lane = writes("oo")
    story.role(3, "node-1-1", "failed", seen_by="node-2-1")
    story.read(lane, 4, 1)
    assert one(StaleReads(), story).verdict is FALSE


def test_no_reads_prove_nothing_about_staleness() -> None:
    story, _ = writes("oo")
    assert one(StaleReads(), story).verdict is UNKNOWN


# --- one primary, views, redundancy, roles ------------------------------------------------------------------------------


def two_nodes(first: bool | None, second: bool | None) -> Story:
    story = Story()
    story.state("node-1-1", 1, "replica", first)
    story.state("node-1-2", 1, "primary", second)
    return story


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        (False, True, TRUE),
        (True, True, FALSE),
        (False, False, FALSE),
        (None, True, UNKNOWN),  # the silent one may be writable too
        (None, False, UNKNOWN),
        (None, None, UNKNOWN),
    ],
)
def test_exactly_one_writable_primary_per_shard(first: bool | None, second: bool | None, verdict: Verdict) -> None:
    check = one(OnePrimary([1], ["node-1-1", "node-1-2"]), two_nodes(first, second))
    assert check.verdict is verdict, check.summary


def test_two_writable_primaries_are_false_even_if_a_third_node_is_silent() -> None:
    nodes = ["node-1-1", "node-1-2", "node-1-3"]
    check = one(OnePrimary([1], nodes), two_nodes(True, True))
    assert check.verdict is FALSE
    assert "shard 1 has 2 writable primaries: node-1-1, node-1-2" in check.summary
    assert "node-1-3 could not be asked" in check.summary


def test_a_shard_that_nobody_reported_is_unknown() -> None:
    assert one(OnePrimary([1, 2], ["node-1-1", "node-1-2"]), two_nodes(False, True)).verdict is UNKNOWN


def views(*claims: dict[str, str] | None) -> Check:
    story = Story()
    for number, claim in enumerate(claims, 1):
        story.state(f"node-{number}", claims=claim)
    return one(ViewsAgree([f"node-{number}" for number in range(1, len(claims) + 1)]), story)


def test_views_that_are_the_same_agree() -> None:
    assert views({"primary of shard 1": "a"}, {"primary of shard 1": "a"}).verdict is TRUE


def test_one_node_that_sees_another_primary_disagrees_and_is_named() -> None:
    check = views({"primary": "a"}, {"primary": "a"}, {"primary": "b"})
    assert check.verdict is FALSE
    assert check.details == ("primary: a (say node-1, node-2); b (say node-3)",)


@pytest.mark.parametrize("claim", [None, {}])
def test_a_node_without_a_view_is_unknown_and_not_agreement(claim: dict[str, str] | None) -> None:
    check = views({"primary": "a"}, claim)
    assert (check.verdict, check.summary) == (UNKNOWN, "the view of node-2 could not be read")


def redundancy(samples: list[tuple[float, int | None]], heal: float | None = 5) -> Redundancy:
    story = Story()
    story.replicas(0, 1)
    story.fault(1)
    if heal is not None:
        story.fault(heal, "healed")
    for at, in_sync in samples:
        story.replicas(at, in_sync)
    fold = Redundancy([1])
    run(story.records, [fold])
    return fold


def test_redundancy_counts_from_the_heal_to_the_first_sample_from_which_it_stays_full() -> None:
    fold = redundancy([(2, 0), (6, 1), (7, 0), (8.5, 1), (10, 1)])
    assert fold.check().verdict is TRUE
    assert fold.seconds == pytest.approx(3.5)


def test_redundancy_counts_from_the_fault_where_nothing_heals() -> None:
    assert redundancy([(2, 0), (4, 1)], heal=None).seconds == pytest.approx(3.0)


def test_a_shard_that_stays_short_of_replicas_fails() -> None:
    check = redundancy([(2, 0), (6, 0)]).check()
    assert (check.verdict, check.summary) == (FALSE, "shard 1 has 0 of 1 replicas in sync")


@pytest.mark.parametrize("samples", [[], [(2.0, 1)], [(2.0, 0), (6.0, None)]])
def test_replicas_that_were_not_asked_after_the_heal_are_unknown(samples: list[tuple[float, int | None]]) -> None:
    assert redundancy(samples).check().verdict is UNKNOWN


def roles(before: dict[str, str | None], after: dict[str, str | None]) -> Check:
    story = Story()
    for moment, found in (("final", before), ("applied", after)):
        for node, role in found.items():
            story.state(node, role=role, moment=moment)
    return one(RolesKept(), story)


def test_roles_that_survive_an_apply_are_kept() -> None:
    assert roles({"a": "primary", "b": "replica"}, {"a": "primary", "b": "replica"}).verdict is TRUE


def test_a_role_that_an_apply_turns_back_is_not_kept() -> None:
    check = roles({"a": "replica", "b": "primary"}, {"a": "primary", "b": "replica"})
    assert (check.verdict, check.summary) == (FALSE, "a was replica and became primary; b was primary and became replica")


@pytest.mark.parametrize("after", [{}, {"a": "primary"}, {"a": "primary", "b": None}])
def test_roles_that_were_not_seen_again_are_unknown(after: dict[str, str | None]) -> None:
    assert roles({"a": "primary", "b": "replica"}, after).verdict is UNKNOWN


# --- whole stories ------------------------------------------------------------------------------------------------------


def test_a_clean_failover_loses_nothing_and_a_seeded_loss_is_found_to_the_write() -> None:
    for lost in (0, 17):
        story = failover(Failover(rate=50, lost=lost))
        check, phantom, _ = ledger_of(records_of(story))
        assert check.figures["lost"] == lost
        assert check.verdict is (FALSE if lost else TRUE)
        assert phantom.verdict is TRUE


# --- before the cut -----------------------------------------------------------------------------------------------------------


def cut_after(lost: str, cut: int) -> Check | None:
    """One lane whose writes are acknowledged one after the other; l(ost) or k(ept); a backup asked for before write `cut`."""
    story = Story()
    lane = story.lane()
    for number, letter in enumerate(lost):
        story.write(lane, number, "ok", landed=letter == "k")
    story.audit()
    story.end()
    operations = [record for record in story.records if isinstance(record, Operation)]
    moment = operations[cut].start
    records = [*story.records, Fault(moment, moment + 1, "lose-everything", "data-loss", "cut", ("node-1",), (1,))]
    ledger, quality = Ledger(), Quality()
    found = LostWrites(ledger, quality)
    run(records, [quality, ledger, found])
    return found.check_cut()


def test_writes_after_the_backup_was_asked_for_may_be_gone_and_none_before() -> None:
    after, before = cut_after("kkkll", 3), cut_after("kklll", 3)
    assert after is not None and after.verdict is TRUE
    assert before is not None and before.verdict is FALSE
    assert "before the backup was asked for are gone" in before.summary


def test_a_backup_of_which_nothing_was_left_proves_nothing_good() -> None:
    nothing = cut_after("lllll", 0)
    assert nothing is not None and nothing.verdict is UNKNOWN


def test_a_drill_without_a_backup_is_not_asked_about_one() -> None:
    story, _ = writes("oo")
    story.audit()
    story.end()
    ledger, quality = Ledger(), Quality()
    found = LostWrites(ledger, quality)
    run(records_of(story), [quality, ledger, found])
    assert found.check_cut() is None
