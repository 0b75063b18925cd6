"""Old runs are forgotten for good, and no others, in a Dagster home that lasts."""

import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from veza_ops.findings import STORAGE_PROVEN, TRACKS
from veza_ops.history import removal
from veza_ops.runs import CHECKS_JOB, OURS, Location
from veza_ops_tests.library import Library, failure, run_job


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """A Dagster home of the test's own."""
    (tmp_path / "home").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "home")) as instance:
        yield instance


def age(instance: dg.DagsterInstance, run_id: str, **by: float) -> str:
    """Let a run have finished some time ago."""
    path = Path(instance.storage_directory()).parent / "history" / "runs.db"
    moment = datetime.now(UTC).replace(tzinfo=None) - timedelta(**by)
    with sa.create_engine(f"sqlite:///{path}").begin() as connection:
        connection.execute(
            sa.text("UPDATE runs SET create_timestamp = :at, update_timestamp = :at WHERE run_id = :run_id"),
            {"at": moment, "run_id": run_id},
        )
    return run_id


def left_of(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """What is left on disk that bears the run's id."""
    home = Path(instance.storage_directory()).parent
    return [str(path.relative_to(home)) for path in home.rglob(f"*{run_id}*")]


def prune(instance: dg.DagsterInstance, **history: int) -> dict[str, int]:
    result = run_job(None, instance, job="prune_history", history=history)
    assert result.success
    output = result.output_for_node("remove_old_runs")
    assert isinstance(output, dict)
    return output


def test_a_run_older_than_the_limit_is_removed_with_all_that_it_left(
    library: Library, instance: dg.DagsterInstance
) -> None:
    library.add_ghost()
    old = age(instance, run_job(library, instance).run_id, days=31)
    young = age(instance, run_job(library, instance).run_id, days=29)
    assert any("veza_ops" in str(path) for path in (Path(instance.storage_directory()) / old).rglob("*"))
    assert prune(instance) == {"cleanup_orphan_tracks": 1}
    assert instance.get_run_by_id(old) is None
    assert left_of(instance, old) == []
    assert instance.get_run_by_id(young)
    assert left_of(instance, young)
    assert library.rows()  # Veza's tracks are none of its business


def test_evidence_that_is_kept_elsewhere_goes_with_its_run(
    library: Library, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    library.add_ghost()
    elsewhere = {"folder": str(tmp_path / "evidence")}
    old = age(instance, run_job(library, instance, evidence=elsewhere).run_id, days=31)
    (kept,) = (tmp_path / "evidence").iterdir()
    assert kept.name == old
    result = run_job(None, instance, job="prune_history", evidence=elsewhere)
    assert result.success
    assert list((tmp_path / "evidence").iterdir()) == []


def test_a_disk_that_is_silent_ends_the_pruning_and_the_run_is_found_again(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, released: threading.Event
) -> None:
    old = age(instance, run_job(library, instance).run_id, days=31)
    monkeypatch.setattr(removal, "_size", lambda *_: released.wait())
    result = run_job(None, instance, job="prune_history", evidence={"timeout_seconds": 0.5})
    assert f"{old}: no answer within 0.5 s" in failure(result)
    assert instance.get_run_by_id(old)


def test_a_run_that_failed_is_removed_and_one_that_never_finished_is_not(
    library: Library, instance: dg.DagsterInstance
) -> None:
    failed = age(instance, run_job(library, instance, database={"tracks_table": "nowhere"}).run_id, days=31)
    unfinished = run_job(library, instance).run_id
    instance.report_engine_event("as if it were running", instance.get_run_by_id(unfinished))
    path = Path(instance.storage_directory()).parent / "history" / "runs.db"
    with sa.create_engine(f"sqlite:///{path}").begin() as connection:
        connection.execute(sa.text("UPDATE runs SET status = 'STARTED' WHERE run_id = :id"), {"id": unfinished})
    age(instance, unfinished, days=31)
    assert prune(instance) == {"cleanup_orphan_tracks": 1}
    assert instance.get_run_by_id(failed) is None
    assert instance.get_run_by_id(unfinished)


def test_runs_of_another_code_location_stay(instance: dg.DagsterInstance) -> None:
    @dg.op
    def nothing() -> None: ...

    @dg.job
    def of_somebody_else() -> None:
        nothing()

    theirs = age(instance, of_somebody_else.execute_in_process(instance=instance).run_id, days=365)
    assert prune(instance) == {}
    assert instance.get_run_by_id(theirs)


def test_in_a_code_location_that_others_share_our_old_runs_are_found_among_any_number_of_theirs(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "PAGE", 2)
    theirs = dg.AssetKey("theirs")

    def add(job: str, days: float, tags: Mapping[str, str] | None = None, **selection: Any) -> str:
        origin = RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("shared"), "__repository__"), job)
        run = dg.DagsterRun(
            job, status=dg.DagsterRunStatus.SUCCESS, tags=tags or {}, remote_job_origin=origin, **selection
        )
        instance.add_run(run)
        return age(instance, run.run_id, days=days)

    for number in range(5):  # older than ours, and more than are removed at a time
        add("of_their_own", 100 + number)
        add(CHECKS_JOB, 100 + number, asset_selection=frozenset({theirs}))
        add(CHECKS_JOB, 100 + number, asset_check_selection=frozenset({dg.AssetCheckKey(TRACKS, "of_their_own")}))
    ours = [add("cleanup_orphan_tracks", 40, OURS), add("cleanup_orphan_tracks", 50, OURS)]
    checks = add(CHECKS_JOB, 45, asset_check_selection=frozenset({STORAGE_PROVEN.key}))
    add(CHECKS_JOB, 20, asset_check_selection=frozenset({STORAGE_PROVEN.key}))
    before = datetime.now(UTC) - timedelta(days=30)

    def found(label: str | None, limit: int) -> list[str]:
        return [record.dagster_run.run_id for record in removal.old_runs(instance, Location(label), before, limit)]

    assert found("__repository__@shared", 4) == [ours[1], ours[0], checks]
    assert found("__repository__@shared", 1) == [ours[1]]
    assert found("__repository__@another", 4) == []
    assert found(None, 4) == []


def test_no_more_than_so_many_are_removed_at_a_time_the_oldest_first(
    library: Library, instance: dg.DagsterInstance
) -> None:
    runs = [age(instance, run_job(library, instance).run_id, days=days) for days in (40, 60, 50)]
    assert prune(instance, max_runs=2) == {"cleanup_orphan_tracks": 2}
    assert [run for run in runs if instance.get_run_by_id(run)] == [runs[0]]


def test_nothing_is_removed_when_everything_is_to_be_kept(library: Library, instance: dg.DagsterInstance) -> None:
    old = age(instance, run_job(library, instance).run_id, days=10_000)
    assert prune(instance, keep_days=0) == {}
    assert instance.get_run_by_id(old)
