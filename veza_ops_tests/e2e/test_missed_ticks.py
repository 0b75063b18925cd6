"""The hourly cleanup under a real daemon, after downtime."""

import time

import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import ScheduleInstigatorData, TickStatus

from veza_ops_tests.e2e.deployment import A_MINUTE_AND_THE_START, Deployment, free_port, wait_for
from veza_ops_tests.library import Library

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

HOURS_DOWN = 5


def test_after_hours_of_downtime_the_schedule_cleans_up_once(deployment: Deployment, library: Library) -> None:
    port = free_port()
    workspace = deployment.workspace_of_code_server(port)
    # A code server that lives on, so that no cleanup for a load is in the way of the schedule's.
    deployment.start("dagster", "api", "grpc", "--module-name", "veza_ops.definitions", "--port", str(port))
    daemon = deployment.start("dagster-daemon", "run", "--workspace", workspace)
    deployment.wait_for_runs(1, deployment.on_load_runs)
    state = wait_for("the schedule", lambda: deployment.state(InstigatorType.SCHEDULE), seconds=A_MINUTE_AND_THE_START)
    deployment.stop(daemon)

    # The daemon's own note of the time from which on ticks are due.
    hours_ago = time.time() - HOURS_DOWN * 3600
    notes = ScheduleInstigatorData("0 * * * *", hours_ago, hours_ago)
    deployment.instance.update_instigator_state(state.with_data(notes))
    if (left := 3600 - time.time() % 3600) < 100:
        time.sleep(left)  # the hour that strikes during the test would be one tick more
    ghost = library.add_ghost()
    deployment.start("dagster-daemon", "run", "--workspace", workspace)

    deployment.wait_for_runs(1, deployment.hourly_runs)
    assert [tick.run_ids for tick in deployment.ticks(InstigatorType.SCHEDULE, *TickStatus)] == [
        [run.run_id for run in deployment.hourly_runs()]
    ]
    assert library.status(ghost) == "failed"
    assert len(deployment.on_load_runs()) == 1
