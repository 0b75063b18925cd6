"""Storms of time: a machine whose clock is off, a server that is set to summer time.

The database's clock is the only one that counts. Here it is set by a function of the test's own that the database
finds before its own ``now()``: a clock that is hours ahead of this machine's is a machine that is hours behind.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from veza_ops_tests.library import Library, Schema, counts
from veza_ops_tests.storms.scene import Scene


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
