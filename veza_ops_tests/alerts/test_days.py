"""What a summary counts: what our runs told of a day and how they ended, each in one day only."""

import re
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.events import AssetObservationData

from veza_ops.alerts import digest
from veza_ops.alerts.digest import Day, day_of, summary
from veza_ops.alerts.memory import Memory
from veza_ops.cleanup.job import JOB
from veza_ops.findings import TRACKS
from veza_ops.runs import OURS, Location
from veza_ops_tests.alerts.conftest import TODAY, Mornings
from veza_ops_tests.alerts.test_looks import damage
from veza_ops_tests.library import Library, run_job
from veza_ops_tests.receiver import Receiver

Kind = dg.DagsterEventType
BEGIN = datetime(2026, 11, 27, 6, 0, tzinfo=UTC)
NOW = datetime(2026, 11, 28, 6, 0, 30, tzinfo=UTC)
NOON = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
RAN = {"marked_failed": 2, "raced": 1, "unverifiable": 3, "stuck": 0, "dry_run": False}
LOOKED = {**RAN, "marked_failed": 0, "dry_run": True}
FELL = {"health": "needs attention: the cleanup failed", "health_since": "2026-11-27 12:00 UTC", "failure": "No table."}


def report(instance: dg.DagsterInstance, kind: Kind, run: dg.DagsterRun, at: datetime, data: Any = None) -> None:
    """Have a run tell of something at a moment."""
    if instance.get_run_by_id(run.run_id) is None:
        instance.add_run(run)
    event = dg.DagsterEvent(kind.value, run.job_name, event_specific_data=data, message="told")
    instance.report_dagster_event(event, run.run_id, timestamp=at.timestamp())


def tell(instance: dg.DagsterInstance, at: datetime, told: dict[str, Any]) -> None:
    """Have a cleanup tell the asset of itself."""
    observed = AssetObservationData(dg.AssetObservation(TRACKS, metadata=told))
    report(instance, Kind.ASSET_OBSERVATION, dg.DagsterRun(JOB, tags=OURS), at, observed)


def fail(instance: dg.DagsterInstance, at: datetime, *, ours: bool = True, ended: bool = False) -> str:
    """Have a run fail; perhaps after somebody has ended it."""
    run = dg.DagsterRun(JOB, tags=OURS if ours else {})
    if ended:
        report(instance, Kind.RUN_CANCELED, run, at - timedelta(seconds=9))
    report(instance, Kind.RUN_FAILURE, run, at)
    return run.run_id


def day(instance: dg.DagsterInstance, begin: datetime = BEGIN, now: datetime = NOW) -> Day:
    return day_of(instance, Location(), begin, now)


def test_each_moment_belongs_to_one_day_only(instance: dg.DagsterInstance) -> None:
    just_before = timedelta(microseconds=1000)
    for at in (BEGIN - just_before, BEGIN, NOON, NOW - just_before, NOW):
        tell(instance, at, RAN)
        fail(instance, at)
    days = [day(instance, BEGIN - timedelta(days=1), BEGIN), day(instance), day(instance, NOW, NOW + timedelta(days=1))]
    assert [each.cleanups for each in days] == [1, 3, 1]
    assert [each.failed for each in days] == [1, 3, 1]


def test_what_ends_in_the_second_of_a_summary_is_told_by_one_alone(
    instance: dg.DagsterInstance, channel: Receiver, mornings: Mornings
) -> None:
    moments = [TODAY + timedelta(seconds=seconds) for seconds in (0.2, 0.8)]
    for at in moments:
        tell(instance, at, RAN)
    for now in (TODAY + timedelta(seconds=0.5), TODAY + timedelta(days=1)):
        mornings.look(now)
    marked = re.findall(r"never came: (\d+) tracks", "".join(each["message"] for each in channel.messages))
    assert marked == ["2", "2"]


def test_a_new_tag_makes_no_new_failure_of_an_old_one(instance: dg.DagsterInstance) -> None:
    run_id = fail(instance, BEGIN - timedelta(hours=1))
    instance.add_run_tags(run_id, {"seen": "by somebody"})
    assert day(instance).failed == 0


def test_a_run_that_somebody_ended_has_not_failed(instance: dg.DagsterInstance) -> None:
    fail(instance, NOON, ended=True)
    fail(instance, NOON)
    assert day(instance).failed == 1


def test_a_run_of_which_nobody_can_tell_has_failed(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(instance, fail(instance, NOON), monkeypatch)
    assert day(instance).failed == 1


@pytest.mark.parametrize("neighbours", [1, 2, 7])
def test_ours_are_counted_behind_any_number_of_the_neighbours(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, neighbours: int
) -> None:
    monkeypatch.setattr(digest, "PAGE", 2)
    fail(instance, NOON)
    for _ in range(neighbours):
        fail(instance, NOON, ours=False)
    assert day(instance).failed == 1


def test_dry_runs_are_counted_apart_and_a_day_of_them_alone_is_silent(instance: dg.DagsterInstance) -> None:
    tell(instance, NOON, LOOKED)
    tell(instance, NOON, LOOKED)
    only = day(instance)
    assert (only.cleanups, only.dry_runs) == (0, 2)
    assert summary(only, BEGIN, NOW, "") is None
    fail(instance, NOON)
    told = summary(day(instance), BEGIN, NOW, "")
    assert told
    assert told.body.startswith(
        "Since Friday, 06:00 UTC: 0 cleanups; 1 runs of veza-ops failed.\nOnly looked: 2 dry runs.\n\nNext:\n"
    )
    assert "no cleanup has come to its end" not in told.body


def test_what_a_cleanup_tells_that_failed_is_no_cleanup_that_ended(instance: dg.DagsterInstance) -> None:
    tell(instance, NOON, FELL)
    assert day(instance).none_ended
    tell(instance, NOON, RAN)
    tell(instance, NOON + timedelta(hours=1), FELL)
    tell(instance, NOON + timedelta(hours=2), {**FELL, "marked_failed": "some"})
    of_both = day(instance)
    assert (of_both.cleanups, of_both.marked, of_both.raced, of_both.unverifiable) == (1, 2, 1, 3)


@pytest.mark.parametrize(
    ("age", "says"),
    [
        ({"oldest_present_age_hours": 53.2}, "2 waiting (the oldest is 53 h old); stuck: 0."),
        ({"oldest_present_age_hours": float("inf")}, "2 waiting; stuck: 0."),
        ({}, "2 waiting; stuck: 0."),
    ],
)
def test_an_age_that_nobody_knows_is_not_told(instance: dg.DagsterInstance, age: dict[str, float], says: str) -> None:
    tell(instance, NOON, {**RAN, "waiting": 2, **age})
    told = summary(day(instance), BEGIN, NOW, "")
    assert told
    assert f"In processing with their file: {says}" in told.body.splitlines()


@pytest.mark.parametrize("part", ["IntMetadataEntryData", "timestamp"])
def test_a_day_of_which_nothing_can_be_read_is_told_all_the_same_and_the_next_one_is_as_ever(
    instance: dg.DagsterInstance, channel: Receiver, mornings: Mornings, tmp_path: Path, part: str
) -> None:
    tell(instance, TODAY - timedelta(hours=2), RAN)
    tell(instance, TODAY - timedelta(hours=1), RAN)
    fail(instance, TODAY - timedelta(hours=1))
    with sqlite3.connect(tmp_path / "home" / "history" / "runs" / "index.db") as events:
        damaged = "UPDATE event_logs SET event = replace(event, ?, 'of_another_version')"
        assert events.execute(f"{damaged} WHERE dagster_event_type = 'ASSET_OBSERVATION'", [part]).rowcount
    mornings.look(TODAY)
    said = next(each["message"] for each in channel.messages if "summary" in each["title"])
    assert ": what cleanups told can't be read; 1 runs of veza-ops failed." in said
    assert "See to Dagster's storage: it holds events that are damaged" in said
    assert "no cleanup has come to its end" not in said
    tell(instance, TODAY + timedelta(hours=2), RAN)
    mornings.look(TODAY + timedelta(days=1))
    assert ": 1 cleanups, and none failed." in channel.messages[-1]["message"]


def test_what_an_audit_told_that_cannot_be_read_is_told() -> None:
    told = summary(Day(cleanups=24, audit=None), BEGIN, NOW, "")
    assert told
    assert "What audits told can't be read." in told.body.splitlines()
    assert not told.good


def test_on_the_first_day_there_is_none_until_a_cleanup_has_ended(
    instance: dg.DagsterInstance, channel: Receiver, mornings: Mornings
) -> None:
    mornings.cursor = None
    for hours in (0, 1):
        mornings.look(TODAY + timedelta(hours=hours))
    assert channel.titles == []
    tell(instance, TODAY + timedelta(hours=2), RAN)
    mornings.look(TODAY + timedelta(hours=3))
    mornings.look(TODAY + timedelta(hours=4))
    assert len(channel.titles) == 1
    assert ": 1 cleanups, and none failed." in channel.messages[0]["message"]


def test_on_the_second_day_it_is_told_that_no_cleanup_has_ended(channel: Receiver, mornings: Mornings) -> None:
    mornings.cursor = str(Memory(summed=int((TODAY + timedelta(days=9)).timestamp())))  # a clock was wrong
    for days in (0, 1):
        mornings.look(TODAY + timedelta(days=days))
    assert channel.titles == [f"veza-ops: summary of {TODAY + timedelta(days=1):%A, %d %B}"]
    assert "no cleanup has come to its end" in channel.messages[0]["message"]


def test_a_deployment_on_trial_is_told_of_no_schedule_that_is_off(
    library: Library, instance: dg.DagsterInstance, channel: Receiver, mornings: Mornings
) -> None:
    library.add_ghost()
    assert run_job(library, instance, ops={"mark_orphans_failed": {"dry_run": True}}).success
    mornings.look(TODAY)
    assert channel.titles == []
    assert Memory.read(str(mornings.cursor)).summed == int(TODAY.timestamp())
