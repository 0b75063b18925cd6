"""Who acts on a track: the uploader, statement by statement, and the jobs, stopped where others make a difference."""

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg
import psycopg
import pytest
import sqlalchemy as sa
import upath

from veza_ops import archive
from veza_ops.cleanup import config, ops
from veza_ops.cleanup.marking import Marking
from veza_ops.cleanup.rules import Counts, total
from veza_ops.evidence import MARKED, Evidence
from veza_ops.recording import Recorder
from veza_ops.resources import Database, Storage
from veza_ops.tracks.table import Tracks
from veza_ops.undo import ops as undo_ops
from veza_ops_tests.interleavings.scheduler import Actor
from veza_ops_tests.library import Id, Library, run_job
from veza_ops_tests.storms import scene
from veza_ops_tests.storms.scene import Moment

CLEANUP = {
    "search": scene.BEFORE_SEARCH,
    "read": scene.BEFORE_READING,
    "look": scene.BEFORE_LOOK,
    "look_again": scene.BEFORE_SECOND_LOOK,
    "plan": scene.BEFORE_EVIDENCE,
    "update": scene.BEFORE_WRITE,
    "commit": scene.AFTER_WRITE,
    "confirm": scene.AFTER_COMMIT,
}
"""The steps of a cleanup. The proofs are none: they are about the files of playable tracks, which nobody touches."""

UNDO = {
    "undo_read": Moment("before the undo's reading", undo_ops, "find_marked"),
    "undo_evidence": Moment("between the list of evidence and its reading", archive, "read_changes"),
    "undo_update": Moment("before the undo's statement", Tracks, "restore"),
}

ALL = tuple(CLEANUP)
ESSENTIAL = ("read", "look", "look_again", "update", "commit")
"""The steps in which a cleanup reads or writes what an uploader does."""
WRITES = ("read", "look_again", "update", "commit")
"""Without the first look, which makes a difference only to whoever takes a file away."""


class Seen(NamedTuple):
    """What there was of a track at a moment."""

    row: dict[str, Any] | None
    is_locked: bool
    files: frozenset[str]
    """The names in the folder of uploads."""

    def has_nothing_like(self, file_path: str) -> bool:
        """Whether neither the file was there nor an unfinished one beside its name."""
        return not any(name.startswith(Path(file_path).name) for name in self.files)


def see(library: Library, identity: Id) -> Seen:
    """What there is of a track now, as everybody sees it."""
    files = frozenset(path.name for path in (library.root / "uploads").iterdir())
    with library.engine.connect() as connection:
        row = connection.execute(sa.text("SELECT * FROM tracks WHERE id = :id"), {"id": identity}).mappings().first()
        free = connection.execute(
            sa.text("SELECT FROM tracks WHERE id = :id FOR SHARE SKIP LOCKED"), {"id": identity}
        ).first()
    return Seen(dict(row) if row else None, row is not None and free is None, files)


def blocked(library: Library) -> int:
    """How many of the server's sessions wait for a lock of another one."""
    waiting = "wait_event_type = 'Lock' AND cardinality(pg_blocking_pids(pid)) > 0"
    with library.engine.connect() as connection:
        return len(connection.scalars(sa.text(f"SELECT pid FROM pg_stat_activity WHERE {waiting}")).all())


_here = threading.local()


@dataclass
class Job:
    """A run of a job of ours, in this process."""

    library: Library
    evidence: Path
    job: str = "cleanup_orphan_tracks"
    moments: Mapping[str, Moment] = field(default_factory=lambda: CLEANUP)
    config: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Of its steps."""
    watched: Id | None = None
    """The track that is looked at in each step."""
    first: Callable[[Actor], object] = lambda _: None
    """What its actor does beforehand."""
    seen: dict[str, Seen] = field(default_factory=dict)
    """What there was of it right before each step."""
    calls: Counter[str] = field(default_factory=Counter)
    _result: dg.ExecuteInProcessResult | None = None

    @property
    def result(self) -> dg.ExecuteInProcessResult:
        """The run, which is over."""
        assert self._result is not None
        return self._result

    def run(self) -> "Job":
        """Run it without a stop."""
        with dg.DagsterInstance.ephemeral() as instance:
            self._result = run_job(
                self.library, instance, job=self.job, ops=self.config, evidence={"folder": str(self.evidence)}
            )
        return self

    def act(self, actor: Actor) -> None:
        """Run it with a stop before each of the actor's steps."""
        self.first(actor)
        _here.job, _here.actor = self, actor
        self.run()

    @property
    def marked(self) -> list[str]:
        """The ids of the tracks that its evidence says it marked."""
        records = Evidence(upath.UPath(self.evidence), self.result.run_id)
        return sorted(row["id"] for path in records.files(MARKED) for row in records.rows(path))

    def reach(self, actor: Actor, function: str, when: str) -> None:
        """A function of veza-ops is about to be called, or has been."""
        for step, moment in self.moments.items():
            if (moment.name, moment.when, moment.call) == (function, when, self.calls[function]):
                actor.reach(step)
                if self.watched is not None:
                    self.seen[step] = see(self.library, self.watched)


def undo(library: Library, evidence: Path, run_id: str = "") -> Job:
    """The undo of a run, or of whichever run."""
    config: dict[str, dict[str, Any]] = {"find_marked_tracks": {"run_id": run_id}, "restore_tracks": {"dry_run": False}}
    return Job(library, evidence, "restore_orphan_tracks", UNDO, config)


def clean(library: Library, evidence: Path, quiet_minutes: int = 0) -> Counts:
    """One more cleanup, without Dagster around its steps, which takes most of a run's time; its counts."""
    storage, find = Storage(root=str(library.root)), config.FindConfig(quiet_minutes=quiet_minutes)
    records = Evidence(upath.UPath(evidence), "afterwards")
    with Database(url=library.url).yield_for_execution(dg.build_init_resource_context()) as database:
        with database.tracks() as tracks:
            found = ops.search(tracks, find, storage)
        outcomes = [
            outcome
            for each in found.batches
            for outcome in Marking(
                storage.files(), Recorder(records, each.batch.number, database.tracks, lambda: None), dry_run=False
            ).batch(ops.look_through(each, database, storage))
        ]
    return total(outcomes).counts


def set_gates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each job that acts stop at its moments; all others run as ever."""
    for owner, name in {(moment.owner, moment.name) for moment in (*CLEANUP.values(), *UNDO.values())}:
        monkeypatch.setattr(owner, name, _gated(getattr(owner, name), name))


def _gated(real: Callable[..., Any], name: str) -> Callable[..., Any]:
    def gated(*args: Any, **kwargs: Any) -> Any:
        job: Job | None = getattr(_here, "job", None)
        if job is None:
            return real(*args, **kwargs)
        job.calls[name] += 1
        job.reach(_here.actor, name, "before")
        result = real(*args, **kwargs)
        job.reach(_here.actor, name, "after")
        return result

    return gated


@dataclass
class Uploader:
    """The uploader of one track, or the API on its behalf. Its steps are methods of these names.

    Each statement changes as little as it can, so that nothing but what it is about tells of it.
    """

    library: Library
    id: Id
    steps: Sequence[str]
    in_transaction: bool = False
    isolation: psycopg.IsolationLevel | None = None
    told: int | None = None
    """How many rows its last guarded statement changed, if it made any."""
    was_refused: bool = False
    """Whether it was told that its snapshot is out of date."""

    def act(self, actor: Actor) -> None:
        """Take all steps, each when it is let go."""
        with psycopg.connect(self.library.url, autocommit=not self.in_transaction) as self._connection:
            self._connection.isolation_level = self.isolation
            for step in self.steps:
                actor.reach(step)
                getattr(self, step)()

    @property
    def file(self) -> Path:
        return self.library.root / "uploads" / "last-minute.flac"

    @property
    def part(self) -> Path:
        return self.file.with_name(f"{self.file.name}.part")

    @property
    def moved(self) -> Path:
        return self.file.with_name("renamed.flac")

    def _execute(self, sql: str, **values: Any) -> int:
        return self._connection.execute(sql, {"id": self.id} | values).rowcount

    def _guarded(self, assignments: str, guard: str = "status = 'processing'", **values: Any) -> None:
        statement = f"UPDATE tracks SET {assignments} WHERE id = %(id)s AND {guard}"
        try:
            self.told = self._execute(statement, **values)
        except psycopg.errors.SerializationFailure:
            if self.isolation is None:
                raise
            self.was_refused = True
            self._connection.rollback()
            self.told = self._execute(statement, **values)

    # -- files

    def write_part(self) -> None:
        self.part.write_bytes(b"music")

    def rename_part(self) -> None:
        self.part.rename(self.file)

    def write(self) -> None:
        self.file.write_bytes(b"music")

    def write_half(self) -> None:
        self.file.write_bytes(b"mus")

    def write_rest(self) -> None:
        with self.file.open("ab") as file:
            file.write(b"ic")

    def move_file(self) -> None:
        self.file.rename(self.moved)

    # -- statements

    def see(self) -> None:
        self._execute("SELECT FROM tracks WHERE id = %(id)s")

    def lock(self) -> None:
        self._execute("SELECT FROM tracks WHERE id = %(id)s FOR UPDATE")

    def complete(self) -> None:
        self._guarded("status = 'ready'")

    def fail(self) -> None:
        self._guarded("status = 'failed', status_message = 'transcoding failed'")

    def move_row(self) -> None:
        names = {"old": "uploads/last-minute.flac", "new": "uploads/renamed.flac"}
        self._guarded("file_path = %(new)s", "status = 'processing' AND file_path = %(old)s", **names)

    def touch(self) -> None:
        self._execute("UPDATE tracks SET updated_at = now() WHERE id = %(id)s")

    def say(self) -> None:
        self._execute("UPDATE tracks SET status_message = 'half of it' WHERE id = %(id)s")

    def delete(self) -> None:
        self._execute("DELETE FROM tracks WHERE id = %(id)s")

    def soft_delete(self) -> None:
        self._execute("UPDATE tracks SET deleted_at = now() WHERE id = %(id)s")

    def insert_new(self) -> None:
        self._insert("now()")

    def insert_old(self) -> None:
        self._insert("now() - interval '3 hours'")

    def _insert(self, created_at: str) -> None:
        self._execute(
            "INSERT INTO tracks (id, status, file_path, created_at, updated_at) VALUES "
            f"(%(id)s, 'processing', 'uploads/last-minute.flac', {created_at}, {created_at})"
        )

    def end(self) -> None:
        self._connection.commit()

    def give_up(self) -> None:
        self._connection.rollback()
        self.told = None

    # -- afterwards

    def try_again(self) -> bool:
        """Complete the track once more; whether it was there to be completed."""
        with psycopg.connect(self.library.url, autocommit=True) as self._connection:
            self.complete()
        return self.told == 1
