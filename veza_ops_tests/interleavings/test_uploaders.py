"""Every order of an uploader's steps and a cleanup's: no good track is failed, and whoever comes too late is told.

`VEZA_OPS_INTERLEAVINGS=all` runs them all, which takes some ten minutes of a processor's time; otherwise it is a few of
each spec, always the same. With the name of one, as it stands in the test's id, that one is run again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from psycopg import IsolationLevel

from veza_ops_tests.interleavings.actors import ALL, ESSENTIAL, WRITES, Job, Uploader, blocked, clean, see, undo
from veza_ops_tests.interleavings.scheduler import Actor, Order, interleavings, play
from veza_ops_tests.library import Library, counts
from veza_ops_tests.storms.scene import writes


@dataclass(frozen=True)
class Spec:
    """What an uploader does, and the steps of the cleanup that it does it around."""

    steps: Sequence[str]
    points: Sequence[str] = ALL
    in_transaction: bool = False
    isolation: IsolationLevel | None = None
    has_file: bool = False
    """Whether the file is there from the start."""
    quiet_minutes: int = 0
    is_plain: bool = False
    """Whether the table has no trigger."""


COMPLETES = ("lock", "write", "complete", "end")
BY_SNAPSHOT = ("see", "write", "complete", "end")

SPECS = {
    "renames_the_finished_file": Spec(["write_part", "rename_part", "complete"]),
    "renames_it_in_a_plain_table": Spec(["write_part", "rename_part", "complete"], WRITES, is_plain=True),
    "completes_in_a_transaction": Spec(COMPLETES, ESSENTIAL, in_transaction=True),
    "rolls_back": Spec([*COMPLETES[:-1], "give_up"], WRITES, in_transaction=True),
    "writes_in_chunks": Spec(["write_half", "write_rest", "complete"], ESSENTIAL),
    "deletes": Spec(["delete"]),
    "deletes_in_a_transaction": Spec(["delete", "end"], ESSENTIAL, in_transaction=True),
    "soft_deletes": Spec(["soft_delete"]),
    "soft_deletes_in_a_transaction": Spec(["soft_delete", "end"], ESSENTIAL, in_transaction=True),
    "moves_the_file_first": Spec(["move_file", "move_row", "complete"], ESSENTIAL, has_file=True),
    "moves_the_row_first": Spec(["move_row", "move_file", "complete"], ESSENTIAL, has_file=True),
    "moves_both_in_a_transaction": Spec(
        ["move_row", "move_file", "end"], ESSENTIAL, in_transaction=True, has_file=True
    ),
    "touches_and_says": Spec(["touch", "say"], ESSENTIAL),
    "says_and_touches_quietly": Spec(["say", "touch"], ESSENTIAL, quiet_minutes=60),
    "fails_it_itself": Spec(["fail"]),
    "fails_it_in_a_transaction": Spec(["fail", "end"], ESSENTIAL, in_transaction=True),
    "inserts_it_anew": Spec(["delete", "insert_new"], ESSENTIAL),
    "inserts_it_anew_and_completes": Spec(["delete", "insert_old", "write", "complete"], WRITES),
    "inserts_it_anew_in_a_transaction": Spec(["delete", "insert_old", "end"], ESSENTIAL, in_transaction=True),
    "reads_repeatably": Spec(BY_SNAPSHOT, WRITES, in_transaction=True, isolation=IsolationLevel.REPEATABLE_READ),
    "is_serializable": Spec(BY_SNAPSHOT, WRITES, in_transaction=True, isolation=IsolationLevel.SERIALIZABLE),
}


@dataclass
class Stage:
    """The track that both act on, a ghost and a good one beside it."""

    library: Library
    spec: Spec
    evidence: Path

    def __post_init__(self) -> None:
        library, spec = self.library, self.spec
        library.add("uploads/slow.flac", content=b"half of it")
        self.ghost = library.add_ghost(file_path="uploads/gone.flac")
        content = b"music" if spec.has_file else None
        age = timedelta(hours=3)
        self.upload = library.add("uploads/last-minute.flac", age=age, status_message="converting", content=content)
        self.uploader = Uploader(library, self.upload, spec.steps, spec.in_transaction, spec.isolation)

        config = {"find_stale_tracks": {"quiet_minutes": spec.quiet_minutes}}
        self.cleanup = Job(library, self.evidence, config=config, watched=self.upload)

    def is_stale(self, row: dict[str, Any] | None) -> bool:
        """Whether a cleanup looks for the file of such a row."""
        if row is None or row["status"] != "processing" or row["deleted_at"]:
            return False
        now, quiet = datetime.now(UTC), timedelta(minutes=self.spec.quiet_minutes)
        return bool(row["created_at"] < now - timedelta(hours=1) and row["updated_at"] < now - quiet)

    def is_to_be_failed(self) -> bool:
        """Whether the track was a ghost in all that the cleanup saw, and free and unchanged when it wrote."""
        read, look, again, write = (self.cleanup.seen[step] for step in ("read", "look", "look_again", "update"))
        if read.row is None or not self.is_stale(read.row):
            return False
        path = read.row["file_path"]
        nothing = look.has_nothing_like(path) and again.has_nothing_like(path)
        return nothing and write.row == read.row and not write.is_locked

    def assert_the_undo_brings_it_back(self) -> None:
        """The uploader came too late, and was told: the undo makes the row what it was, and the upload succeeds."""
        before = self.cleanup.seen["read"].row
        assert before is not None
        if self.uploader.moved.exists() and before["file_path"] == "uploads/last-minute.flac":
            self.uploader.moved.rename(self.uploader.file)
        assert undo(self.library, self.evidence, self.cleanup.result.run_id).run().result.success
        row = self.library.row(self.upload)
        assert row | {"updated_at": None} == before | {"updated_at": None}
        assert self.uploader.try_again()

    def assert_the_next_cleanup_leaves_all_well(self) -> None:
        """It fails what is a ghost now, and nothing else."""
        before = self.library.rows()
        seen = see(self.library, self.upload)
        ghosts = {
            identity
            for identity, row in before.items()
            if self.is_stale(row) and seen.has_nothing_like(row["file_path"])
        }
        assert clean(self.library, self.evidence, self.spec.quiet_minutes).marked_failed == len(ghosts)
        after = self.library.rows()
        assert {identity for identity in before if after[identity] != before[identity]} == ghosts
        assert {after[identity]["status"] for identity in ghosts} <= {"failed"}


@pytest.mark.parametrize(
    ("spec", "order"),
    [each for name, spec in SPECS.items() for each in interleavings(name, spec, spec.steps, spec.points)],
)
def test_whoever_comes_first_keeps_the_track_and_the_other_is_told(
    spec: Spec, order: Order, fresh: Callable[[bool], Library], evidence: Path
) -> None:
    library = fresh(spec.is_plain)
    stage = Stage(library, spec, evidence)
    good = {identity: row for identity, row in library.rows().items() if identity not in (stage.ghost, stage.upload)}
    cleanup, uploader = stage.cleanup, stage.uploader
    cleaning, uploading = Actor(spec.points, cleanup.act), Actor(spec.steps, uploader.act)
    play(order, [cleaning, uploading], lambda: blocked(library))

    after = counts(cleanup.result)
    is_failed = stage.is_to_be_failed()
    marked = sorted(map(str, [stage.ghost, stage.upload] if is_failed else [stage.ghost]))
    assert cleanup.marked == marked
    assert spec.is_plain or sorted(writes(library)) == marked
    assert after["stale"] == after["present"] + after["missing"] + after["unverifiable"]
    assert after["missing"] == after["marked_failed"] + after["raced"] + after["refused"]
    assert (after["marked_failed"], after["refused"]) == (len(marked), 0)
    assert library.status(stage.ghost) == "failed"
    rows = library.rows()
    assert {identity: rows.get(identity) for identity in good} == good
    # The cleanup waits for nobody, and nobody for it but for the row that it is writing.
    assert not cleaning.waited
    assert is_failed or not (uploading.waited or uploader.was_refused)
    is_another = "insert_old" in order and order.index("insert_old") > order.index("update")
    if uploader.told is not None:
        assert uploader.told == (0 if is_failed and not is_another else 1)
    if is_failed and uploader.told == 0 and "fail" not in spec.steps:
        stage.assert_the_undo_brings_it_back()
    stage.assert_the_next_cleanup_leaves_all_well()
