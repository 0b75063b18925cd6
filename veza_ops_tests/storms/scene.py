"""A library before a storm, the moments at which one can break out, and the questions asked afterwards."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple

import dagster as dg
import pytest
import sqlalchemy as sa

from veza_ops.cleanup import rules
from veza_ops.evidence import Evidence
from veza_ops.storage.files import Files
from veza_ops.text import brief
from veza_ops.tracks.table import Tracks
from veza_ops_tests.library import Id, Library, counts, failure, run_job

Action = Callable[[], object]


@dataclass
class Scene:
    """Good tracks of every kind, and ghosts."""

    library: Library
    instance: dg.DagsterInstance
    good: dict[Id, dict[str, Any]] = field(default_factory=dict)
    """The rows that nothing may change, as they were."""
    ghosts: list[Id] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ghosts = [self.library.add_ghost() for _ in range(3)]
        self.library.add("uploads/slow.flac", content=b"")
        self.library.add("uploads/slower.flac", content=b"half of it", age=timedelta(days=3))
        self.library.add("uploads/just-begun.flac", age=timedelta(minutes=5))
        self.library.add("uploads/bad-codec.flac", status="failed", status_message="transcoding failed")
        self.remember()

    def remember(self) -> None:
        """Take all rows but the ghosts, as they are now, for the good ones."""
        self.good = {identity: row for identity, row in self.library.rows().items() if identity not in self.ghosts}

    def run(self, **config: Any) -> dg.ExecuteInProcessResult:
        """Run the cleanup; a failed run is a result too."""
        return run_job(self.library, self.instance, **config)

    def assert_no_good_track_changed(self) -> None:
        rows = self.library.rows()
        assert {identity: rows.get(identity) for identity in self.good} == self.good

    def assert_nothing_changed(self) -> None:
        self.assert_no_good_track_changed()
        assert {self.library.status(ghost) for ghost in self.ghosts} == {"processing"}

    def assert_all_is_well(self) -> None:
        """No good track was changed, and each orphan is failed."""
        self.assert_no_good_track_changed()
        assert {self.library.status(ghost) for ghost in self.ghosts} <= {"failed"}

    def assert_next_run_finishes(self, **config: Any) -> None:
        """The storm is over: a run does what is left to do."""
        after = counts(self.run(**config))
        assert after["stale"] == after["present"] + after["missing"] + after["unverifiable"]
        assert after["missing"] == after["marked_failed"] + after["raced"] + after["refused"]
        self.assert_all_is_well()

    def assert_refused(self, result: dg.ExecuteInProcessResult, *words: str) -> None:
        """The run failed, changed nothing, and said why."""
        assert not result.success
        for word in words:
            assert word in failure(result)
        self.assert_nothing_changed()


class Reasons(dict[str, str]):
    """What a page says of tracks, by their paths."""

    def __getitem__(self, path: str) -> str:
        return super().__getitem__(brief(path))


def unverifiable_reasons(result: dg.ExecuteInProcessResult) -> Reasons:
    """What the run's page says of the tracks that it couldn't verify: the reason for each path."""
    assert result.success, failure(result)
    (event,) = result.filter_events(lambda event: event.event_type is dg.DagsterEventType.ASSET_OBSERVATION)
    table = event.asset_observation_data.asset_observation.metadata.get("unverifiable_tracks")
    if table is None:
        return Reasons()
    assert isinstance(table, dg.TableMetadataValue)
    return Reasons((str(record.data["file_path"]), str(record.data["reason"])) for record in table.records)


WRITES = [
    "CREATE TABLE writes (track text)",
    (
        "CREATE FUNCTION note_write() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO writes VALUES (NEW.id); RETURN NULL; END $$"
    ),
    (
        "CREATE TRIGGER note_write AFTER UPDATE ON tracks FOR EACH ROW "
        "WHEN (current_setting('application_name') = 'veza-ops') EXECUTE FUNCTION note_write()"
    ),
]


def record_writes(library: Library) -> None:
    """From now on, the database itself notes each row that veza-ops writes."""
    for statement in WRITES:
        library.execute(statement)


def writes(library: Library) -> list[str]:
    """The rows that cleanups wrote, each as often as it was written."""
    with library.engine.connect() as connection:
        return list(connection.scalars(sa.text("SELECT track FROM writes")))


def arrange(
    monkeypatch: pytest.MonkeyPatch,
    owner: object,
    name: str,
    *,
    before: Action | None = None,
    after: Action | None = None,
    call: int = 1,
) -> None:
    """Let something happen right before or after one call of a function, which does its own work as ever."""
    real = getattr(owner, name)
    numbers = itertools.count(1)

    def arranged(*args: Any, **kwargs: Any) -> Any:
        is_it = next(numbers) == call
        if is_it and before:
            before()
        result = real(*args, **kwargs)
        if is_it and after:
            after()
        return result

    monkeypatch.setattr(owner, name, arranged)


class Moment(NamedTuple):
    """A point in a run of a single batch, in the words of its own functions."""

    words: str
    owner: object
    name: str
    when: str = "before"
    call: int = 1

    def __str__(self) -> str:
        return self.words.replace(" ", "_")

    def arrange(self, monkeypatch: pytest.MonkeyPatch, action: Action) -> None:
        """Let `action` happen at this moment."""
        if self.when == "before":
            arrange(monkeypatch, self.owner, self.name, before=action, call=self.call)
        else:
            arrange(monkeypatch, self.owner, self.name, after=action, call=self.call)


# Files are searched for twice, each time between two proofs: after the reading, and once more right before the write.
BEFORE_SEARCH = Moment("before the search", rules, "find_stale")
BEFORE_READING = Moment("between search and reading", Tracks, "read")
BEFORE_PROOF = Moment("before the proof", rules, "check")
BEFORE_LOOK = Moment("between proof and look", Files, "search")
AFTER_LOOK = Moment("between look and proof", Files, "search", "after")
BEFORE_SECOND_PROOF = Moment("between check and write", rules, "check_again")
BEFORE_SECOND_LOOK = Moment("between proof and second look", Files, "search", call=2)
AFTER_SECOND_LOOK = Moment("between second look and proof", Files, "search", "after", call=2)
AFTER_LAST_PROOF = Moment("between last proof and write", rules, "check_again", "after")
BEFORE_WRITE = Moment("right before the statement", Tracks, "mark_failed")

BEFORE_LAST_LOOK = [
    BEFORE_SEARCH,
    BEFORE_READING,
    BEFORE_PROOF,
    BEFORE_LOOK,
    AFTER_LOOK,
    BEFORE_SECOND_PROOF,
    BEFORE_SECOND_LOOK,
]
BEFORE_COMMIT = [*BEFORE_LAST_LOOK, AFTER_SECOND_LOOK, AFTER_LAST_PROOF, BEFORE_WRITE]

AFTER_SEARCH = Moment("after the search", rules, "find_stale", "after")
AFTER_READING = Moment("after the reading", Tracks, "read", "after")
BEFORE_EVIDENCE = Moment("before the evidence", Evidence, "write")
AFTER_EVIDENCE = Moment("between evidence and write", Evidence, "write", "after")
AFTER_WRITE = Moment("between write and commit", Tracks, "mark_failed", "after")
AFTER_COMMIT = Moment("between commit and confirmation", Evidence, "confirm")
AFTER_CONFIRMATION = Moment("after the confirmation", Evidence, "confirm", "after")

# In each step: before its statements, and while its transaction is open; and all around the evidence.
IN_EACH_STEP = [
    BEFORE_SEARCH,
    AFTER_SEARCH,
    BEFORE_READING,
    AFTER_READING,
    BEFORE_EVIDENCE,
    AFTER_EVIDENCE,
    BEFORE_WRITE,
    AFTER_WRITE,
    AFTER_COMMIT,
    AFTER_CONFIRMATION,
]
