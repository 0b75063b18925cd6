"""Which executors run config can choose from."""

import multiprocessing
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext, suppress
from importlib.util import find_spec
from multiprocessing.synchronize import Condition
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.errors import raise_execution_interrupts
from dagster._utils import start_termination_thread
from dagster._utils.interrupts import setup_interrupt_handlers

from veza_ops.definitions import defs
from veza_ops.executors import chosen_in_run_config, installed

CLEANUP = defs.resolve_job_def("cleanup_orphan_tracks")


def test_dagsters_own_executors_are_always_there_and_others_where_they_are_installed() -> None:
    others = {
        name for name, package in (("celery", "dagster_celery"), ("k8s_job", "dagster_k8s")) if find_spec(package)
    }
    assert set(installed()) == {"in_process", "multiprocess"} | others


def test_one_process_is_the_default() -> None:
    config = dg.validate_run_config(CLEANUP)
    assert set(config["execution"]["chosen_in_run_config"]) == {"in_process"}


@pytest.mark.parametrize("wrong", [{"multiprocess": {"max_concurrent": "many"}}, {"carrier_pigeon": {}}])
def test_the_settings_of_an_executor_are_checked_before_a_run_starts(wrong: dict[str, dict[str, str]]) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError):
        dg.validate_run_config(CLEANUP, {"execution": {"config": wrong}})


def test_several_processes_ask_for_an_instance_that_they_can_share() -> None:
    assert chosen_in_run_config().get_requirements({"multiprocess": {}})
    assert not chosen_in_run_config().get_requirements({"in_process": {}})


def do_a_step(ends: Any) -> None:
    """What Dagster does in the process of a step, whose thread is slow to leave."""
    listens = threading.Event()
    wait = Condition.wait

    def wait_and_be_slow(condition: Condition, timeout: float | None = None) -> bool:
        listens.set()
        woken = wait(condition, timeout)
        time.sleep(1)  # the lock is its again
        return woken

    Condition.wait = wait_and_be_slow  # type: ignore[assignment]  # in a process of its own
    done = threading.Event()
    start_termination_thread(ends, done)
    listens.wait(30)
    done.set()
    ends.set()


class Untidy:
    """Told to end in the middle of its finalizer, where Python drops whatever is raised."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)
        for _ in range(3):  # where Python looks for signals
            pass


def hear_signals() -> None:
    """As Dagster's own commands do, also where SIGINT is ignored: in what a shell has started in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    setup_interrupt_handlers()


def be_ended_untidily(*, in_a_step: bool) -> None:
    hear_signals()
    within = raise_execution_interrupts() if in_a_step else nullcontext()
    with suppress(KeyboardInterrupt, dg.DagsterExecutionInterruptedError), within:
        Untidy()
        threading.Event().wait(60)
        raise AssertionError("nobody ended it")


@pytest.mark.parametrize("in_a_step", [True, False])
def test_an_end_that_python_drops_ends_the_run_all_the_same(*, in_a_step: bool) -> None:
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=be_ended_untidily, kwargs={"in_a_step": in_a_step})
    process.start()
    process.join(250)
    assert process.exitcode == 0


EXITS_UNTIDILY = """
import atexit, time
from veza_ops_tests.test_executors import Untidy, hear_signals

def at_exit():
    Untidy()
    time.sleep(1)
    print("in full")

hear_signals()
atexit.register(at_exit)
"""


def test_what_a_process_does_as_it_exits_is_not_cut_by_an_end() -> None:
    """A lock would be left behind, or a child."""
    exited = subprocess.run([sys.executable, "-c", EXITS_UNTIDILY], capture_output=True, text=True, check=True)
    assert exited.stdout == "in full\n"


EXITS_WITH_A_CIRCLE = """
import sys
import veza_ops.executors

class Circle:
    def __init__(self):
        self.itself = self
    def __del__(self):
        print("looked for")

circle = Circle()
never_closed = open(sys.argv[1], "w")
never_closed.write("in full")
"""


def test_a_process_that_exits_looks_for_no_memory_to_give_back_and_writes_what_it_has_to(tmp_path: Path) -> None:
    written = tmp_path / "written"
    command = [sys.executable, "-c", EXITS_WITH_A_CIRCLE, str(written)]
    exited = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (exited.stdout, exited.stderr, written.read_text()) == ("", "", "in full")


EXITS_BESIDE_A_THREAD_THAT_HANGS = """
import os, threading, time
import veza_ops.executors

_, full = os.pipe()
file = open(full, "wb")
threading.Thread(target=file.write, args=(bytes(10_000_000),), daemon=True).start()
time.sleep(1)
"""


def test_a_process_exits_beside_a_thread_that_hangs_at_a_file() -> None:
    subprocess.run([sys.executable, "-c", EXITS_BESIDE_A_THREAD_THAT_HANGS], check=True, timeout=30)


def test_a_process_that_is_over_keeps_nobody_from_ending_the_run() -> None:
    spawn = multiprocessing.get_context("spawn")
    ends = spawn.Event()
    process = spawn.Process(target=do_a_step, args=(ends,))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    told = threading.Thread(target=ends.set, daemon=True)
    told.start()
    told.join(10)
    assert not told.is_alive()
