"""What an operator sees in the web UI: descriptions, trends and checks of the tracks asset."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest

from veza_ops.cleanup.asset import ASSET, CHECKS
from veza_ops.cleanup.checks import library_health
from veza_ops.definitions import defs
from veza_ops.findings import TRACKS
from veza_ops.resources import Database, Storage
from veza_ops_tests.library import Library, run_job

NO_ORPHAN_LEFT, NOTHING_UNVERIFIABLE, STORAGE_PROVEN, NOTHING_STUCK = (check.name for check in CHECKS)

Evaluations = Mapping[str, dg.AssetCheckEvaluation]


def evaluations(result: dg.ExecuteInProcessResult) -> Evaluations:
    """What a run told the checks, by the check's name."""
    return {each.check_name: each for each in result.get_asset_check_evaluations()}


def observed(instance: dg.DagsterInstance) -> dict[str, Any]:
    """The metadata of the asset's newest observation."""
    records = instance.fetch_observations(TRACKS, limit=1).records
    assert records, "nothing was observed"
    assert records[0].asset_observation
    return {name: getattr(value, "value", value) for name, value in records[0].asset_observation.metadata.items()}


def ask(library: Library | None, **storage: Any) -> Evaluations:
    """Press Execute on the asset's Checks tab."""
    database = Database(url=library.url if library else "")
    files = Storage(**({"root": str(library.root)} if library else {}) | storage)
    return evaluations(
        dg.materialize(
            [library_health],
            selection=dg.AssetSelection.checks(library_health),
            resources={"database": database, "storage": files},
        )
    )


def test_a_cleanup_plots_its_counts_and_the_age_of_the_oldest_orphan(
    library: Library, instance: dg.DagsterInstance
) -> None:
    library.add_ghost(age=timedelta(hours=5))
    library.add_ghost(age=timedelta(hours=3))
    library.add("", age=timedelta(hours=9))
    assert run_job(library, instance).success
    numbers = {name: value for name, value in observed(instance).items() if isinstance(value, int | float)}
    assert numbers.pop("seconds") >= 0
    assert numbers.pop("oldest_orphan_age_hours") == pytest.approx(5, abs=0.1)
    assert numbers.pop("newest_orphan_age_hours") == pytest.approx(3, abs=0.1)
    assert numbers == {
        "stale": 3,
        "present": 0,
        "missing": 2,
        "unverifiable": 1,
        "raced": 0,
        "refused": 0,
        "marked_failed": 2,
        "growing": 0,
        "waiting": 0,
        "empty": 0,
        "stuck": 0,
        "dry_run": False,
    }


def test_a_table_lists_the_orphans_and_another_the_unverifiable_tracks_with_reasons(
    library: Library, instance: dg.DagsterInstance
) -> None:
    ghost, pathless = library.add_ghost(), library.add("")
    assert run_job(library, instance).success
    seen = observed(instance)
    (orphan,) = seen["orphans"].records
    assert (orphan.data["id"], orphan.data["age_hours"]) == (str(ghost), 2.0)
    assert orphan.data["reason"].startswith(f"no file at {library.root}")
    (unverifiable,) = seen["unverifiable_tracks"].records
    assert unverifiable.data["id"] == str(pathless)
    assert unverifiable.data["reason"] == "the row has no file_path, or none in UTF-8"


def test_after_a_cleanup_the_library_is_healthy(library: Library, instance: dg.DagsterInstance) -> None:
    library.add_ghost()
    said = evaluations(run_job(library, instance))
    assert {name: each.passed for name, each in said.items()} == {check.name: True for check in CHECKS}
    assert said[NO_ORPHAN_LEFT].description == "No orphan is left: 1 track marked failed."
    assert said[STORAGE_PROVEN].description == (
        "Storage proven: the files of 3 of the 3 newest playable tracks are there."
    )


def test_an_hour_without_stale_tracks_says_nothing_of_the_storage(
    library: Library, instance: dg.DagsterInstance
) -> None:
    said = evaluations(run_job(library, instance))
    assert {name: each.passed for name, each in said.items()} == dict.fromkeys(
        (NO_ORPHAN_LEFT, NOTHING_UNVERIFIABLE, NOTHING_STUCK), True
    )


def test_a_dry_run_says_that_orphans_are_left(library: Library, instance: dg.DagsterInstance) -> None:
    library.add_ghost()
    said = evaluations(run_job(library, instance, ops={"mark_orphans_failed": {"dry_run": True}}))
    assert not said[NO_ORPHAN_LEFT].passed
    assert said[NO_ORPHAN_LEFT].description == (
        "1 track without a file, only looked for. The next cleanup marks them failed."
    )


def test_tracks_that_nobody_could_look_for_show_on_the_asset(library: Library, instance: dg.DagsterInstance) -> None:
    library.add("")
    assert not evaluations(run_job(library, instance))[NOTHING_UNVERIFIABLE].passed


def test_storage_taken_on_trust_is_not_called_proven(library: Library, instance: dg.DagsterInstance) -> None:
    library.add_ghost()
    said = evaluations(run_job(library, instance, storage={"sample_size": 0}))
    assert not said[STORAGE_PROVEN].passed
    assert said[STORAGE_PROVEN].severity is dg.AssetCheckSeverity.WARN


@pytest.mark.parametrize("root", ["elsewhere", "nowhere"])
def test_a_refused_storage_shows_on_the_asset_though_the_run_failed(
    root: str, library: Library, instance: dg.DagsterInstance
) -> None:
    library.add_ghost()
    (library.root.parent / "elsewhere").mkdir()
    result = run_job(library, instance, storage={"root": str(library.root.parent / root)})
    assert not result.success
    # The step's failure keeps the event from the result in memory; the log, which the web UI shows, has it.
    said = [
        event.asset_check_evaluation_data
        for entry in instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        if (event := entry.dagster_event)
    ]
    assert [(each.check_name, each.passed, each.severity) for each in said] == [
        (STORAGE_PROVEN, False, dg.AssetCheckSeverity.ERROR)
    ]
    assert "nothing is changed" in (said[0].description or "")


def test_asked_on_the_asset_page_the_checks_look_and_change_nothing(library: Library) -> None:
    library.add_ghost()
    library.execute(f"ALTER DATABASE {library.database} SET default_transaction_read_only = on")
    before = library.rows()
    said = ask(library)
    assert {name: each.passed for name, each in said.items()} == {
        NO_ORPHAN_LEFT: False,
        NOTHING_UNVERIFIABLE: True,
        STORAGE_PROVEN: True,
        NOTHING_STUCK: True,
    }
    assert library.rows() == before


def test_asked_without_a_stale_track_the_checks_prove_the_storage_all_the_same(library: Library) -> None:
    assert all(each.passed for each in ask(library).values())
    said = ask(library, root=str(library.root.parent))
    assert not any(each.passed for each in said.values())
    assert "not the one that the database describes" in (said[STORAGE_PROVEN].description or "")


def test_asked_without_a_database_no_check_says_yes() -> None:
    assert [each.passed for each in ask(None).values()] == [False] * len(CHECKS)


def test_everything_that_an_operator_meets_has_a_description() -> None:
    repository = defs.get_repository_def()
    jobs = [job for job in repository.get_all_jobs() if not job.name.startswith("__")]
    named: list[Any] = [
        *jobs,
        *(node.definition for job in jobs for node in job.graph.nodes),
        *repository.schedule_defs,
        *repository.sensor_defs,
        *repository.get_top_level_resources().values(),
        *CHECKS,
        ASSET,
    ]
    assert not [each for each in named if not each.description]
    schemas = [
        *(node.definition.config_schema for job in jobs for node in job.graph.nodes),
        *(resource.config_schema for resource in repository.get_top_level_resources().values()),
    ]
    fields = [
        (name, field)
        for schema in schemas
        for name, field in getattr(getattr(schema, "config_type", None), "fields", {}).items()
    ]
    assert len(fields) > 10
    assert not [name for name, field in fields if not field.description]
