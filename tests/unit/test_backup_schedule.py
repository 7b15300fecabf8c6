"""Schedules and health: when the next backup is due, across daylight saving and clocks that go back, and what is a problem."""

from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from operations.backup import agent, chores
from operations.backup.agent import RETRY, step
from operations.backup.health import judge
from operations.backup.launch import Place
from operations.backup.schedule import is_due, next_after, rehearsal_due, served_until
from operations.backup.session import AGENT_STATE, Home, Session
from operations.backup.settings import BackupSettings
from operations.errors import Busy, CheckFailed, ToolkitError, Unreachable, UsageError
from scripts import backup as backup_script

BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 6, 30, 12, tzinfo=UTC)
DAILY = "0 3 * * *"


def test_the_hour_is_that_of_the_time_zone() -> None:
    assert next_after(DAILY, BERLIN, NOON).astimezone(UTC) == datetime(2026, 7, 1, 1, tzinfo=UTC)


def test_a_time_that_daylight_saving_skips_is_not_lost() -> None:
    evening = datetime(2026, 3, 28, 20, tzinfo=UTC)  # in Berlin 02:30 does not exist in the night to March 29th
    assert next_after("30 2 * * *", BERLIN, evening) - evening < timedelta(hours=6)


def test_times_that_were_missed_are_made_up_for_once() -> None:
    assert is_due(DAILY, UTC, NOON - timedelta(days=5), NOON)
    assert not is_due(DAILY, UTC, NOON, NOON + timedelta(minutes=5))


def test_a_first_start_and_a_clock_that_went_back_begin_now() -> None:
    assert served_until(None, NOON) == NOON
    assert served_until(NOON + timedelta(days=300), NOON) == NOON
    assert served_until(NOON - timedelta(hours=1), NOON) == NOON - timedelta(hours=1)


def session(folder: Path) -> Session:
    settings = BackupSettings(schedule=DAILY).model_dump(mode="json")
    return Session({"stack": "shop", "settings": settings}, Home(folder), lambda _: None)


def test_the_agent_makes_a_backup_when_it_is_due_and_not_twice(tmp_path: Path) -> None:
    one = session(tmp_path)
    made: list[Session] = []
    early = step(one, NOON, NOON, made.append)
    assert made == []
    step(one, NOON + timedelta(hours=16), early, made.append)
    step(one, NOON + timedelta(hours=16, seconds=5), early, made.append)
    assert made == [one]
    assert one.home.read(AGENT_STATE)["next"].startswith("2026-07-02T03:00:00")


@pytest.mark.parametrize(
    ("verified", "pruned", "asked"),
    [
        (None, None, ["create", "verify", "prune"]),
        (CheckFailed("a bit has flipped"), None, ["create", "verify"]),
        (None, Busy("somebody reads"), ["create", "verify", "prune"]),
    ],
)
def test_a_backup_that_was_made_is_not_made_again_at_once_because_it_is_damaged_or_nothing_can_be_pruned(
    verified: ToolkitError | None, pruned: ToolkitError | None, asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def doing(name: str, value: object, error: ToolkitError | None = None) -> object:
        def do(*_: object, **__: object) -> object:
            done.append(name)
            if error:
                raise error
            return value

        return do

    monkeypatch.setattr(agent, "do_create", doing("create", {"id": "20260701"}))
    monkeypatch.setattr(chores, "verify", doing("verify", {}, verified))
    monkeypatch.setattr(chores, "prune", doing("prune", [], pruned))
    one, due = session(tmp_path), NOON + timedelta(hours=16)
    step(one, NOON, NOON, agent._backup)
    for later in (due, due + RETRY, due + 2 * RETRY):
        step(one, later, NOON, agent._backup)
    assert done == asked


def test_a_failed_backup_is_tried_again_after_a_while(tmp_path: Path) -> None:
    one, tries = session(tmp_path), []

    def fail(_: Session) -> None:
        tries.append(1)
        raise Unreachable("the repository is away")

    step(one, NOON, NOON, fail)
    due = NOON + timedelta(hours=16)
    not_before = step(one, due, NOON, fail)
    assert step(one, due + timedelta(seconds=5), not_before, fail) == not_before
    assert len(tries) == 1
    assert one.home.status()["last_failure"]["reason"] == "the repository is away"
    step(one, due + RETRY, not_before, fail)
    assert len(tries) == 2


def health(status: dict[str, Any] | None, archive: dict[str, Any] | None = None, **more: Any) -> Any:
    fields = {name: more.pop(name) for name in ("rehearsal", "point_in_time") if name in more}
    settings = BackupSettings.model_validate({"schedule": DAILY, "objectives": more, **fields})
    return judge(settings, status, {"next": "2026-07-01T03:00:00+00:00"}, archive or {}, NOON, "shop")


SUCCESS = {"last_success": {"id": "20260630T030000.000Z", "at": NOON.timestamp() - 9 * 3600}, "exported": 1.0}


def test_backups_as_promised_have_no_problem() -> None:
    found = health(SUCCESS, rpo_seconds=86400)
    assert (found.problems, found.hints) == ((), ())
    assert found.summary == "last 20260630T030000.000Z, 9 h old, next 2026-07-01T03:00+00:00"


def test_failures_old_backups_and_failed_proofs_are_problems() -> None:
    failed = {"at": NOON.timestamp() - 60, "reason": "the disk is full"}
    assert "the disk is full" in health({**SUCCESS, "last_failure": failed}).problems[0]
    assert "rpo_seconds is 3600" in health(SUCCESS, rpo_seconds=3600).problems[0]
    rehearsal = {"id": "x", "state": "failed", "at": 0, "reason": "no key came back"}
    assert "the last rehearsal failed: no key came back" in health({**SUCCESS, "last_rehearsal": rehearsal}).problems


def test_a_backup_that_is_dated_later_than_now_turns_the_stack_red_until_the_next_one() -> None:
    dated = {"last_success": {"id": "x", "at": NOON.timestamp() + 3600}, "exported": 1.0}
    assert "the clock went back: x is dated later than now" in health(dated).problems[0]
    assert health({**dated, "last_success": {"id": "y", "at": NOON.timestamp() - 1}}).problems == ()


def test_a_rehearsal_that_is_due_turns_the_stack_red() -> None:
    assert "no backup was ever rehearsed" in health(SUCCESS, rehearsal_hours=24).problems[0]
    hours_ago = {"state": "passed", "at": NOON.timestamp() - 2 * 3600}
    assert health({**SUCCESS, "last_rehearsal": hours_ago}, rehearsal_hours=24).problems == ()
    assert "rehearsal_hours is 1" in health({**SUCCESS, "last_rehearsal": hours_ago}, rehearsal_hours=1).problems[0]


WEEKLY = "0 4 * * 1"  # noon is on a Tuesday


def test_a_rehearsal_is_due_by_its_schedule_whatever_became_of_the_last() -> None:
    monday = datetime(2026, 6, 29, 4, tzinfo=UTC)

    def due(last: datetime | None, zone: tzinfo = UTC) -> datetime | None:
        return rehearsal_due(WEEKLY, zone, last.timestamp() if last else None, NOON)

    assert due(monday - timedelta(days=2)) == monday
    assert due(monday + timedelta(minutes=9)) == monday + timedelta(days=7)
    assert due(monday, BERLIN) == monday + timedelta(days=7, hours=-2)
    assert due(None) is None
    assert due(NOON + timedelta(hours=1)) is None, "the clock went back since"


def test_a_rehearsal_that_is_overdue_by_its_schedule_turns_the_stack_red() -> None:
    def rehearsed(hours_ago: float) -> Any:
        last = {"state": "passed", "at": NOON.timestamp() - hours_ago * 3600}
        return health({**SUCCESS, "last_rehearsal": last}, rehearsal=WEEKLY)

    assert (rehearsed(3).problems, rehearsed(3).summary[-34:]) == ((), "rehearsal due 2026-07-06T04:00+00:00"[-34:])
    assert "the last rehearsal is 2 d old, backup.rehearsal is '0 4 * * 1'" in rehearsed(60).problems[0]
    assert "no backup was ever rehearsed" in health(SUCCESS, rehearsal=WEEKLY).problems[0]
    late = datetime(2026, 6, 29, 5, 59, tzinfo=UTC)  # within the two hours in which whoever runs it comes by
    settings = BackupSettings(schedule=DAILY, rehearsal=WEEKLY)
    status = {"last_rehearsal": {"state": "passed", "at": late.timestamp() - 7 * 86400}}
    assert judge(settings, status, {}, {}, late, "shop").problems == ()


def test_an_archive_that_trails_too_far_or_has_trouble_turns_the_stack_red() -> None:
    def archived(seconds_ago: float, *problems: str) -> Any:
        since = NOON.timestamp() - 3600
        archive = {"current_until": NOON.timestamp() - seconds_ago, "restorable": [since, NOON.timestamp()], "problems": problems}
        return health(SUCCESS, archive, point_in_time=True)

    assert archived(3).problems == ()
    assert "archived from 2026-06-30T11:00:00+00:00 without a gap until 3.0 s ago" in archived(3).summary
    assert archived(20).problems == ("the archive trails by 20 s, backup.objectives.lag_seconds is 15",)
    assert archived(3, "the repository is away").problems == ("archive: the repository is away",)
    assert "no second can be restored yet" in health(SUCCESS, point_in_time=True).problems[0]


def test_a_key_that_was_never_exported_is_reminded_of_and_an_agent_that_is_gone_is_a_problem() -> None:
    assert "export-key" in health({"last_success": SUCCESS["last_success"]}).hints[0]
    assert judge(BackupSettings(schedule=DAILY), None, None, None, NOON, "shop").problems


def test_a_rehearsal_runs_only_when_it_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    noted: dict[str, Any] = {}
    monkeypatch.setattr(backup_script, "run_job", lambda _place, _what: noted)
    place = Place("shop", BackupSettings(schedule=DAILY, rehearsal=WEEKLY))
    assert backup_script.not_due(place, NOON) is None
    noted["last_rehearsal"] = {"at": NOON.timestamp() - 3600, "state": "failed"}
    assert backup_script.not_due(place, NOON) == datetime(2026, 7, 6, 4, tzinfo=UTC)
    assert backup_script.not_due(place, NOON + timedelta(days=7)) is None
    with pytest.raises(UsageError, match=r"set backup\.rehearsal"):
        backup_script.not_due(Place("shop", BackupSettings()), NOON)
