"""Storms while the next part of a batch is made ready: here, parts of a single row, in the order of their paths."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from veza_ops import pace
from veza_ops.cleanup import marking
from veza_ops.errors import DatabaseUnavailableError, RunEndedError, StatementCancelledError
from veza_ops.evidence import MARKED, Evidence
from veza_ops.recording import Recorder
from veza_ops.resources import Database
from veza_ops.storage.look import Area
from veza_ops.tracks.table import Tracks
from veza_ops_tests.library import Library, counts
from veza_ops_tests.storms.scene import Moment, Scene

PATIENCE = 60.0


@pytest.fixture(autouse=True)
def row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three ghosts make three parts."""
    monkeypatch.setattr(pace, "WRITTEN_AT_ONCE", 1)


@pytest.fixture
def is_ready(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """When the second part has been made ready."""
    ready = threading.Event()
    Moment("the second part is ready", marking.Marking, "_ready", "after", call=2).arrange(monkeypatch, ready.set)
    return ready


def during_the_first_write(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> None:
    Moment("the first write", Tracks, "mark_failed", "after").arrange(monkeypatch, action)


def kinds_of_evidence(scene: Scene, run_id: str) -> set[str]:
    """What is left of the run."""
    return {path.name.partition("-")[0] for path in Path(scene.instance.storage_directory(), run_id).rglob("*.jsonl")}


def test_while_a_part_is_written_the_next_one_is_made_ready(
    scene: Scene, is_ready: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    during_the_first_write(monkeypatch, lambda: seen.append(is_ready.wait(PATIENCE)))
    assert counts(scene.run())["marked_failed"] == len(scene.ghosts)
    assert seen == [True]
    scene.assert_all_is_well()


def test_a_part_that_has_waited_for_long_is_looked_for_anew(
    scene: Scene, is_ready: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Little time would be left to write it, and a file may have come."""
    monkeypatch.setattr(marking, "_SHORTEST_SECONDS", 2.0)
    second = sorted(str(scene.library.row(ghost)["file_path"]) for ghost in scene.ghosts)[1]

    def a_slow_write() -> None:
        assert is_ready.wait(PATIENCE)
        scene.library.write(second)
        time.sleep(0.6)  # more than a quarter of the time that a look holds

    during_the_first_write(monkeypatch, a_slow_write)
    after = counts(scene.run(storage={"look_timeout_seconds": 2.0}))
    assert (after["present"], after["marked_failed"]) == (3, 2)
    scene.assert_no_good_track_changed()


def test_after_a_write_that_was_late_the_part_that_waits_is_taken_back(
    scene: Scene, is_ready: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has as many rows as the one that was too large."""
    monkeypatch.setattr(pace, "WRITTEN_AT_ONCE", 2)
    scene.ghosts += [scene.library.add_ghost() for _ in range(5)]
    scene.remember()
    sizes: list[int] = []
    real = Tracks.mark_failed

    def mark(tracks: Tracks, orphans: Any, **premise: Any) -> Any:
        sizes.append(len(orphans))
        if len(sizes) == 1:
            assert is_ready.wait(PATIENCE)
            raise StatementCancelledError("too slow")
        return real(tracks, orphans, **premise)

    monkeypatch.setattr(Tracks, "mark_failed", mark)
    result = scene.run()
    assert counts(result)["marked_failed"] == len(scene.ghosts)
    assert sizes[:3] == [2, 1, 1]
    assert kinds_of_evidence(scene, result.run_id) == {MARKED}
    scene.assert_all_is_well()


def test_a_run_that_is_ended_leaves_no_plan_of_what_was_made_ready(
    scene: Scene, is_ready: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken_back = threading.Event()
    Moment("it is taken back", Recorder, "take_back", "after").arrange(monkeypatch, taken_back.set)

    def end() -> None:
        assert is_ready.wait(PATIENCE)
        (run,) = scene.instance.get_runs(limit=1)
        scene.instance.report_run_canceled(run)

    during_the_first_write(monkeypatch, end)
    result = scene.run()
    assert any(event.is_step_failure for event in result.all_events)
    scene.assert_nothing_changed()
    assert taken_back.wait(PATIENCE)
    assert kinds_of_evidence(scene, result.run_id) == set()


def test_what_goes_wrong_while_a_part_is_made_ready_fails_the_run_once_the_others_are_written(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    def disk_is_full() -> None:
        monkeypatch.setattr("veza_ops.evidence.write_new", full)

    Moment("the second plan", Evidence, "write", call=2).arrange(monkeypatch, disk_is_full)
    result = scene.run()
    assert not result.success
    assert [scene.library.status(ghost) for ghost in scene.ghosts].count("failed") == 1
    assert kinds_of_evidence(scene, result.run_id) == {MARKED}
    monkeypatch.undo()
    scene.assert_next_run_finishes()


def test_what_a_second_connection_meets_is_no_matter_when_the_turn_of_the_part_comes(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server may have no room for two."""
    main, real = threading.get_ident(), Recorder.plan

    def plan(*args: Any) -> Any:
        if threading.get_ident() != main:
            raise DatabaseUnavailableError("too many connections")
        return real(*args)

    monkeypatch.setattr(Recorder, "plan", plan)
    result = scene.run()
    assert counts(result)["marked_failed"] == len(scene.ghosts)
    assert not [event for event in result.all_events if event.is_step_up_for_retry]
    scene.assert_all_is_well()


def test_a_thread_that_a_run_has_left_behind_asks_the_database_for_nothing_more(library: Library) -> None:
    database = Database(url=library.url)
    with database.yield_for_execution(dg.build_init_resource_context()), database.tracks() as tracks:
        assert tracks.now()
    with pytest.raises(RunEndedError, match="The run is over"), database.tracks():
        pass


def test_batches_share_the_samples_of_their_areas(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many batches there are, the database is asked for each area once."""
    for number in range(51):  # so that the newest ones aren't all there is
        scene.library.add(f"elsewhere/{number}.flac", status="ready", content=b"music")
    scene.remember()
    asked: list[object] = []
    real = Tracks.newest_below

    def newest_below(tracks: Tracks, prefixes: object, **how: Any) -> Any:
        asked.append(prefixes)
        return real(tracks, prefixes, **how)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(Tracks, "newest_below", newest_below)
    scene.run(ops={"find_stale_tracks": {"batch_size": 1}}, storage={"sample_size": 1})
    assert len(asked) == 1
    scene.assert_all_is_well()


def test_a_sample_is_not_shared_for_longer_than_a_minute(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """By then, an area may have playable tracks that had none."""
    database = Database(url=library.url)
    area = Area(str(library.root))
    database.drawn[area] = ()
    assert area in database.drawn
    later = time.monotonic() + 61
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert area not in database.drawn
