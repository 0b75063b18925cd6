"""Whoever ends a run has ended it: nothing more is written, nothing is tried again, and it is shown as what it is.

Each time, the run's write waits for a lock that a session of Veza's holds, and is let go once the run is over.
"""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest
import sqlalchemy as sa

from demo.ports import free_port
from veza_ops.definitions import defs
from veza_ops_tests.e2e.deployment import (
    A_MINUTE_AND_THE_START,
    JOB,
    Deployment,
    graphql,
    those,
    wait_for,
    webserver_answers,
)
from veza_ops_tests.library import Library, run_job

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

PATIENT = {
    "database": {"config": {"lock_timeout_seconds": 300, "statement_timeout_seconds": 600}},
    "storage": {"config": {"look_timeout_seconds": 300}},
}
"""So that a write waits for its lock until somebody ends it, on a busy machine too."""

UNDO = "restore_orphan_tracks"

EXECUTORS: dict[str, dict[str, Any]] = {
    "in_process": {"in_process": {}},
    "multiprocess": {"multiprocess": {}},
    "forked": {"multiprocess": {"start_method": {"forkserver": {}}}},
}


def test_no_step_is_tried_again_by_a_policy_of_its_own() -> None:
    """Dagster would follow it also when somebody ends the run."""
    jobs = [defs.resolve_job_def(name) for name in (JOB, UNDO, "audit_track_files", "prune_history")]
    steps = [node.definition for job in jobs for node in job.nodes]
    assert len(steps) == 12
    assert not [step.name for step in steps if not isinstance(step, dg.OpDefinition) or step.retry_policy]


@contextmanager
def held(library: Library) -> Iterator[None]:
    """Nobody else can write to the tracks table meanwhile."""
    with library.engine.connect() as connection:
        connection.execute(sa.text("LOCK TABLE tracks IN SHARE ROW EXCLUSIVE MODE"))
        yield
        connection.rollback()


def wait_for_the_write(library: Library) -> None:
    waits = "wait_event_type = 'Lock'"
    wait_for("a write that waits", lambda: library.sessions(waits) or None, seconds=A_MINUTE_AND_THE_START)


def assert_ended(
    deployment: Deployment, library: Library, before: object, run_id: str, *statuses: dg.DagsterRunStatus
) -> None:
    """It is over, also on the server, and nothing came of it."""
    wait_for("the server to let go", lambda: not library.sessions() or None, seconds=A_MINUTE_AND_THE_START)
    run = deployment.instance.get_run_by_id(run_id)
    assert run is not None
    assert run.status in statuses
    again = dg.DagsterEventType.STEP_UP_FOR_RETRY, dg.DagsterEventType.STEP_RESTARTED
    assert not [event for kind in again for event in deployment.instance.all_logs(run.run_id, of_type=kind)]
    assert library.rows() == before


def config_of(job: str, executor: str = "in_process") -> dict[str, Any]:
    """The run config, by which each track is a batch of its own: the others are to stay as they are too."""
    ops = {
        JOB: {"find_stale_tracks": {"config": {"batch_size": 1}}},
        UNDO: {"find_marked_tracks": {"config": {"batch_size": 1}}, "restore_tracks": {"config": {"dry_run": False}}},
    }
    return {"ops": ops[job], "resources": PATIENT, "execution": {"config": EXECUTORS[executor]}}


def to_be_changed(job: str, library: Library, instance: dg.DagsterInstance) -> None:
    """What the job changes unless it is ended."""
    ghosts = [library.add_ghost() for _ in range(2)]
    if job == UNDO:
        assert run_job(library, instance).success
        for ghost in ghosts:
            library.write(library.row(ghost)["file_path"])


@pytest.mark.parametrize(
    ("job", "executor", "ends_by"),
    [
        (JOB, "in_process", signal.SIGTERM),
        (JOB, "in_process", signal.SIGINT),
        (JOB, "multiprocess", signal.SIGTERM),
        (JOB, "forked", signal.SIGTERM),
        (JOB, "forked", signal.SIGINT),
        (UNDO, "in_process", signal.SIGTERM),
        (UNDO, "in_process", signal.SIGINT),
    ],
)
def test_a_signal_ends_the_command(
    deployment: Deployment,
    library: Library,
    instance: dg.DagsterInstance,
    tmp_path: Path,
    job: str,
    executor: str,
    ends_by: signal.Signals,
) -> None:
    to_be_changed(job, library, instance)
    before = library.rows()
    config = tmp_path / "run.json"
    config.write_text(json.dumps(config_of(job, executor)))
    with held(library):
        command = ("dagster", "job", "execute", "-m", "veza_ops.definitions", "-j", job, "-c", str(config))
        process = deployment.start(*command)
        wait_for_the_write(library)
        process.send_signal(ends_by)
        assert process.wait(A_MINUTE_AND_THE_START) != 0
    (run,) = deployment.runs()
    assert_ended(deployment, library, before, run.run_id, dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.FAILURE)


ENDED_WHILE_IT_STARTS_A_STEP = """
import os, signal
from dagster._cli import main
from dagster._core.events import DagsterEvent

starting = DagsterEvent.step_worker_starting

def and_ended(context, *rest, **names):
    event = starting(context, *rest, **names)
    if "{step}" in context.step.key:
        os.kill(os.getpid(), signal.SIGTERM)
    return event

DagsterEvent.step_worker_starting = staticmethod(and_ended)
main()
"""
"""The command line, ended after a step was taken up and before its process is there: Dagster starts that all the same,
and tells it nothing."""


@pytest.mark.parametrize(
    ("job", "step", "executor"), [(JOB, "mark_orphans_failed", "multiprocess"), (UNDO, "restore_tracks", "forked")]
)
def test_a_step_whose_process_starts_after_the_end_does_nothing(
    deployment: Deployment,
    library: Library,
    instance: dg.DagsterInstance,
    tmp_path: Path,
    job: str,
    step: str,
    executor: str,
) -> None:
    to_be_changed(job, library, instance)
    before = library.rows()
    config = tmp_path / "run.json"
    config.write_text(json.dumps(config_of(job, executor)))
    script = ENDED_WHILE_IT_STARTS_A_STEP.format(step=step)
    execute = ("job", "execute", "-m", "veza_ops.definitions", "-j", job, "-c", str(config))
    with held(library):
        assert deployment.start("python", "-c", script, *execute).wait(A_MINUTE_AND_THE_START) != 0
    (run,) = deployment.runs()
    assert_ended(deployment, library, before, run.run_id, dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.FAILURE)


# -- by the web UI and the daemon -----------------------------------------------------------------------------------

LAUNCH = """
mutation($run: ExecutionParams!) {
  launchRun(executionParams: $run) { __typename ... on LaunchRunSuccess { run { runId } } }
}
"""
TERMINATE = """
mutation($ids: [String!]!, $policy: TerminateRunPolicy) {
  terminateRuns(runIds: $ids, terminatePolicy: $policy) {
    ... on TerminateRunsResult { terminateRunResults { __typename } }
  }
}
"""
SCHEDULE = """
{ schedulesOrError(repositorySelector: {repositoryName: "__repository__", repositoryLocationName: "veza_ops"}) {
    ... on Schedules { results { name scheduleState { id } } }
} }
"""
STOP = "mutation($id: String!) { stopRunningSchedule(id: $id) { __typename } }"
FORCE = "MARK_AS_CANCELED_IMMEDIATELY"


def launch(port: int, **tags: str) -> str:
    """The id of a cleanup that somebody launches on its page."""
    run = {
        "selector": {"repositoryLocationName": "veza_ops", "repositoryName": "__repository__", "jobName": JOB},
        "runConfigData": config_of(JOB),
        "mode": "default",
        "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
    }
    launched = graphql(port, LAUNCH, run=run)["launchRun"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    return str(launched["run"]["runId"])


@pytest.fixture
def port(deployment: Deployment) -> int:
    """Where the web UI of a whole deployment is, whose daemon watches runs closely and starts none by itself."""
    settings = deployment.home / "dagster.yaml"
    monitoring = "run_monitoring:\n"
    assert monitoring in settings.read_text()
    settings.write_text(settings.read_text().replace(monitoring, f"{monitoring}  poll_interval_seconds: 1\n"))
    port = free_port()
    deployment.start("dagster", "dev", "--port", str(port))
    wait_for("the web UI", lambda: webserver_answers(port), seconds=A_MINUTE_AND_THE_START)
    for schedule in graphql(port, SCHEDULE)["schedulesOrError"]["results"]:
        stopped = graphql(port, STOP, id=schedule["scheduleState"]["id"])["stopRunningSchedule"]
        assert stopped["__typename"] == "ScheduleStateResult", stopped
    wait_for("the run on load", lambda: all_over(deployment), seconds=A_MINUTE_AND_THE_START)
    return port


def all_over(deployment: Deployment) -> bool | None:
    return (bool(deployment.on_load_runs()) and all(run.is_finished for run in deployment.runs())) or None


def ended(deployment: Deployment, run_id: str) -> bool | None:
    run = deployment.instance.get_run_by_id(run_id)
    return (run is not None and run.is_finished) or None


def processes_of(deployment: Deployment, word: str) -> list[psutil.Process]:
    """The processes of a deployment with a word in their commands."""
    family = psutil.Process(deployment.processes[0].pid).children(recursive=True)
    return those(family, lambda process: word in process.cmdline())


@pytest.mark.parametrize("policy", ["SAFE_TERMINATE", FORCE])
def test_terminate_on_the_runs_page_ends_it(deployment: Deployment, library: Library, port: int, policy: str) -> None:
    to_be_changed(JOB, library, deployment.instance)
    before = library.rows()
    with held(library):
        run_id = launch(port)
        wait_for_the_write(library)
        graphql(port, TERMINATE, ids=[run_id], policy=policy)
        wait_for("the end of the run", lambda: ended(deployment, run_id), seconds=A_MINUTE_AND_THE_START)
    assert_ended(deployment, library, before, run_id, dg.DagsterRunStatus.CANCELED)


def test_force_ends_a_run_whose_process_nobody_can_reach(deployment: Deployment, library: Library, port: int) -> None:
    to_be_changed(JOB, library, deployment.instance)
    before = library.rows()
    with held(library):
        run_id = launch(port)
        wait_for_the_write(library)
        for server in processes_of(deployment, "grpc"):
            server.kill()
        graphql(port, TERMINATE, ids=[run_id], policy=FORCE)
        wait_for("the end of the run", lambda: ended(deployment, run_id), seconds=A_MINUTE_AND_THE_START)
        assert library.sessions(), "its process goes on"
    assert_ended(deployment, library, before, run_id, dg.DagsterRunStatus.CANCELED)


def test_the_time_limit_of_a_run_ends_it(deployment: Deployment, library: Library, port: int) -> None:
    to_be_changed(JOB, library, deployment.instance)
    before = library.rows()
    with held(library):
        run_id = launch(port)
        wait_for_the_write(library)
        deployment.instance.add_run_tags(run_id, {"dagster/max_runtime": "1"})
        wait_for("the end of the run", lambda: ended(deployment, run_id), seconds=A_MINUTE_AND_THE_START)
    assert_ended(deployment, library, before, run_id, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
