"""One cleanup for each load of the code location, counted in every way that Dagster holds one."""

import time
from datetime import timedelta

import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import TickStatus

from demo.ports import free_port
from veza_ops.steps import NOT_CONFIGURED
from veza_ops_tests.e2e.deployment import (
    A_MINUTE_AND_THE_START,
    Deployment,
    reload_code_location,
    wait_for,
    webserver_answers,
)
from veza_ops_tests.library import Library

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

RECYCLED_TWICE = 140
"""Seconds in which the daemon has replaced its own code server twice; it does so every 64 s."""


def test_the_daemon_cleans_up_once_however_often_it_recycles_its_code_server_and_once_more_after_a_restart(
    deployment: Deployment, library: Library
) -> None:
    ghost = library.add_ghost()
    deployment.move_to_a_clone()  # whoever edits the checkout meanwhile would load new code here
    daemon = deployment.start("dagster-daemon", "run")
    began = time.monotonic()
    deployment.wait_for_runs(1, deployment.on_load_runs)
    assert library.status(ghost) == "failed"
    time.sleep(max(0, RECYCLED_TWICE - (time.monotonic() - began)))
    deployment.wait_for_exactly(1)
    deployment.stop(daemon)
    deployment.start("dagster-daemon", "run")
    deployment.wait_for_exactly(2)


def test_dagster_dev_cleans_up_once_and_once_more_after_a_reload_and_after_a_restart(
    deployment: Deployment, library: Library
) -> None:
    ghost, port = library.add_ghost(), free_port()
    development = deployment.start("dagster", "dev", "--port", str(port))
    deployment.wait_for_exactly(1)
    assert library.status(ghost) == "failed"
    wait_for("the webserver", lambda: webserver_answers(port), seconds=A_MINUTE_AND_THE_START)
    reload_code_location(port)
    deployment.wait_for_exactly(2)
    deployment.stop(development)
    deployment.start("dagster", "dev", "--port", str(port))
    deployment.wait_for_exactly(3)


def test_a_code_server_cleans_up_once_and_once_more_after_a_reload_and_after_a_restart(
    deployment: Deployment, library: Library
) -> None:
    ghost, port, web_port = library.add_ghost(), free_port(), free_port()
    serve = ("dagster", "code-server", "start", "--module-name", "veza_ops.definitions", "--port", str(port))
    workspace = deployment.workspace_of_code_server(port)
    code_server = deployment.start(*serve)
    deployment.start("dagster-daemon", "run", "--workspace", workspace)
    deployment.start("dagster-webserver", "--workspace", workspace, "--port", str(web_port))
    deployment.wait_for_exactly(1)
    assert library.status(ghost) == "failed"
    wait_for("the webserver", lambda: webserver_answers(web_port), seconds=A_MINUTE_AND_THE_START)
    reload_code_location(web_port)
    deployment.wait_for_exactly(2)
    deployment.stop(code_server)
    deployment.start(*serve)
    deployment.wait_for_exactly(3)


def test_a_plain_grpc_server_cleans_up_once_and_once_more_after_a_restart_but_not_after_the_daemons(
    deployment: Deployment, library: Library
) -> None:
    ghost, port = library.add_ghost(), free_port()
    serve = ("dagster", "api", "grpc", "--module-name", "veza_ops.definitions", "--port", str(port))
    workspace = deployment.workspace_of_code_server(port)
    code_server = deployment.start(*serve)
    daemon = deployment.start("dagster-daemon", "run", "--workspace", workspace)
    deployment.wait_for_exactly(1)
    assert library.status(ghost) == "failed"
    deployment.stop(daemon)
    deployment.start("dagster-daemon", "run", "--workspace", workspace)
    deployment.wait_for_exactly(1)
    deployment.stop(code_server)
    deployment.start(*serve)
    deployment.wait_for_exactly(2)


def test_the_daemon_cleans_up_once_more_when_it_picks_up_new_code(deployment: Deployment) -> None:
    checkout = deployment.move_to_a_clone()
    deployment.start("dagster-daemon", "run")
    deployment.wait_for_runs(1, deployment.on_load_runs)
    with (checkout / "veza_ops" / "errors.py").open("a") as source:
        source.write("\n# A new version.\n")
    deployment.wait_for_exactly(2)


def test_without_a_database_the_sensor_says_so_and_cleans_up_once_there_is_one(
    deployment: Deployment, library: Library
) -> None:
    ghost = library.add_ghost(age=timedelta(days=1))
    daemon = deployment.start("dagster-daemon", "run", environment={"VEZA_DATABASE_URL": ""})
    tick = wait_for(
        "a tick that says why nothing is done",
        lambda: next(iter(deployment.ticks(InstigatorType.SENSOR, TickStatus.SKIPPED)), None),
        seconds=A_MINUTE_AND_THE_START,
    )
    assert tick.skip_reason == NOT_CONFIGURED
    assert deployment.on_load_runs() == []
    deployment.stop(daemon)
    deployment.start("dagster-daemon", "run")
    deployment.wait_for_exactly(1)
    assert library.status(ghost) == "failed"
