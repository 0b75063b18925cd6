"""Storms that say nothing: a network, a server or a disk that takes a question and never answers.

Each run is a process of its own, which has to come to its end by itself.
"""

import signal
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from veza_ops.evidence import MARKING
from veza_ops_tests.e2e.deployment import wait_for
from veza_ops_tests.history.test_history import age
from veza_ops_tests.library import Library, failure, run_job
from veza_ops_tests.storms.mounts import hung
from veza_ops_tests.storms.process import said, start
from veza_ops_tests.storms.proxy import silent_after
from veza_ops_tests.storms.scene import AFTER_COMMIT, Scene

SOON: dict[str, Any] = {"statement_timeout_seconds": 5}
"""The server's own time-out. Ours is ten seconds later, so that it is the one to speak while it can."""


def assert_silence_was_said(told: dict[str, Any], library: Library) -> None:
    assert f"No answer from database {library.database} (" in told["failure"]
    assert "within 15 s: the server or the network on the way is silent" in told["failure"]
    assert told["tries_again"] == 0, "each try would wait as long again"


@pytest.mark.parametrize("is_heard", [True, False], ids=["heard", "unheard"])
def test_a_server_that_goes_silent_in_a_statement_ends_the_run_and_nothing_is_written(
    scene: Scene, *, is_heard: bool
) -> None:
    with silent_after(scene.library.url, "UPDATE", is_heard=is_heard) as (url, proxy):
        told = said(start(scene.library, database=SOON | {"url": url}))
        assert proxy.went_silent.is_set()
    assert_silence_was_said(told, scene.library)
    scene.assert_nothing_changed()
    wait_for("the server to let go", lambda: not scene.library.sessions() or None, seconds=60)
    scene.assert_next_run_finishes()


@pytest.mark.parametrize("is_heard", [True, False], ids=["heard", "unheard"])
def test_a_server_that_goes_silent_in_a_commit_ends_the_run_and_the_undo_knows_what_came_of_it(
    scene: Scene, tmp_path: Path, *, is_heard: bool
) -> None:
    evidence = tmp_path / "evidence"
    with silent_after(scene.library.url, "UPDATE", "COMMIT", is_heard=is_heard) as (url, proxy):
        told = said(start(scene.library, evidence=str(evidence), database=SOON | {"url": url}))
        assert proxy.went_silent.is_set()
    assert_silence_was_said(told, scene.library)
    (left,) = (evidence / told["run_id"] / "veza_ops").iterdir()
    assert left.name.startswith(f"{MARKING}-00000.")
    statuses = {scene.library.status(ghost) for ghost in scene.ghosts}
    assert statuses == ({"failed"} if is_heard else {"processing"})
    for ghost in scene.ghosts:
        scene.library.write(scene.library.row(ghost)["file_path"])
    ops = {"find_marked_tracks": {"run_id": told["run_id"]}, "restore_tracks": {"dry_run": False}}
    undone = run_job(
        scene.library, scene.instance, job="restore_orphan_tracks", ops=ops, evidence={"folder": str(evidence)}
    )
    assert undone.output_for_node("report_restore")["restored"] == (len(scene.ghosts) if is_heard else 0)
    scene.assert_nothing_changed()


def test_a_server_that_is_silent_from_the_beginning_ends_the_run(scene: Scene) -> None:
    with silent_after(scene.library.url, "veza-ops", is_heard=False) as (url, _):
        told = said(start(scene.library, database={"url": url, "connect_timeout_seconds": 1}))
    assert "No connection to database" in told["failure"]
    assert told["tries_again"] == 3, "another server may have taken its place by then"
    scene.assert_nothing_changed()


# -- disks ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def hung_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that never answers."""
    with hung(tmp_path / "hung"):
        yield tmp_path / "hung" / "evidence"


def test_a_hung_disk_under_the_evidence_ends_the_run_and_nothing_is_written(scene: Scene, hung_folder: Path) -> None:
    told = said(start(scene.library, evidence={"folder": str(hung_folder), "timeout_seconds": 1}))
    assert "be read: no answer within 1 s. Give this process the right to." in told["failure"]
    scene.assert_nothing_changed()


def test_a_signal_ends_a_run_whose_evidence_hangs(scene: Scene, hung_folder: Path) -> None:
    process = start(scene.library, evidence={"folder": str(hung_folder), "timeout_seconds": 600})

    def hangs() -> bool | None:
        for thread in Path(f"/proc/{process.pid}/task").iterdir():
            with suppress(OSError):  # it has ended
                if "fuse" in (thread / "wchan").read_text():
                    return True
        return None

    wait_for("a thread that hangs in the kernel", hangs, seconds=200)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "DagsterExecutionInterruptedError" in err
    scene.assert_nothing_changed()


def test_a_hung_disk_under_the_evidence_ends_the_undo(scene: Scene, hung_folder: Path) -> None:
    assert run_job(scene.library, scene.instance).success
    marked = scene.library.rows()
    for run_id in ("", "a-run"):
        ops = {"find_marked_tracks": {"run_id": run_id}, "restore_tracks": {"dry_run": False}}
        evidence = {"folder": str(hung_folder), "timeout_seconds": 1}
        told = said(start(scene.library, job="restore_orphan_tracks", ops=ops, evidence=evidence))
        assert "no answer within 1 s" in told["failure"]
    assert scene.library.rows() == marked


def test_a_hung_disk_under_the_evidence_ends_the_pruning_with_its_first_run(
    library: Library, hung_folder: Path, tmp_path: Path
) -> None:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        old = [age(instance, run_job(library, instance).run_id, days=31 + number) for number in range(3)]
        evidence = {"folder": str(hung_folder), "timeout_seconds": 0.5}
        result = run_job(None, instance, job="prune_history", evidence=evidence)
        assert f"1 old runs couldn't be removed, the first: {old[-1]}: " in failure(result)
        assert "no answer within 0.5 s" in failure(result)
        assert all(instance.get_run_by_id(run_id) for run_id in old)


def test_a_hung_disk_that_comes_in_the_way_of_the_confirmation_ends_the_run_and_the_undo_knows(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan was written by then, and is what is left to go by."""
    evidence = {"folder": str(tmp_path / "evidence")}
    with ExitStack() as mounts:

        def hang() -> None:
            (run,) = (tmp_path / "evidence").iterdir()
            mounts.enter_context(hung(run))

        AFTER_COMMIT.arrange(monkeypatch, hang)
        result = scene.run(evidence=evidence | {"timeout_seconds": 10})
        assert "no answer within 10 s. It is listed there as what was to be changed." in failure(result)
        monkeypatch.undo()
    for ghost in scene.ghosts:
        scene.library.write(scene.library.row(ghost)["file_path"])
    ops = {"find_marked_tracks": {"run_id": result.run_id}, "restore_tracks": {"dry_run": False}}
    assert run_job(scene.library, scene.instance, job="restore_orphan_tracks", ops=ops, evidence=evidence).success
    scene.assert_nothing_changed()


def test_a_hung_folder_of_the_walk_costs_itself_alone(scene: Scene) -> None:
    scene.library.write("uploads/of-nobody.flac")
    at_once = {"find_unnamed_files": {"min_age_hours": 0}}
    with hung(scene.library.root / "hung"):
        told = said(start(scene.library, job="audit_track_files", ops=at_once, storage={"look_timeout_seconds": 3}))
    assert "failure" not in told
    assert (told["walk"]["unnamed"], told["walk"]["unread_folders"]) == (1, 1)
