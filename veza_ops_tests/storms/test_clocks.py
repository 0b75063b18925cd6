"""Storms of time: a machine whose clock is off, a server that is set to summer time.

The database's clock is the only one that counts. Here it is set by a function of the test's own that the database
finds before its own ``now()``: a clock that is hours ahead of this machine's is a machine that is hours behind.
"""

import json
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from veza_ops.cleanup import rules
from veza_ops.findings import TRACKS
from veza_ops_tests.library import Id, Library, Schema, counts, failure, run_job
from veza_ops_tests.storms.scene import BEFORE_WRITE, Scene


def set_clock(library: Library, now: str) -> None:
    """Let the database's clock say what the SQL expression `now` says, to every new session."""
    library.execute("CREATE SCHEMA clock")
    library.execute(f"CREATE FUNCTION clock.now() RETURNS timestamptz LANGUAGE sql STABLE AS $$ SELECT {now} $$")
    library.execute(f"ALTER DATABASE {library.database} SET search_path = clock, pg_catalog, public")
    library.engine.dispose()


@pytest.mark.parametrize("hours", [-14, -5, 5, 14])
@pytest.mark.parametrize("kind", ["timestamp", "timestamptz"])
def test_a_machine_whose_clock_is_hours_off_changes_nothing(
    make_library: Callable[[Schema], Library], instance: dg.DagsterInstance, hours: int, kind: str
) -> None:
    library = make_library(Schema(created_at=kind, updated_at=kind))
    set_clock(library, f"pg_catalog.now() + interval '{hours} hours'")
    off = timedelta(hours=hours)
    ghost = library.add_ghost(age=timedelta(minutes=61) - off)
    library.add("fresh.flac", age=timedelta(minutes=59) - off)
    scene = Scene(library, instance)
    scene.ghosts = [ghost]
    library.execute("DELETE FROM tracks WHERE file_path LIKE 'uploads/%' AND id <> :ghost", ghost=ghost)
    scene.remember()
    after = counts(scene.run())
    assert (after["stale"], after["marked_failed"]) == (1, 1)
    scene.assert_all_is_well()


@pytest.mark.parametrize(
    "now",
    [
        "2026-03-29 00:30+00",  # an hour before the change
        "2026-03-29 01:00+00",  # at the change: 02:00 becomes 03:00
        "2026-03-29 01:30+00",
        "2026-03-29 02:30+00",
        "2026-10-25 00:30+00",  # 02:30 for the first time
        "2026-10-25 01:00+00",  # at the change back: 03:00 becomes 02:00
        "2026-10-25 01:30+00",  # 02:30 for the second time
        "2026-10-25 02:30+00",
    ],
)
@pytest.mark.parametrize("kind", ["timestamp", "timestamptz"])
def test_a_server_in_another_time_zone_over_a_change_to_or_from_summer_time_makes_no_track_older(
    make_library: Callable[[Schema], Library], instance: dg.DagsterInstance, now: str, kind: str
) -> None:
    library = make_library(Schema(created_at=kind, updated_at=kind))
    library.execute(f"ALTER DATABASE {library.database} SET timezone = 'Europe/Berlin'")
    set_clock(library, f"timestamptz '{now}'")
    since = datetime.now(UTC) - datetime.fromisoformat(now).astimezone(UTC)
    ghosts = [library.add_ghost(age=since + timedelta(minutes=minutes)) for minutes in (61, 90, 119, 121, 179, 241)]
    for minutes in (59, 45, 30, 1, -30):
        library.add(f"fresh-{minutes}.flac", age=since + timedelta(minutes=minutes))
    scene = Scene(library, instance)
    library.execute("DELETE FROM tracks WHERE file_path LIKE 'uploads/%' AND NOT id = ANY(:ghosts)", ghosts=ghosts)
    scene.ghosts = list(ghosts)
    scene.remember()
    after = counts(scene.run())
    assert (after["stale"], after["marked_failed"]) == (len(ghosts), len(ghosts))
    scene.assert_all_is_well()


# -- times without a zone: nobody says which zone they are in, so they are read as the latest that they may mean ------


def add_as_of(library: Library, zone: str, minutes: int) -> Id:
    """A ghost that an API in this time zone added so many minutes ago, by its own clock on the wall."""
    ghost = library.add_ghost()
    library.execute(
        "UPDATE tracks SET created_at = now() AT TIME ZONE :zone - make_interval(mins => :minutes) WHERE id = :id",
        zone=zone,
        minutes=minutes,
        id=ghost,
    )
    return ghost


@pytest.fixture
def naive(make_library: Callable[[Schema], Library]) -> Library:
    """A library whose times have no zone."""
    return make_library(Schema(created_at="timestamp", updated_at="timestamp"))


@pytest.mark.parametrize("by", ["the database", "a role"])
@pytest.mark.parametrize("zone", ["America/New_York", "Pacific/Honolulu", "Asia/Tokyo", "Australia/Lord_Howe"])
def test_a_row_of_a_minute_ago_is_young_in_whatever_zone_of_the_servers_it_was_written(
    naive: Library, instance: dg.DagsterInstance, zone: str, by: str
) -> None:
    role = f"api_{uuid.uuid4().hex[:8]}"
    naive.execute(f"CREATE ROLE {role}")
    whose = f"DATABASE {naive.database}" if by == "the database" else f"ROLE {role} IN DATABASE {naive.database}"
    naive.execute(f"ALTER {whose} SET timezone = '{zone}'")
    naive.engine.dispose()
    young = [add_as_of(naive, each, 1) for each in (zone, "UTC")]
    assert counts(run_job(naive, instance))["stale"] == 0
    assert {naive.status(ghost) for ghost in young} == {"processing"}
    old = [add_as_of(naive, each, 26 * 60) for each in (zone, "UTC")]
    assert counts(run_job(naive, instance))["marked_failed"] == 2
    assert {naive.status(ghost) for ghost in old} == {"failed"}
    naive.execute(f"DROP OWNED BY {role}")
    naive.execute(f"DROP ROLE {role}")


def stuck(instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult) -> object:
    """How many tracks a run calls stuck, of one whose file is there."""
    assert counts(result)["present"] == 1
    (observation,) = instance.fetch_observations(TRACKS, limit=1).records
    assert observation.asset_observation
    return observation.asset_observation.metadata["stuck"].value


@pytest.mark.parametrize(
    ("of_server", "written_in", "hours", "is_stuck"),
    [
        ("America/Los_Angeles", "America/Los_Angeles", 17, False),
        ("America/Los_Angeles", "America/Los_Angeles", 25, True),
        ("America/Los_Angeles", "UTC", 25, False),
        ("America/Los_Angeles", "UTC", 33, True),
        ("Asia/Tokyo", "UTC", 25, True),
    ],
)
def test_a_track_is_called_stuck_only_if_it_is_old_enough_in_whatever_zone_it_was_written(
    naive: Library, instance: dg.DagsterInstance, of_server: str, written_in: str, hours: int, *, is_stuck: bool
) -> None:
    naive.execute(f"ALTER DATABASE {naive.database} SET timezone = '{of_server}'")
    naive.engine.dispose()
    naive.write(naive.row(add_as_of(naive, written_in, hours * 60))["file_path"])
    assert stuck(instance, run_job(naive, instance)) == is_stuck


def test_a_track_whose_time_holds_its_zone_is_stuck_as_soon_as_it_is_old_enough(
    make_library: Callable[[Schema], Library], instance: dg.DagsterInstance
) -> None:
    library = make_library(Schema(created_at="timestamptz", updated_at="timestamp"))
    library.execute(f"ALTER DATABASE {library.database} SET timezone = 'America/Los_Angeles'")
    library.engine.dispose()
    library.add("uploads/there.flac", content=b"music", age=timedelta(hours=25))
    assert stuck(instance, run_job(library, instance)) == 1


def test_in_the_hour_that_comes_twice_a_row_is_as_young_as_it_may_be(
    naive: Library, instance: dg.DagsterInstance
) -> None:
    """Written at 01:10 for the second time; it is 01:50 now, and an hour ago it was 01:50 for the first time."""
    naive.execute(f"ALTER DATABASE {naive.database} SET timezone = 'America/New_York'")
    set_clock(naive, "timestamptz '2026-11-01 06:50+00'")
    ghost = naive.add_ghost()
    naive.execute("UPDATE tracks SET created_at = '2026-11-01 01:10' WHERE id = :id", id=ghost)
    assert counts(run_job(naive, instance))["stale"] == 0
    assert naive.status(ghost) == "processing"


@pytest.mark.parametrize("kind", ["timestamp", "timestamptz"])
@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_with_quiet_minutes_a_row_that_was_touched_just_now_is_left_and_without_them_it_is_failed(
    make_library: Callable[[Schema], Library], instance: dg.DagsterInstance, kind: str, zone: str
) -> None:
    library = make_library(Schema(updated_at=kind))
    library.execute(f"ALTER DATABASE {library.database} SET timezone = '{zone}'")
    library.engine.dispose()
    touched, silent = library.add_ghost(), library.add_ghost(updated_at=None)
    library.execute("UPDATE tracks SET updated_at = now() - interval '20 seconds' WHERE id = :id", id=touched)
    assert counts(run_job(library, instance, ops={"find_stale_tracks": {"quiet_minutes": 10}}))["marked_failed"] == 1
    assert (library.status(touched), library.status(silent)) == ("processing", "failed")
    assert counts(run_job(library, instance))["marked_failed"] == 1
    assert library.status(touched) == "failed"


def test_a_row_that_is_touched_between_look_and_write_is_left_by_quiet_minutes_as_well(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    ghost = library.add_ghost()
    BEFORE_WRITE.arrange(monkeypatch, lambda: library.execute("UPDATE tracks SET updated_at = now()"))
    after = counts(run_job(library, instance, ops={"find_stale_tracks": {"quiet_minutes": 10}}))
    assert (after["raced"], library.status(ghost)) == (1, "processing")


def test_quiet_minutes_without_updated_at_are_refused(
    make_library: Callable[[Schema], Library], instance: dg.DagsterInstance
) -> None:
    library = make_library(Schema(updated_at=None))
    ghost = library.add_ghost()
    result = run_job(library, instance, ops={"find_stale_tracks": {"quiet_minutes": 10}})
    assert "no column updated_at" in failure(result)
    assert library.status(ghost) == "processing"


@pytest.mark.parametrize("created_at", ["-infinity", "4714-11-24 00:00:00 BC", "0044-03-15 12:00:00 BC"])
def test_a_row_from_before_all_time_holds_up_no_other_in_any_zone(
    naive: Library, instance: dg.DagsterInstance, created_at: str
) -> None:
    naive.execute(f"ALTER DATABASE {naive.database} SET timezone = 'Asia/Tokyo'")
    naive.engine.dispose()
    ancient, other = naive.add_ghost(), naive.add_ghost(age=timedelta(hours=26))
    naive.execute("UPDATE tracks SET created_at = CAST(:at AS timestamp) WHERE id = :id", at=created_at, id=ancient)
    assert counts(run_job(naive, instance))["marked_failed"] == 2
    assert naive.status(other) == "failed"


@pytest.mark.parametrize("created_at", ["-infinity", "0044-03-15 12:00:00 BC"])
def test_a_row_from_before_all_time_is_failed_and_listed(
    library: Library, instance: dg.DagsterInstance, created_at: str
) -> None:
    ghost = library.add_ghost()
    library.execute("UPDATE tracks SET created_at = CAST(:at AS timestamptz) WHERE id = :id", at=created_at, id=ghost)
    assert counts(run_job(library, instance))["marked_failed"] == 1
    (observation,) = instance.fetch_observations(TRACKS, limit=1).records
    assert observation.asset_observation
    metadata = observation.asset_observation.metadata
    table = metadata["orphans"]
    assert isinstance(table, dg.TableMetadataValue)
    assert [row.data["age_hours"] for row in table.records] == ["infinite"]
    assert "Infinity" not in json.dumps([row.data for row in table.records])
    assert not [value for value in metadata.values() if getattr(value, "value", 0) == float("inf")]


# -- between the two looks ------------------------------------------------------------------------------------------


def instead_of_sleep(monkeypatch: pytest.MonkeyPatch, do: Callable[[float], object]) -> None:
    """Do that where the steps would sleep, and nowhere else: other threads of this process have waits of their own."""
    monkeypatch.setattr("veza_ops.cleanup.ops.time", SimpleNamespace(sleep=do, monotonic=time.monotonic))


def test_settle_seconds_lie_between_the_two_looks_and_are_waited_for_once(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        library.add_ghost()
    waits: list[float] = []
    instead_of_sleep(monkeypatch, waits.append)
    ops = {"find_stale_tracks": {"batch_size": 1}, "mark_orphans_failed": {"settle_seconds": 3600}}
    assert counts(run_job(library, instance, ops=ops))["marked_failed"] == 3
    assert len(waits) == 3
    assert all(3500 < seconds <= 3600 for seconds in waits)


def test_time_that_has_passed_since_the_first_look_is_not_waited_for_again(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.add_ghost()
    real = rules.seconds_to_settle
    waits: list[float] = []

    def an_hour_later(checked: rules.Checked, settle: timedelta, database: Any) -> float:
        earlier = str(datetime.fromisoformat(checked.looked_at) - timedelta(hours=1))
        waits.append(real(replace(checked, looked_at=earlier), settle, database))
        return 0.0

    monkeypatch.setattr(rules, "seconds_to_settle", an_hour_later)
    assert counts(run_job(library, instance, ops={"mark_orphans_failed": {"settle_seconds": 3000}}))
    assert waits == [0.0]


def test_a_file_that_comes_while_the_looks_settle_is_seen(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = library.add_ghost(file_path="late.flac")
    instead_of_sleep(monkeypatch, lambda _: library.write("late.flac"))
    after = counts(run_job(library, instance, ops={"mark_orphans_failed": {"settle_seconds": 10}}))
    assert (after["present"], library.status(late)) == (1, "processing")


def test_by_hand_nothing_is_waited_for(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.add_ghost()
    waits: list[float] = []
    instead_of_sleep(monkeypatch, waits.append)
    assert counts(run_job(library, instance))["marked_failed"] == 1
    assert sum(waits) == 0
