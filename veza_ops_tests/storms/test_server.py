"""Storms on the database server: locks, time-outs, cut connections, stops and starts, commits nobody hears of."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread, Timer

import dagster as dg
import pytest
import sqlalchemy as sa

from veza_ops import steps
from veza_ops.evidence import MARKED, REFUSED
from veza_ops.findings import TRACK_FILES
from veza_ops_tests.library import counts, failure, run_job
from veza_ops_tests.storms.conftest import OwnServer
from veza_ops_tests.storms.scene import (
    AFTER_COMMIT,
    AFTER_EVIDENCE,
    AFTER_LAST_PROOF,
    AFTER_READING,
    AFTER_SEARCH,
    AFTER_WRITE,
    BEFORE_READING,
    BEFORE_SEARCH,
    BEFORE_WRITE,
    IN_EACH_STEP,
    Moment,
    Scene,
    record_writes,
    writes,
)

CUT = (
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
    "WHERE application_name = 'veza-ops' AND datname = current_database()"
)


@pytest.mark.parametrize("moment", IN_EACH_STEP, ids=str)
def test_a_connection_that_is_killed_is_made_again_and_each_row_is_written_once(
    scene: Scene, moment: Moment, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_writes(scene.library)
    moment.arrange(monkeypatch, lambda: scene.library.execute(CUT))
    assert counts(scene.run())["marked_failed"] == len(scene.ghosts)
    assert sorted(writes(scene.library)) == sorted(map(str, scene.ghosts))
    scene.assert_all_is_well()


@pytest.mark.parametrize("mode", ["fast", "immediate"])
@pytest.mark.parametrize("moment", [AFTER_SEARCH, AFTER_READING, AFTER_EVIDENCE, AFTER_WRITE, AFTER_COMMIT], ids=str)
def test_a_server_that_is_stopped_and_started_in_mid_run_holds_up_nothing_but_time(
    stoppable: Scene, own_server: OwnServer, mode: str, moment: Moment, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_writes(stoppable.library)
    moment.arrange(monkeypatch, lambda: own_server.restart(mode))
    assert counts(stoppable.run())["marked_failed"] == len(stoppable.ghosts)
    assert sorted(writes(stoppable.library)) == sorted(map(str, stoppable.ghosts))
    stoppable.assert_all_is_well()


def test_a_server_that_stays_down_fails_the_run_in_plain_words_and_the_next_one_finishes(
    stoppable: Scene, own_server: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    AFTER_LAST_PROOF.arrange(monkeypatch, own_server.stop)
    result = stoppable.run()
    own_server.start()
    stoppable.library.engine.dispose()
    stoppable.assert_refused(result, "Check that the server runs")
    stoppable.assert_next_run_finishes()


def wait_at(connection: sa.Connection, question: str) -> None:
    """Wait for a moment that is soon over, by a number that isn't zero then."""
    deadline = time.monotonic() + 100
    while not connection.scalar(sa.text(question)) and time.monotonic() < deadline:
        time.sleep(0.01)


SLOW_WRITE = [
    (
        "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_advisory_xact_lock(42); PERFORM pg_sleep(1); RETURN NULL; END $$"
    ),
    (
        "CREATE CONSTRAINT TRIGGER dawdle AFTER UPDATE ON tracks DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION dawdle()"
    ),
]


def test_a_server_that_is_stopped_at_once_during_the_write_leaves_the_batch_undone_and_it_is_done_again(
    stoppable: Scene, own_server: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write takes a while, and in the middle of it the server is stopped without a word."""
    library = stoppable.library
    record_writes(library)
    for statement in SLOW_WRITE:
        library.execute(statement)
    monkeypatch.setattr(steps, "_AGAIN", dg.RetryPolicy(max_retries=60, delay=1))  # the start may take a while
    in_write = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 42"

    def strike() -> None:
        engine = sa.create_engine(library.engine.url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            wait_at(connection, in_write)
        engine.dispose()
        own_server.restart()

    storm = Thread(target=strike)
    storm.start()
    result = stoppable.run()
    storm.join()
    library.engine.dispose()
    assert counts(result)["marked_failed"] == len(stoppable.ghosts)
    assert sorted(writes(library)) == sorted(map(str, stoppable.ghosts))
    # What the server forgot is in no evidence.
    evidence = Path(stoppable.instance.storage_directory()) / result.run_id / "veza_ops"
    assert [path.name.partition(".")[0] for path in evidence.iterdir()] == [f"{MARKED}-00000"]
    stoppable.assert_all_is_well()


def test_a_standby_is_called_one_and_nothing_is_looked_for(stoppable: Scene, own_server: OwnServer) -> None:
    """It takes no writes either, but whoever reads that is to look for the primary and not for a right."""
    stoppable.library.engine.dispose()
    own_server.stop("fast")
    sign = own_server.server.pgdata / "standby.signal"
    sign.touch()
    own_server.start()
    try:
        assert "is in recovery (a standby)" in failure(stoppable.run())
    finally:
        own_server.stop("fast")
        sign.unlink()
        own_server.start()
    stoppable.assert_no_good_track_changed()


def test_a_standby_that_may_be_behind_makes_no_file_that_of_nobody(stoppable: Scene, own_server: OwnServer) -> None:
    """Its replication may have broken days ago, and it doesn't have the rows of what was uploaded since."""
    library = stoppable.library
    file = library.write("uploaded since.flac")
    os.utime(file, (0, 0))
    library.engine.dispose()
    own_server.stop("fast")
    sign = own_server.server.pgdata / "standby.signal"
    sign.touch()
    own_server.start()
    try:
        result = run_job(library, stoppable.instance, job="audit_track_files")
        assert result.success, failure(result)
    finally:
        own_server.stop("fast")
        sign.unlink()
        own_server.start()
    (record,) = stoppable.instance.fetch_observations(TRACK_FILES, limit=1).records
    assert record.asset_observation
    told = {name: value.value for name, value in record.asset_observation.metadata.items()}
    assert (told["unnamed"], told["unsure"]) == (0, 1)
    assert str(told["unsure_since"]).startswith("The database is a standby")


def test_a_commit_that_nobody_hears_of_is_not_done_twice(stoppable: Scene, own_server: OwnServer) -> None:
    """The server has committed, but the connection is cut before it can say so: here, while it waits for a standby."""
    library = stoppable.library
    record_writes(library)
    own_server.server.psql("ALTER SYSTEM SET synchronous_standby_names = 'nowhere'; SELECT pg_reload_conf();")
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name = 'veza-ops'"

    def strike() -> None:
        with library.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            wait_at(connection, waiting)
            connection.execute(sa.text(CUT))
        own_server.server.psql("ALTER SYSTEM RESET synchronous_standby_names; SELECT pg_reload_conf();")

    storm = Thread(target=strike)
    storm.start()
    result = stoppable.run()
    storm.join()
    assert sorted(writes(library)) == sorted(map(str, stoppable.ghosts))
    # The second attempt finds its rows changed, and by the evidence of the first one that it was itself.
    after = counts(result)
    assert (after["marked_failed"], after["raced"]) == (len(stoppable.ghosts), 0)
    stoppable.assert_all_is_well()


@contextmanager
def locked_table(scene: Scene) -> Iterator[None]:
    """As an ALTER TABLE that waits for something else holds it."""
    with scene.library.engine.begin() as connection:
        connection.execute(sa.text("LOCK TABLE tracks IN ACCESS EXCLUSIVE MODE"))
        yield


@pytest.mark.parametrize("moment", [BEFORE_SEARCH, BEFORE_READING, BEFORE_WRITE], ids=str)
def test_a_table_that_is_locked_for_a_moment_is_waited_for(
    scene: Scene, moment: Moment, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = scene.library.engine.connect()

    def lock() -> None:
        connection.execute(sa.text("LOCK TABLE tracks IN ACCESS EXCLUSIVE MODE"))
        Timer(0.5, connection.close).start()

    moment.arrange(monkeypatch, lock)
    assert counts(scene.run())["marked_failed"] == len(scene.ghosts)
    scene.assert_all_is_well()


@pytest.mark.parametrize("more", [{}, {"lock_timeout_seconds": 300, "statement_timeout_seconds": 5}])
def test_a_table_that_stays_locked_fails_the_run_in_plain_words_and_the_next_one_finishes(
    scene: Scene, more: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "_AGAIN", dg.RetryPolicy(max_retries=1, delay=0))
    with locked_table(scene):
        result = scene.run(database={"lock_timeout_seconds": 1, **more})
    scene.assert_refused(result, "Another session is in the way")
    scene.assert_next_run_finishes()


def test_a_statement_that_takes_too_long_is_given_up_and_changes_nothing(scene: Scene) -> None:
    scene.library.execute(
        "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(3); RETURN NEW; END $$"
    )
    scene.library.execute("CREATE TRIGGER dawdle BEFORE UPDATE ON tracks FOR EACH ROW EXECUTE FUNCTION dawdle()")
    result = scene.run(database={"statement_timeout_seconds": 1})
    assert (counts(result)["refused"], counts(result)["marked_failed"]) == (len(scene.ghosts), 0)
    scene.assert_nothing_changed()
    lists = (Path(scene.instance.storage_directory()) / result.run_id / "veza_ops").glob(f"{REFUSED}-*")
    assert all("raise database.statement_timeout_seconds" in path.read_text() for path in lists)
    scene.library.execute("DROP TRIGGER dawdle ON tracks")
    scene.assert_next_run_finishes()
