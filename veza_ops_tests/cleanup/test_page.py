"""What one look at the asset's page answers: is it well, since when, what changed this week, how to undo it."""

import json
import shlex
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import dagster as dg
import pytest
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.events import AssetObservationData
from dagster._core.execution.api import execute_run
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from veza_ops.cleanup.asset import NO_ORPHAN_LEFT, NOTHING_STUCK
from veza_ops.cleanup.page import health, told_before, undo, week
from veza_ops.cleanup.rules import Counts
from veza_ops.definitions import defs
from veza_ops.findings import TRACKS, Finding
from veza_ops.runs import OURS, Observed
from veza_ops_tests.library import Library, run_config, run_job

DRY = {"mark_orphans_failed": {"dry_run": True}}
RUN = "0a1b2c3d-0000-4000-8000-000000000000"


def observed(instance: dg.DagsterInstance) -> dict[str, Any]:
    (record,) = instance.fetch_observations(TRACKS, limit=1).records
    assert record.asset_observation
    return {name: value.value for name, value in record.asset_observation.metadata.items()}


def found(*names: str) -> list[Finding]:
    return [Finding(each, each.name not in names, "") for each in (NO_ORPHAN_LEFT, NOTHING_STUCK)]


def at(moment: str) -> datetime:
    return datetime.fromisoformat(f"{moment}+00:00")


def told(moment: str, run_id: str = "", **metadata: Any) -> Observed:
    """What a cleanup told at a moment."""
    return Observed(run_id or moment, at(moment).timestamp(), metadata)


def test_it_is_well_until_a_check_says_otherwise_and_each_has_lasted_since_it_began() -> None:
    earlier: list[Observed] = []

    def then(moment: str, *names: str) -> dict[str, str]:
        says = health(found(*names), earlier, moment)
        earlier.insert(0, told(moment, **says))
        return says

    assert then("2026-11-20 06:00:00.123456") == {"health": "well", "health_since": "2026-11-20 06:00 UTC"}
    assert then("2026-11-21 06:00:00") == {"health": "well", "health_since": "2026-11-20 06:00 UTC"}
    stuck = {"health": "needs attention: nothing_stuck", "health_since": "2026-11-22 06:00 UTC"}
    assert then("2026-11-22 06:00:00", "nothing_stuck") == stuck
    assert then("2026-11-23 06:00:00", "nothing_stuck", "no_orphan_left") == {
        "health": "needs attention: no_orphan_left, nothing_stuck",
        "health_since": "2026-11-22 06:00 UTC",
    }
    assert then("2026-11-24 06:00:00") == {"health": "well", "health_since": "2026-11-24 06:00 UTC"}


WELL_SINCE_JUNE = {"health": "well", "health_since": "2026-06-01 00:00 UTC"}


def test_what_tells_nothing_of_health_breaks_off_nothing() -> None:
    dry = [told(f"2026-11-20 06:00:{second}", dry_run=True, marked_failed=0) for second in range(20, 40)]
    odd = told("2026-11-20 05:00:00", health=7, health_since=None)
    earlier = [*dry, odd, told("2026-11-20 04:00:00", **WELL_SINCE_JUNE)]
    assert health(found(), earlier, "2026-11-20 07:00:00") == WELL_SINCE_JUNE


def test_a_run_that_does_not_see_the_others_takes_nothing_from_them() -> None:
    """From the command line: it tells of itself alone, and may have missed that it was otherwise in between."""
    earlier = [
        told("2026-11-20 05:00:00", health="well", health_since="2026-11-20 05:00 UTC"),  # of the command line
        told("2026-11-20 04:00:00", **WELL_SINCE_JUNE),
    ]
    assert health(found(), earlier, "2026-11-20 06:00:00") == WELL_SINCE_JUNE
    earlier = [
        told("2026-11-20 05:30:00", health="well", health_since="2026-11-20 05:00 UTC"),
        told("2026-11-20 05:00:00", **WELL_SINCE_JUNE),  # of the command line
        told("2026-11-20 04:00:00", health="needs attention: nothing_stuck", health_since="2026-11-19 04:00 UTC"),
    ]
    assert health(found(), earlier, "2026-11-20 06:00:00")["health_since"] == "2026-11-20 05:00 UTC"


def rows(table: dg.TableMetadataValue) -> list[tuple[Any, ...]]:
    names = "day", "cleanups", "marked_failed", "raced", "refused"
    return [tuple(record.data[name] for name in names) for record in table.records]


def test_the_week_is_told_day_by_day_and_what_is_older_is_left_out() -> None:
    earlier = [
        told("2026-11-21 06:00:00", marked_failed=1, raced=0, refused=2),
        told("2026-11-21 00:00:01", marked_failed=1, raced=0, refused=2),
        told("2026-11-20 23:59:59.5", marked_failed=3, raced=1, refused=0),
    ]
    table = week(earlier, at("2026-11-21 23:00:00"), Counts(marked_failed=4))
    assert rows(table) == [("2026-11-21", 3, 6, 0, 4), ("2026-11-20", 1, 3, 1, 0)]
    table = week(earlier, at("2026-11-27 06:00:00"), Counts())
    assert rows(table) == [("2026-11-27", 1, 0, 0, 0), ("2026-11-21", 2, 2, 0, 4)]


def test_what_is_no_cleanup_that_came_to_its_end_is_not_counted_and_none_is_counted_twice() -> None:
    earlier = [
        told("2026-11-20 06:00:03", "twice", marked_failed=2, raced=None, refused="many"),
        told("2026-11-20 06:00:02", "twice", marked_failed=2, raced=0, refused=0),
        told("2026-11-20 06:00:01", marked_failed=0, dry_run=True),
        told("2026-11-20 06:00:00", health="needs attention: the cleanup failed"),
        told("2026-11-20 05:00:00", marked_failed="one"),
    ]
    assert rows(week(earlier, at("2026-11-20 07:00:00"))) == [("2026-11-20", 1, 2, 0, 0)]


def test_a_cleanup_tells_it_first_of_all_and_goes_on_from_the_one_before(
    library: Library, instance: dg.DagsterInstance
) -> None:
    library.add_ghost(file_path="playable/ghost.flac")
    run = run_job(library, instance)
    first = observed(instance)
    assert list(first)[:2] == ["health", "health_since"]
    assert first["health"] == "well"
    assert run.run_id in first["undo"]
    assert [row[1:] for row in rows(first["week"])] == [(1, 1, 0, 0)]
    library.add("playable/stuck.flac", content=b"music", age=timedelta(hours=30))
    run_job(library, instance)
    second = observed(instance)
    assert second["health"] == "needs attention: nothing_stuck"
    assert sum(row[1] for row in rows(second["week"])) == 2
    assert "undo" not in second, "there is nothing to be undone"


def test_what_an_earlier_run_told_is_begun_anew_where_it_cannot_be_read(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version of Dagster, or of a neighbour's package, may have stored what this one doesn't know."""
    run_job(library, instance)
    ghost = library.add_ghost(file_path="playable/ghost.flac")

    def fetch(*_: Any, **__: Any) -> Any:
        return dg.deserialize_value('{"__class__": "OfAnotherVersion"}')

    with monkeypatch.context() as patched:
        patched.setattr(instance, "fetch_observations", fetch)
        assert run_job(library, instance).success
    assert library.row(ghost)["status"] == "failed"
    assert [row[1:] for row in rows(observed(instance)["week"])] == [(1, 1, 0, 0)]


def test_a_dry_run_says_nothing_of_health_and_changes_nothing_of_it(
    library: Library, instance: dg.DagsterInstance
) -> None:
    run_job(library, instance)
    library.add_ghost(file_path="playable/ghost.flac")
    run_job(library, instance, ops=DRY)
    assert not {"health", "health_since", "week", "undo"} & observed(instance).keys()
    run_job(library, instance)
    assert sum(row[1] for row in rows(observed(instance)["week"])) == 2


def test_any_number_of_dry_runs_hides_nothing_of_the_week(library: Library, instance: dg.DagsterInstance) -> None:
    library.add_ghost(file_path="playable/ghost.flac")
    run_job(library, instance)
    since = observed(instance)["health_since"]
    for _ in range(12):
        run_job(library, instance, ops=DRY)
    run_job(library, instance)
    assert observed(instance)["health_since"] == since
    assert sum(row[2] for row in rows(observed(instance)["week"])) == 1


def start(library: Library, instance: dg.DagsterInstance, location: str | None) -> None:
    """A run of the daemon of a code location, or of the command line."""
    job = defs.resolve_job_def("cleanup_orphan_tracks")
    code = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(location or ""), "__repository__")
    origin = RemoteJobOrigin(code, job.name) if location else None
    run = instance.create_run_for_job(job, run_config=run_config(library), tags=job.tags, remote_job_origin=origin)
    assert execute_run(InMemoryJob(job), run, instance).success


def test_a_run_of_the_command_line_takes_nothing_from_the_week_of_the_daemon(
    library: Library, instance: dg.DagsterInstance
) -> None:
    library.add_ghost(file_path="playable/ghost.flac")
    start(library, instance, "production")
    library.add_ghost(file_path="playable/other.flac")
    start(library, instance, None)
    assert sum(row[1] for row in rows(observed(instance)["week"])) == 1
    start(library, instance, "production")
    week_of = rows(observed(instance)["week"])
    assert (sum(row[1] for row in week_of), sum(row[2] for row in week_of)) == (3, 2)


def observe(instance: dg.DagsterInstance, run: dg.DagsterRun, ago: timedelta, **metadata: Any) -> None:
    """Have a run tell the asset something so long ago."""
    data = AssetObservationData(dg.AssetObservation(TRACKS, metadata=metadata))
    kind = dg.DagsterEventType.ASSET_OBSERVATION.value
    event = dg.DagsterEvent(kind, run.job_name, event_specific_data=data, message="seen")
    when = (datetime.now(UTC) - ago).timestamp()
    entry = dg.EventLogEntry(None, "debug", "", run.run_id, when, None, run.job_name, event)  # type: ignore[no-untyped-call]
    instance.handle_new_event(entry)


def test_no_more_is_read_than_a_week_and_what_was_told_once_before_it(
    instance: dg.DagsterInstance, caplog: pytest.LogCaptureFixture
) -> None:
    run = dg.DagsterRun("cleanup_orphan_tracks", run_id=RUN, tags=OURS)
    instance.add_run(run)
    table = dg.MetadataValue.table([dg.TableRecord({"id": "1"})])
    for days in (30, 20, 10, *[1] * 120):
        observe(instance, run, timedelta(days=days), days=days, orphans=table)
    context = SimpleNamespace(run=run, instance=instance)
    read = told_before(context)  # type: ignore[arg-type]  # has all that is asked of it
    assert [each.told for each in read] == [*[{"days": 1}] * 120, {"days": 10}]
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("repository", "location", "at"),
    [
        ("__repository__", "veza ops", "veza%20ops"),
        ("named", "veza ops", "named%40veza%20ops"),
        ("__repository__", "veza/eu", "veza%2Feu"),
    ],
)
def test_undoing_a_run_is_a_link_to_the_launchpad_with_its_id_filled_in(
    repository: str, location: str, at: str
) -> None:
    origin = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(location), repository)
    run = dg.DagsterRun("cleanup", run_id=RUN, remote_job_origin=RemoteJobOrigin(origin, "cleanup"))
    place, _, config = str(undo(run).value).partition("?config=")
    assert place == f"/locations/{at}/jobs/restore_orphan_tracks/playground/setup"
    assert unquote(config).split() == [
        *("ops:", "find_marked_tracks:", "config:", "run_id:", RUN),
        *("restore_tracks:", "config:", "dry_run:", "true"),
    ]


def test_undoing_a_run_of_the_command_line_is_a_command() -> None:
    command = shlex.split(str(undo(dg.DagsterRun("cleanup", run_id=RUN)).value))
    assert command[:-1] == [
        *("dagster", "job", "execute", "-m", "veza_ops.definitions", "-j", "restore_orphan_tracks", "--config-json")
    ]
    config = json.loads(command[-1])
    assert dg.validate_run_config(defs.resolve_job_def("restore_orphan_tracks"), config)
    assert config["ops"]["find_marked_tracks"] == {"config": {"run_id": RUN}}


def test_undoing_a_run_of_the_command_line_takes_the_module_that_it_was_started_from() -> None:
    code = RepositoryPythonOrigin("python", ModuleCodePointer("veza_eu.location", "defs", None))
    run = dg.DagsterRun("cleanup", run_id=RUN, job_code_origin=JobPythonOrigin("cleanup", code))
    assert shlex.split(str(undo(run).value))[3:5] == ["-m", "veza_eu.location"]
