"""Storms between the parts of a batch, each of which is a transaction of its own: here of a single row."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from veza_ops import pace, steps
from veza_ops.cleanup import rules
from veza_ops.errors import DatabaseUnavailableError
from veza_ops.evidence import MARKED, MARKING, REFUSED, UNVERIFIABLE, Evidence
from veza_ops.tracks.table import Tracks
from veza_ops_tests.library import counts
from veza_ops_tests.storms.conftest import Disk
from veza_ops_tests.storms.scene import AFTER_COMMIT, Moment, Scene, record_writes, writes
from veza_ops_tests.storms.test_server import CUT


@pytest.fixture(autouse=True)
def row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three ghosts make three parts."""
    monkeypatch.setattr(pace, "WRITTEN_AT_ONCE", 1)


def test_each_part_is_a_transaction_of_its_own_with_evidence_of_its_own(scene: Scene) -> None:
    result = scene.run()
    assert counts(result)["marked_failed"] == len(scene.ghosts)
    with scene.library.engine.connect() as connection:
        transactions = connection.scalar(
            sa.text("SELECT count(DISTINCT xmin::text) FROM tracks WHERE status_message LIKE 'orphan cleanup%'")
        )
    assert transactions == len(scene.ghosts)
    evidence = Path(scene.instance.storage_directory()) / result.run_id / "veza_ops"
    assert len(list(evidence.glob(f"{MARKED}-00000*"))) == len(scene.ghosts)
    scene.assert_all_is_well()


@pytest.mark.parametrize(
    "moment",
    [
        Moment("before the second write", Tracks, "mark_failed", call=2),
        Moment("between second write and commit", Tracks, "mark_failed", "after", call=2),
        Moment("between last evidence and commit", Evidence, "write", "after", call=3),
    ],
    ids=str,
)
def test_what_an_attempt_has_written_before_its_connection_is_killed_is_counted_and_not_written_again(
    scene: Scene, moment: Moment, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_writes(scene.library)
    moment.arrange(monkeypatch, lambda: scene.library.execute(CUT))
    result = scene.run()
    after = counts(result)
    assert (after["marked_failed"], after["raced"]) == (len(scene.ghosts), 0)
    assert sorted(writes(scene.library)) == sorted(map(str, scene.ghosts))
    assert not list((Path(scene.instance.storage_directory()) / result.run_id).rglob(f"{MARKING}-*"))
    scene.assert_all_is_well()


def test_what_was_committed_unheard_by_any_of_several_attempts_is_counted_as_the_runs_own(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first attempt is cut before its commit, the second after it, both with their plans left behind."""
    monkeypatch.setattr(pace, "WRITTEN_AT_ONCE", 100)
    Moment("after the first write", Tracks, "mark_failed", "after").arrange(
        monkeypatch, lambda: scene.library.execute(CUT)
    )

    def cut_off() -> None:
        raise DatabaseUnavailableError("cut off before anybody heard of the commit")

    AFTER_COMMIT.arrange(monkeypatch, cut_off)
    result = scene.run()
    after = counts(result)
    assert (after["marked_failed"], after["raced"]) == (len(scene.ghosts), 0)
    evidence = Path(scene.instance.storage_directory()) / result.run_id / "veza_ops"
    assert not list(evidence.glob(f"{MARKING}-*"))
    scene.assert_all_is_well()


def test_lists_of_an_attempt_that_was_cut_are_not_there_twice(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.library.add("s3://bucket/song.flac")
    scene.library.add_ghost(title="stubborn")
    scene.remember()
    scene.library.execute("ALTER TABLE tracks ADD CONSTRAINT odd CHECK (title <> 'stubborn') NOT VALID")
    Moment("before the last write", Tracks, "mark_failed", call=4).arrange(
        monkeypatch, lambda: scene.library.execute(CUT)
    )
    result = scene.run()
    assert counts(result)["refused"] == 1
    evidence = Path(scene.instance.storage_directory()) / result.run_id / "veza_ops"
    for kind in (UNVERIFIABLE, REFUSED):
        (path,) = evidence.glob(f"{kind}-*")
        assert len(path.read_text().splitlines()) == 1


def test_what_somebody_else_marked_meanwhile_is_not_counted_as_written_by_an_earlier_attempt(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first attempt loses its second part, evidence and all; before the next one, another cleanup comes by."""

    def strike() -> None:
        scene.library.execute(CUT)
        for ghost in scene.ghosts:
            scene.library.execute(
                "UPDATE tracks SET status = 'failed', updated_at = now(), "
                "status_message = 'orphan cleanup: file missing on disk after >1h in processing' "
                "WHERE id = :id AND status = 'processing'",
                id=ghost,
            )

    Moment("between second evidence and commit", Evidence, "write", "after", call=2).arrange(monkeypatch, strike)
    after = counts(scene.run())
    assert (after["marked_failed"], after["raced"]) == (1, 2)
    scene.assert_all_is_well()


def test_what_an_attempt_has_marked_is_counted_as_marked_though_its_file_has_come_since(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def strike() -> None:
        scene.library.execute(CUT)
        for ghost in scene.ghosts:
            scene.library.write(str(scene.library.row(ghost)["file_path"]))

    Moment("before the second write", Tracks, "mark_failed", call=2).arrange(monkeypatch, strike)
    after = counts(scene.run())
    assert (after["stale"], after["present"], after["marked_failed"]) == (5, 4, 1)
    assert [scene.library.status(ghost) for ghost in scene.ghosts].count("failed") == 1


@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_disk_that_goes_away_between_two_parts_takes_no_good_track_with_it(
    scene: Scene, disk: Disk, call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    Moment("before a look", rules, "check_again", call=call).arrange(monkeypatch, disk.take_away)
    assert not scene.run().success
    scene.assert_no_good_track_changed()
    assert [scene.library.status(ghost) for ghost in scene.ghosts].count("failed") < call
    monkeypatch.undo()
    disk.put_back()
    scene.assert_next_run_finishes()


def test_a_dagster_that_can_not_tell_whether_the_run_was_ended_is_what_is_blamed_and_asked_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        monkeypatch.undo()
        raise sa.exc.OperationalError("SELECT 1", None, sqlite3.OperationalError("secret: database is locked"))

    record_writes(scene.library)
    Moment("between write and commit", Tracks, "mark_failed", "after").arrange(
        monkeypatch, lambda: monkeypatch.setattr(dg.DagsterInstance, "get_run_by_id", away)
    )
    result = scene.run()
    (again,) = [event for event in result.all_events if event.is_step_up_for_retry]
    said = str(again.step_retry_data.error)
    assert "Dagster's own storage can't be asked whether somebody has ended the run (OperationalError)" in said
    assert "secret" not in said
    assert counts(result)["marked_failed"] == len(scene.ghosts)
    assert sorted(writes(scene.library)) == sorted(map(str, scene.ghosts))
    scene.assert_all_is_well()


def test_a_dagster_that_can_never_tell_whether_the_run_was_ended_leaves_no_plan_of_what_never_was(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = dg.DagsterInstance.get_run_by_id

    def away(*_: object) -> None:
        monkeypatch.setattr(dg.DagsterInstance, "get_run_by_id", real)
        raise TimeoutError

    monkeypatch.setattr(steps, "_AGAIN", dg.RetryPolicy(max_retries=0))
    Moment("between write and commit", Tracks, "mark_failed", "after").arrange(
        monkeypatch, lambda: monkeypatch.setattr(dg.DagsterInstance, "get_run_by_id", away)
    )
    result = scene.run()
    scene.assert_refused(result, "Dagster's own storage can't be asked", "TimeoutError")
    assert not list((Path(scene.instance.storage_directory()) / result.run_id).rglob(f"{MARKING}*"))


@pytest.mark.parametrize("how", [dg.DagsterInstance.report_run_canceled, dg.DagsterInstance.report_run_failed])
def test_a_run_that_was_ended_writes_no_more_though_nobody_could_reach_its_process(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, how: Callable[[dg.DagsterInstance, dg.DagsterRun], object]
) -> None:
    """As when its code server is away, or on another machine."""
    ended: list[dg.DagsterRun] = []

    def end() -> None:
        ended.extend(scene.instance.get_runs(limit=1))
        how(scene.instance, ended[0])

    record_writes(scene.library)
    Moment("between second write and commit", Tracks, "mark_failed", "after", call=2).arrange(monkeypatch, end)
    (failed,) = [event for event in scene.run().all_events if event.is_step_failure]
    assert "The run was ended before this part of it was written" in str(failed.step_failure_data.error)
    assert len(writes(scene.library)) == 1
    evidence = Path(scene.instance.storage_directory()) / ended[0].run_id / "veza_ops"
    assert [path.name.partition(".")[0] for path in evidence.iterdir()] == [f"{MARKED}-00000"]
    monkeypatch.undo()
    scene.assert_no_good_track_changed()
    run = scene.instance.get_run_by_id(ended[0].run_id)
    assert run is not None
    assert run.status is (
        dg.DagsterRunStatus.CANCELED if how is dg.DagsterInstance.report_run_canceled else dg.DagsterRunStatus.FAILURE
    )
