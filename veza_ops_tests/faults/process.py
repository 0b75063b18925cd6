"""A run in a process of its own, which may come to a bad end: forked from one that has loaded everything before."""

import os
import threading
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster._utils.interrupts import setup_interrupt_handlers

from veza_ops.definitions import defs
from veza_ops_tests import store_faults
from veza_ops_tests.faults.kinds import FAULTS
from veza_ops_tests.faults.world import Fault, Side, World
from veza_ops_tests.faulty_store import FaultyStore
from veza_ops_tests.forks import forks

SECONDS = 150
"""A process that isn't over by then hangs."""

_FORKS = forks(__name__)


@dataclass(frozen=True)
class End:
    """How a process ended."""

    was_struck: bool
    """Whether its run came to the place."""
    is_hung: bool
    """Whether it had to be killed."""
    where: str = ""
    """The place, where somebody is left to tell."""


def come_to_an_end(plan: dict[str, Any], fault: Fault, at: int, store: FaultyStore | None) -> End:
    """Run a job as planned, in a process that gets the fault's signal at one place: its own, or the store's."""
    world = World(fault, at)
    ours, theirs = _FORKS.Pipe(duplex=False)
    process = _FORKS.Process(target=_run, args=(plan, fault.name, at, theirs))
    is_started = threading.Event()

    def kill(_: object) -> None:
        is_started.wait(SECONDS)
        assert process.pid
        os.kill(process.pid, fault.signal)

    with ExitStack() as stack:
        if store is not None and Side.STORE in fault.sides:
            stack.enter_context(world.heard(store, store_faults.before(kill)))
        process.start()
        is_started.set()
        theirs.close()
        try:
            process.join(SECONDS)
            is_hung = process.is_alive()
        finally:
            process.kill()
            process.join()
    told = None
    with suppress(EOFError):  # it was ended before it could tell
        told = ours.recv()
    assert is_hung or process.exitcode in (0, -fault.signal), f"it ended by itself, with {process.exitcode}"
    places = world.places if Side.STORE in fault.sides else told
    was_struck = places is None or len(places) >= at
    return End(was_struck, is_hung, places[at - 1] if places and was_struck else "")


def _run(plan: dict[str, Any], fault: str, at: int, told: Any) -> None:
    os.environ.update(plan["environment"])
    setup_interrupt_handlers()  # as Dagster's own commands do
    world = World(next(each for each in FAULTS if each.name == fault), at)
    home = dg.DagsterInstance.local_temp(plan["home"]) if plan["home"] else dg.DagsterInstance.ephemeral()
    with home as instance:
        job = defs.resolve_job_def(plan["job"])
        try:
            with world.watched():
                job.execute_in_process(run_config=plan["run_config"], instance=instance, raise_on_error=False)
        except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError):
            pass  # it has been ended, as it was to be
    told.send(world.places)
