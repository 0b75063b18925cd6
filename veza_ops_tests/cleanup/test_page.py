"""What one look at the asset's page answers: is it well, since when, what changed this week, how to undo it."""

import json
import shlex
from datetime import timedelta
from typing import Any
from urllib.parse import unquote

import dagster as dg
import pytest
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from veza_ops.cleanup.asset import NO_ORPHAN_LEFT, NOTHING_STUCK
from veza_ops.cleanup.page import health, undo, week
from veza_ops.cleanup.rules import Counts
from veza_ops.definitions import defs
from veza_ops.findings import TRACKS, Finding
from veza_ops_tests.library import Library, run_job

DRY = {"mark_orphans_failed": {"dry_run": True}}
RUN = "0a1b2c3d-0000-4000-8000-000000000000"


def observed(instance: dg.DagsterInstance) -> dict[str, Any]:
    (record,) = instance.fetch_observations(TRACKS, limit=1).records
    assert record.asset_observation
    return {name: value.value for name, value in record.asset_observation.metadata.items()}


def found(*names: str) -> list[Finding]:
    return [Finding(each, each.name not in names, "") for each in (NO_ORPHAN_LEFT, NOTHING_STUCK)]


def test_it_is_well_until_a_check_says_otherwise_and_each_has_lasted_since_it_began() -> None:
    first = health(found(), {}, "2026-11-20 06:00:00.123456")
    assert first == {"health": "well", "health_since": "2026-11-20 06:00 UTC"}
    assert health(found(), first, "2026-11-21 06:00:00") == first
    stuck = health(found("nothing_stuck"), first, "2026-11-22 06:00:00")
    assert stuck == {"health": "needs attention: nothing_stuck", "health_since": "2026-11-22 06:00 UTC"}
    both = health(found("nothing_stuck", "no_orphan_left"), stuck, "2026-11-23 06:00:00")
    assert both == {
        "health": "needs attention: no_orphan_left, nothing_stuck",
        "health_since": "2026-11-22 06:00 UTC",
    }
    assert health(found(), both, "2026-11-24 06:00:00")["health_since"] == "2026-11-24 06:00 UTC"


def rows(table: dg.TableMetadataValue) -> list[tuple[Any, ...]]:
    names = "day", "cleanups", "marked_failed", "raced", "refused"
    return [tuple(record.data[name] for name in names) for record in table.records]


def test_the_week_is_told_day_by_day_and_what_is_older_is_left_out() -> None:
    table = week({}, Counts(marked_failed=3, raced=1), "2026-11-20 23:59:59.5")
    assert rows(table) == [("2026-11-20", 1, 3, 1, 0)]
    for now in ("2026-11-21 00:00:01", "2026-11-21 06:00:00"):
        table = week({"week": table}, Counts(marked_failed=1, refused=2), now)
    assert rows(table) == [("2026-11-21", 2, 2, 0, 4), ("2026-11-20", 1, 3, 1, 0)]
    table = week({"week": table}, Counts(), "2026-11-27 06:00:00")
    assert rows(table) == [("2026-11-27", 1, 0, 0, 0), ("2026-11-21", 2, 2, 0, 4)]


@pytest.mark.parametrize("odd", [None, 7, dg.MetadataValue.table([dg.TableRecord({"day": "2026-11-20"})])], ids=str)
def test_a_week_that_is_none_is_begun_anew(odd: Any) -> None:
    assert rows(week({"week": odd}, Counts(), "2026-11-20 06:00:00")) == [("2026-11-20", 1, 0, 0, 0)]


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
