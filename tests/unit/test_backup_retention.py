"""Retention: whatever the policy, the newest backup and the last verified one stay, and pruning twice prunes nothing more."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as some

from operations.backup.catalogue import Entry
from operations.backup.retention import last_verified, report
from operations.backup.settings import Retention

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)
ZONE = ZoneInfo("Europe/Berlin")


def entry(at: datetime, state: str = "complete", verified: bool = False) -> Entry:
    identity = at.strftime("%Y%m%dT%H%M%S")
    return Entry(identity, "shop", state, at, "m" if state != "unfinished" else None, (), NOW if verified else None)


ENTRIES = some.lists(
    some.builds(
        lambda minutes, state, verified: entry(NOW - timedelta(minutes=minutes), state, verified),
        some.integers(0, 60 * 24 * 400),
        some.sampled_from(["complete", "complete", "complete", "failed", "unfinished"]),
        some.booleans(),
    ),
    max_size=40,
    unique_by=lambda one: one.id,
)
COUNT = some.integers(0, 12)
POLICIES = some.builds(
    Retention,
    last=some.integers(1, 5),
    hourly=COUNT,
    daily=COUNT,
    weekly=COUNT,
    monthly=COUNT,
    window_hours=some.integers(0, 900),
)


@given(ENTRIES, POLICIES)
def test_the_newest_and_the_last_verified_backup_always_stay(entries: list[Entry], policy: Retention) -> None:
    kept = {judged.entry.id for judged in report(entries, policy, ZONE, NOW) if judged.keep}
    complete = [one for one in entries if one.state == "complete"]
    if complete:
        assert max(complete, key=lambda one: one.at).id in kept
    proven = last_verified(entries)
    assert (proven is None) == (not any(one.verified for one in complete))
    assert proven is None or proven.id in kept


@given(ENTRIES, POLICIES)
def test_every_backup_is_judged_once_and_with_a_reason(entries: list[Entry], policy: Retention) -> None:
    judged = report(entries, policy, ZONE, NOW)
    assert sorted(one.entry.id for one in judged) == sorted(one.id for one in entries)
    assert all(one.reasons for one in judged)


@given(ENTRIES, POLICIES)
def test_pruning_twice_prunes_nothing_more(entries: list[Entry], policy: Retention) -> None:
    left = [one.entry for one in report(entries, policy, ZONE, NOW) if one.keep]
    assert [one for one in report(left, policy, ZONE, NOW) if not one.keep] == []


@given(ENTRIES, POLICIES, some.sampled_from(["last", "hourly", "daily", "weekly", "monthly", "window_hours"]))
def test_a_more_generous_policy_never_drops_what_a_meaner_one_keeps(entries: list[Entry], policy: Retention, field: str) -> None:
    generous = policy.model_copy(update={field: getattr(policy, field) + 3})
    kept = {one.entry.id for one in report(entries, policy, ZONE, NOW) if one.keep}
    assert kept <= {one.entry.id for one in report(entries, generous, ZONE, NOW) if one.keep}


@given(ENTRIES, some.integers(1, 900))
def test_any_moment_of_the_window_has_a_backup_before_it(entries: list[Entry], hours: int) -> None:
    kept = [
        one.entry for one in report(entries, Retention(window_hours=hours), ZONE, NOW) if one.keep and one.entry.is_restorable
    ]
    since = NOW - timedelta(hours=hours)
    complete = [one for one in entries if one.state == "complete"]
    assert {one.id for one in complete if one.at >= since} <= {one.id for one in kept}
    if any(one.at < since for one in complete):
        assert any(one.at < since for one in kept)


@given(ENTRIES, POLICIES, some.data())
def test_damaged_backups_never_cost_a_good_one_its_place(entries: list[Entry], policy: Retention, data: some.DataObject) -> None:
    complete = [one.id for one in entries if one.is_restorable]
    damaged = data.draw(some.sets(some.sampled_from(complete)) if complete else some.just(set[str]()))
    good = [one for one in entries if one.id not in damaged]
    judged = report(entries, policy, ZONE, NOW, damaged)
    kept = {one.entry.id for one in judged if one.keep}
    assert {one.entry.id for one in report(good, policy, ZONE, NOW) if one.keep} == kept - damaged
    assert all(one.reasons for one in judged) and len(judged) == len(entries)
    left = [one.entry for one in judged if one.keep]
    assert [one for one in report(left, policy, ZONE, NOW, damaged) if not one.keep] == []


def test_a_damaged_backup_stays_until_a_newer_one_was_verified() -> None:
    damaged, later = entry(NOW - timedelta(hours=2)), entry(NOW - timedelta(hours=1))
    mean = Retention(last=1, daily=0, weekly=0, monthly=0)
    assert [one.keep for one in report([damaged, later], mean, ZONE, NOW, {damaged.id})] == [True, True]
    proven = replace(later, verified=NOW)
    assert [one.keep for one in report([damaged, proven], mean, ZONE, NOW, {damaged.id})] == [False, True]


def test_a_rehearsal_proves_nothing_about_a_backup_whose_verification_failed_later() -> None:
    old = entry(NOW - timedelta(days=3), verified=True)
    rotten = replace(entry(NOW - timedelta(days=2)), rehearsed=NOW - timedelta(days=1), refuted=NOW - timedelta(hours=1))
    assert rotten.is_refuted and last_verified([old, rotten]) == old
    mended = replace(rotten, rehearsed=NOW)
    assert not mended.is_refuted and last_verified([old, mended]) == mended


def test_days_are_those_of_the_stacks_time_zone() -> None:
    late, early = datetime(2026, 6, 29, 21, 59, tzinfo=UTC), datetime(2026, 6, 29, 22, 1, tzinfo=UTC)  # 23:59 and 00:01 in Berlin
    only_days = Retention(last=1, daily=2, weekly=0, monthly=0)
    assert [one.keep for one in report([entry(late), entry(early)], only_days, ZONE, NOW)] == [True, True]
    assert [one.keep for one in report([entry(late), entry(early)], only_days, UTC, NOW)] == [False, True]


def test_a_backup_made_after_the_clock_went_back_is_the_newest() -> None:
    before, after = entry(NOW), replace(entry(NOW - timedelta(hours=1)), id="20260630T120000.001Z")
    judged = report([before, after], Retention(last=1, daily=0, weekly=0, monthly=0), ZONE, NOW - timedelta(minutes=59))
    assert [(one.entry, one.keep) for one in judged] == [(before, False), (after, True)]


def test_of_attempts_that_all_failed_the_last_is_kept() -> None:
    attempts = [entry(NOW - timedelta(minutes=5 * number), "failed") for number in range(4)]
    assert [one.keep for one in report(attempts, Retention(), ZONE, NOW)] == [False, False, False, True]


def test_a_failed_attempt_is_shown_until_a_complete_backup_follows() -> None:
    failed, later = entry(NOW - timedelta(hours=2), "failed"), entry(NOW - timedelta(hours=1))
    assert report([failed], Retention(), ZONE, NOW)[0].keep
    assert [one.keep for one in report([failed, later], Retention(), ZONE, NOW)] == [False, True]
