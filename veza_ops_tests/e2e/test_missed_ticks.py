"""The hourly cleanup under a real daemon, after downtime."""

import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import TickStatus

from demo.ports import free_port
from veza_ops_tests.e2e.deployment import Deployment, let_the_hour_strike
from veza_ops_tests.library import Library

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

HOURS_DOWN = 5


def test_after_hours_of_downtime_the_schedule_cleans_up_once(deployment: Deployment, library: Library) -> None:
    let_the_hour_strike()
    port = free_port()
    workspace = deployment.workspace_of_code_server(port)
    # A code server that lives on, so that no cleanup for a load is in the way of the schedule's.
    deployment.start("dagster", "api", "grpc", "--module-name", "veza_ops.definitions", "--port", str(port))
    daemon = deployment.start("dagster-daemon", "run", "--workspace", workspace)
    deployment.wait_for_runs(1, deployment.on_load_runs)
    deployment.stop_for_hours(daemon, HOURS_DOWN)
    ghost = library.add_ghost()
    deployment.start("dagster-daemon", "run", "--workspace", workspace)

    deployment.wait_for_runs(1, deployment.hourly_runs)
    assert [tick.run_ids for tick in deployment.ticks(InstigatorType.SCHEDULE, *TickStatus)] == [
        [run.run_id for run in deployment.hourly_runs()]
    ]
    assert library.status(ghost) == "failed"
    assert len(deployment.on_load_runs()) == 1
