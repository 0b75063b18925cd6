"""The steps that Veza, its disks, its administrators and veza-ops take, in any order, and what must hold after each."""

import functools
import itertools
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, MultipleResults, RuleBasedStateMachine, initialize, invariant, multiple, rule

from veza_ops_tests.library import Library
from veza_ops_tests.model.disks import AREAS, DISKS, Disks
from veza_ops_tests.model.fates import Row
from veza_ops_tests.model.jobs import Cleanup, Jobs
from veza_ops_tests.model.pipeline import Pipeline
from veza_ops_tests.model.veza import Veza
from veza_ops_tests.storms import scene

WITNESSES = ("a", "a", "a", "b", "b", "b/disk")
"""Where the playable tracks are that Veza begins with."""

MOMENTS = {moment.words: moment for moment in [*scene.BEFORE_COMMIT, *scene.IN_EACH_STEP]}
AFTER_READING = [moment.words for moment in scene.BEFORE_COMMIT[2:]]
"""From then on a row may not change any more, or it is left to whoever changed it."""
BEFORE_LAST_LOOK = [moment.words for moment in scene.BEFORE_LAST_LOOK]

CHANGES = ["updated_at", "status_message", "file_path", "created_at", "status", "deleted_at", "row deleted"]
"""What the API may change while a cleanup is under way: each a part of the premise by itself."""

playable = Bundle("playable")
uploads = Bundle("upload")
tracks = st.one_of(uploads, playable)
cleanups = Bundle("cleanup")
backups = Bundle("backup")

areas = st.sampled_from(AREAS)
disks = st.sampled_from(DISKS)
moments = st.sampled_from([moment.words for moment in scene.BEFORE_COMMIT])
some_hours = st.sampled_from([1, 2, 30])
batch_sizes = st.sampled_from([2, 1_000])


@dataclass
class Stage:
    """What all examples of a test are played on, one after the other."""

    library: Library
    folder: Path
    steps: Counter[str] = field(default_factory=Counter)
    """How often each step was taken."""
    examples: int = 0


def step(**arguments: Any) -> Callable[[Callable[..., Any]], Any]:
    """A rule whose steps are counted."""

    def of(function: Callable[..., Any]) -> Any:
        @functools.wraps(function)
        def counted(self: "Machine", **given: Any) -> Any:
            self.stage.steps[function.__name__] += 1
            return function(self, **given)

        return rule(**arguments)(counted)  # type: ignore[no-untyped-call]  # Hypothesis leaves it without types

    return of


class Machine(RuleBasedStateMachine):
    """One example: a platform with six playable tracks, and whatever happens to it."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.stage = stage
        stage.examples += 1
        self.folder = stage.folder / str(stage.examples)
        stage.library.root = self.folder / "files"
        self.veza = Veza(stage.library, Disks(stage.library.root, self.folder / "aside"))
        self.pipeline = Pipeline(self.veza, Jobs(stage.library, self.folder / "dagster"))
        self.numbers = itertools.count(1)

    def teardown(self) -> None:
        """Nothing is left of an example."""
        self.pipeline.jobs.close()
        shutil.rmtree(self.folder)

    def _new_track(self, area: str, hours_ago: int) -> str:
        track = f"t{next(self.numbers)}"
        self.veza.begin(track, f"{area}/{track}.flac", hours_ago=hours_ago)
        return track

    def _change(self, track: str, change: str) -> None:
        if change == "row deleted":
            self.veza.delete(track)
        elif row := self.veza.row(track):
            self.veza.change(track, **_changed(row, change))

    @initialize(target=playable)
    def veza_has_playable_tracks(self) -> MultipleResults[str]:
        there = [self._new_track(area, hours_ago=48) for area in WITNESSES]
        for track in there:
            self.veza.finish_file(track)
            self.veza.complete(track)
        return multiple(*there)

    @initialize(target=uploads, areas=st.lists(areas, min_size=1, max_size=4))
    def uploads_have_died(self, areas: list[str]) -> MultipleResults[str]:
        return multiple(*(self._new_track(area, hours_ago=2) for area in areas))

    # -- uploads

    @step(target=uploads, area=areas, hours_ago=st.sampled_from([0, 2]))
    def upload_begins(self, area: str, hours_ago: int) -> str:
        return self._new_track(area, hours_ago)

    @step(track=uploads, hidden=st.booleans())
    def upload_writes_some(self, track: str, hidden: bool) -> None:  # noqa: FBT001 - Hypothesis gives it by name
        self.veza.write_some(track, hidden=hidden)

    @step(track=uploads, shout=st.booleans())
    def upload_finishes_its_file(self, track: str, shout: bool) -> None:  # noqa: FBT001
        self.veza.finish_file(track, shout=shout)

    @step(track=uploads)
    def upload_completes(self, track: str) -> None:
        self.veza.complete(track)

    # -- the API, administrators, and time

    @step(track=tracks, change=st.sampled_from(CHANGES))
    def api_changes(self, track: str, change: str) -> None:
        self._change(track, change)

    @step(track=tracks, area=areas)
    def file_is_moved(self, track: str, area: str) -> None:
        self.veza.move(track, f"{area}/{track}.flac")

    @step(track=tracks, hours=some_hours)
    def hours_pass(self, track: str, hours: int) -> None:
        self.veza.let_pass(track, hours)

    @step(disk=disks, litter=st.booleans())
    def disk_goes_or_comes(self, disk: str, litter: bool) -> None:  # noqa: FBT001
        self.veza.disks.toggle(disk, litter=litter)

    @step(target=backups)
    def backup_is_made(self) -> dict[UUID, Row]:
        return dict(self.veza.rows)

    @step(backup=backups)
    def backup_is_restored(self, backup: dict[UUID, Row]) -> None:
        self.veza.restore(backup)

    # -- veza-ops

    @step(target=cleanups, batch_size=batch_sizes)
    def cleanup(self, batch_size: int) -> Cleanup:
        return self.pipeline.clean(batch_size)

    @step(target=cleanups, moment=st.sampled_from(sorted(MOMENTS)), batch_size=batch_sizes)
    def two_cleanups(self, moment: str, batch_size: int) -> MultipleResults[Cleanup]:
        return multiple(*self.pipeline.clean_twice(MOMENTS[moment], batch_size))

    @step(target=cleanups, moment=moments, disk=disks, litter=st.booleans())
    def cleanup_while_disk_goes_or_comes(self, moment: str, disk: str, litter: bool) -> Cleanup:  # noqa: FBT001
        def happens() -> set[UUID]:
            self.veza.disks.toggle(disk, litter=litter)
            return set()

        return self.pipeline.clean_while(MOMENTS[moment], happens)

    @step(target=cleanups, moment=moments, track=uploads)
    def cleanup_while_upload_completes(self, moment: str, track: str) -> Cleanup:
        def happens() -> set[UUID]:
            self.veza.finish_file(track)
            self.veza.complete(track)
            row = self.veza.row(track)
            return {row.id} if row and row.is_playable else set()

        return self.pipeline.clean_while(MOMENTS[moment], happens)

    @step(target=cleanups, moment=moments, track=uploads)
    def cleanup_while_file_comes(self, moment: str, track: str) -> Cleanup:
        def happens() -> set[UUID]:
            self.veza.finish_file(track)
            row = self.veza.row(track)
            is_seen = row and self.veza.disks.shows(row.file_path) and moment in BEFORE_LAST_LOOK
            return {row.id} if row and is_seen else set()

        return self.pipeline.clean_while(MOMENTS[moment], happens)

    @step(target=cleanups, moment=moments, track=uploads, change=st.sampled_from(CHANGES))
    def cleanup_while_api_changes(self, moment: str, track: str, change: str) -> Cleanup:
        def happens() -> set[UUID]:
            row = self.veza.waiting(track)
            if row is None:
                return set()
            self._change(track, change)
            return {row.id} if moment in AFTER_READING else set()

        return self.pipeline.clean_while(MOMENTS[moment], happens)

    @step(cleanup=cleanups, dry_run=st.booleans())
    def undo(self, cleanup: Cleanup, dry_run: bool) -> None:  # noqa: FBT001
        (self.pipeline.try_undo if dry_run else self.pipeline.undo)(cleanup)

    @step()
    def undo_of_all(self) -> None:
        self.pipeline.undo_all()

    @step(batch_size=batch_sizes)
    def cleanup_regretted(self, batch_size: int) -> None:
        self.pipeline.regret(batch_size)

    @step(is_audit=st.booleans())
    def somebody_only_looks(self, is_audit: bool) -> None:  # noqa: FBT001
        if is_audit:
            self.pipeline.audit()
        else:
            self.pipeline.try_cleanup(batch_size=2)

    @step(cleanup=cleanups)
    def run_grows_old(self, cleanup: Cleanup) -> None:
        self.pipeline.jobs.grow_old(cleanup.run_id)
        cleanup.is_old = True

    @step()
    def old_runs_are_forgotten(self) -> None:
        self.pipeline.prune()

    # -- what must hold after each

    @invariant()
    def the_table_is_as_it_must_be(self) -> None:
        self.pipeline.same_table("something")

    @invariant()
    def the_files_are_as_they_must_be(self) -> None:
        assert self.veza.disks.found() == self.veza.disks.files


def _changed(row: Row, column: str) -> dict[str, object]:
    """Another value for one column of a row."""
    now = datetime.now(UTC)
    folder, plain = row.file_path.rpartition("/")[0], f"{row.title}.flac"
    other = f"again-{plain}" if row.file_path.endswith(f"/{plain}") else plain
    values = {
        "updated_at": now,
        "status_message": "50 %" if row.status_message == "transcoding" else "transcoding",
        "file_path": f"{folder}/{other}",
        "created_at": now,
        "status": "failed",
        "deleted_at": now,
    }
    return {column: values[column]}
