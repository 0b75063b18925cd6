"""When the hourly cleanup runs, and when it has a reason not to."""

import sys
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from veza_ops.cleanup import job as wiring
from veza_ops.definitions import defs
from veza_ops.resources import Database
from veza_ops.runs import UNFINISHED, WRITES_TRACKS
from veza_ops.steps import NOT_CONFIGURED

JOB = defs.resolve_job_def("cleanup_orphan_tracks")
SCHEDULE = defs.resolve_schedule_def("cleanup_orphan_tracks_hourly")
CONFIGURED = Database(url="postgresql://nobody@localhost/nowhere")


@pytest.fixture(scope="module")
def kept_instance() -> Iterator[dg.DagsterInstance]:
    """An instance on disk, which a schedule's context insists on."""
    with tempfile.TemporaryDirectory() as home, dg.DagsterInstance.local_temp(home) as instance:
        yield instance


@pytest.fixture
def instance(kept_instance: dg.DagsterInstance) -> dg.DagsterInstance:
    """The instance without any run."""
    kept_instance.wipe()
    return kept_instance


def tick(instance: dg.DagsterInstance, database: Database = CONFIGURED) -> dg.RunRequest | str:
    """What a tick answers: a run, or the reason why none."""
    resources, repository = {"database": database}, defs.get_repository_def()
    with dg.build_schedule_context(instance, datetime.now(UTC), resources, repository_def=repository) as context:
        answer = SCHEDULE.evaluate_tick(context)
    return next(iter(answer.run_requests or []), None) or str(answer.skip_message)


def add_run(
    instance: dg.DagsterInstance,
    status: dg.DagsterRunStatus,
    job: str = JOB.name,
    location: str = "veza_eu",
    tags: Mapping[str, str] = JOB.tags,
) -> str:
    """Note a run of a job as being in this state."""
    definition = dg.JobDefinition(name=job, graph_def=JOB.graph, tags=tags)
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(location), "__repository__")
    origin = RemoteJobOrigin(repository, job)  # no run can be queued without one
    return instance.create_run_for_job(definition, status=status, tags=tags, remote_job_origin=origin).run_id


def test_it_strikes_every_hour_in_utc_and_is_on_by_default() -> None:
    assert SCHEDULE.cron_schedule == "0 * * * *"
    assert SCHEDULE.execution_timezone == "UTC"
    assert SCHEDULE.default_status is dg.DefaultScheduleStatus.RUNNING


def test_a_tick_in_time_asks_for_a_run(instance: dg.DagsterInstance) -> None:
    request = tick(instance)
    assert isinstance(request, dg.RunRequest)
    assert request.run_config == {"ops": {"mark_orphans_failed": {"config": {"settle_seconds": 10}}}}


def test_without_a_database_it_says_so(instance: dg.DagsterInstance) -> None:
    assert tick(instance, Database(url="")) == NOT_CONFIGURED


@pytest.mark.parametrize("status", UNFINISHED)
def test_it_is_not_piled_on_a_cleanup_that_is_queued_or_running(
    instance: dg.DagsterInstance, status: dg.DagsterRunStatus
) -> None:
    busy = add_run(instance, status)
    assert tick(instance) == f"Run {busy} of the same job is still queued or running."


@pytest.mark.parametrize("status", [status for status in dg.DagsterRunStatus if status not in UNFINISHED])
def test_a_cleanup_that_is_over_does_not_hold_it_up(instance: dg.DagsterInstance, status: dg.DagsterRunStatus) -> None:
    add_run(instance, status)
    assert isinstance(tick(instance), dg.RunRequest)


def test_a_run_of_another_job_does_not_hold_it_up(instance: dg.DagsterInstance) -> None:
    add_run(instance, dg.DagsterRunStatus.STARTED, job="another")
    assert isinstance(tick(instance), dg.RunRequest)


def test_a_cleanup_of_another_platform_does_not_hold_it_up(instance: dg.DagsterInstance) -> None:
    add_run(instance, dg.DagsterRunStatus.STARTED, tags={**JOB.tags, WRITES_TRACKS: "another table"})
    assert isinstance(tick(instance), dg.RunRequest)


def test_a_cleanup_of_a_neighbour_does_not_hold_it_up_where_it_knows_its_own_code_location(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["dagster", "api", "grpc", "--location-name", "veza_us"])
    add_run(instance, dg.DagsterRunStatus.STARTED, location="veza_eu")
    assert isinstance(tick(instance), dg.RunRequest)
    busy = add_run(instance, dg.DagsterRunStatus.STARTED, location="veza_us")
    assert tick(instance) == f"Run {busy} of the same job is still queued or running."


def test_a_run_that_died_without_a_word_does_not_hold_it_up_for_ever(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_run(instance, dg.DagsterRunStatus.STARTED)
    monkeypatch.setattr(wiring, "STUCK_AFTER", timedelta(minutes=-1))
    assert isinstance(tick(instance), dg.RunRequest)
