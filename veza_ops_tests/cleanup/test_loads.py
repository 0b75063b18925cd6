"""What counts as a load of the code location, and what a tick of the sensor does about it."""

import os
from dataclasses import replace

import dagster as dg
import psutil
import pytest

from veza_ops.cleanup.loads import Holder, current_load_id, digest_of_package, load_id
from veza_ops.definitions import defs
from veza_ops.resources import Database
from veza_ops.steps import NOT_CONFIGURED

SERVER = Holder(41, 100.0, ("python", "-m", "dagster", "api", "grpc"))
DAEMON = Holder(7, 50.0, ("/usr/bin/python3", "/opt/veza-ops/bin/dagster-daemon", "run"))
CODE_SERVER = Holder(8, 60.0, ("python", "-m", "dagster", "code-server", "start"))

CONFIGURED = Database(url="postgresql://nobody@localhost/nowhere")


@pytest.mark.parametrize(
    "command",
    [
        ("/usr/bin/python3", "/opt/veza-ops/bin/dagster-daemon", "run"),
        ("dagster-daemon", "run"),
        ("dagster-daemon.exe", "run"),
        ("python", "-m", "dagster._daemon", "run"),
        ("python", "-m", "dagster._daemon.cli", "run"),
    ],
)
def test_the_daemon_is_known_by_its_command(command: tuple[str, ...]) -> None:
    assert replace(DAEMON, command=command).is_daemon


@pytest.mark.parametrize(
    "command",
    [
        (),
        ("python", "-m", "dagster", "dev"),
        ("python", "-m", "dagster", "code-server", "start"),
        ("dagster-webserver",),
        ("systemd", "--user"),
        ("bash", "-c", "exec dagster-daemon run"),
        ("tail", "dagster-daemon.log"),
        ("vi", "dagster._daemon"),
    ],
)
def test_no_other_command_is_the_daemon(command: tuple[str, ...]) -> None:
    assert not replace(DAEMON, command=command).is_daemon


def test_a_server_of_its_own_is_a_load_and_its_restart_is_another() -> None:
    load = load_id(SERVER, CODE_SERVER, "v1")
    assert load_id(SERVER, CODE_SERVER, "v1") == load
    assert load_id(replace(SERVER, pid=42), CODE_SERVER, "v1") != load
    assert load_id(SERVER, None, "v1") == load


def test_a_server_that_has_the_same_pid_after_a_restart_is_another_load() -> None:
    assert load_id(SERVER, CODE_SERVER, "v1") != load_id(replace(SERVER, started=100.01), CODE_SERVER, "v1")


def test_a_server_that_the_daemon_recycles_is_no_other_load() -> None:
    recycled = replace(SERVER, pid=42, started=164.0)
    assert load_id(SERVER, DAEMON, "v1") == load_id(recycled, DAEMON, "v1")


def test_new_code_that_the_daemon_picks_up_is_another_load() -> None:
    assert load_id(SERVER, DAEMON, "v1") != load_id(SERVER, DAEMON, "v2")


def test_a_daemon_that_has_the_same_pid_after_a_restart_makes_another_load() -> None:
    assert load_id(SERVER, DAEMON, "v1") != load_id(SERVER, replace(DAEMON, started=50.01), "v1")


def test_this_process_is_itself_from_one_look_to_the_next() -> None:
    process = Holder.of(psutil.Process())
    assert process == Holder.of(psutil.Process())
    assert process.pid == os.getpid()
    assert not process.is_daemon
    assert current_load_id() == current_load_id() == str(process)


def test_the_digest_is_that_of_the_source() -> None:
    assert digest_of_package() == digest_of_package()
    assert len(digest_of_package()) == 12


def tick(
    instance: dg.DagsterInstance, database: Database, cursor: str | None
) -> tuple[list[str | None], str | None, str | None]:
    """What a tick answers: the keys of the runs, the reason why none, and the cursor that it leaves."""
    with dg.build_sensor_context(instance, cursor, definitions=defs, resources={"database": database}) as context:
        answer = defs.resolve_sensor_def("cleanup_orphan_tracks_on_load").evaluate_tick(context)
    return [request.run_key for request in answer.run_requests or []], answer.skip_message, answer.cursor


def test_the_first_tick_after_a_load_asks_for_a_run_and_the_next_says_that_it_was_had(
    instance: dg.DagsterInstance,
) -> None:
    load = current_load_id()
    assert tick(instance, CONFIGURED, "another load") == ([load], None, load)
    had = f"This load of the code location ({load}) has had its cleanup."
    assert tick(instance, CONFIGURED, load) == ([], had, load)


def test_the_run_for_a_load_lets_files_settle_between_its_looks(instance: dg.DagsterInstance) -> None:
    with dg.build_sensor_context(instance, None, definitions=defs, resources={"database": CONFIGURED}) as context:
        (request,) = defs.resolve_sensor_def("cleanup_orphan_tracks_on_load").evaluate_tick(context).run_requests or []
    assert request.run_config == {"ops": {"mark_orphans_failed": {"config": {"settle_seconds": 10}}}}


@pytest.mark.parametrize("url", ["", "  "])
def test_without_a_database_a_load_waits_for_one(instance: dg.DagsterInstance, url: str) -> None:
    assert tick(instance, Database(url=url), None) == ([], NOT_CONFIGURED, None)
    assert tick(instance, CONFIGURED, None)[0] == [current_load_id()]
