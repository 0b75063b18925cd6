"""The jobs as the model has them: each is run, and what it did is held against what it had to do."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import dagster as dg
import pytest
from hypothesis import event

from veza_ops_tests.library import counts, failure
from veza_ops_tests.model.fates import MESSAGE, Fate, Fates, Row, during
from veza_ops_tests.model.jobs import Cleanup, Jobs
from veza_ops_tests.model.veza import Veza
from veza_ops_tests.storms.scene import Moment

Ops = dict[str, dict[str, Any]]

REFUSED = "This storage is not the one that the database describes"
"""What a run says that found nothing proven."""


@dataclass
class Pipeline:
    """Veza with veza-ops beside it."""

    veza: Veza
    jobs: Jobs
    cleanups: list[Cleanup] = field(default_factory=list)
    """Those that may have changed something."""

    # -- cleanups

    def try_cleanup(self, batch_size: int) -> None:
        """A dry run changes nothing, and names what a cleanup would change."""
        fates = self.veza.fates
        result = self._clean(batch_size, dry_run=True)
        self.same_table("a dry run")
        would_mark = self.jobs.lines(result.run_id, "would_mark").keys()
        self._judge(fates.all(), would_mark)
        assert self.jobs.left(result.run_id) <= {"would_mark", "unverifiable"}
        if not self._is_refused(result, is_to_be=fates.run_is_refused()):
            self._count(counts(result), fates, marked=0, is_dry=True)

    def clean(self, batch_size: int) -> Cleanup:
        """A cleanup fails the orphans, and nothing else."""
        fates, began = self.veza.fates, datetime.now(UTC)
        result = self._clean(batch_size)
        (cleanup,) = self._take_over(fates.all(), began, result)
        if not self._is_refused(result, is_to_be=fates.run_is_refused()):
            self._count(counts(result), fates, marked=len(cleanup.changes))
        return cleanup

    def clean_while(self, moment: Moment, happens: Callable[[], AbstractSet[UUID]]) -> Cleanup:
        """A cleanup of a single batch, at a moment of which something `happens`; it returns the tracks it spares.

        Without stale tracks, most moments never come; then nothing happens.
        """
        before, began = self.veza.fates.all(), datetime.now(UTC)
        came: list[AbstractSet[UUID]] = []
        with pytest.MonkeyPatch.context() as patch:
            moment.arrange(patch, lambda: came.append(happens()))
            result = self._clean(batch_size=1_000)
        event(f"something happened {moment.words}" if came else "a moment never came")
        fates = during(before, self.veza.fates.all(), came[0]) if came else before
        (cleanup,) = self._take_over(fates, began, result)
        if not self._is_refused(result):
            self._add_up(counts(result), marked=len(cleanup.changes))
        return cleanup

    def clean_twice(self, moment: Moment, batch_size: int) -> list[Cleanup]:
        """Two cleanups at once, one of which is run at a moment of the other: each orphan is failed by one of them."""
        fates, began = self.veza.fates.all(), datetime.now(UTC)
        inner: list[dg.ExecuteInProcessResult] = []
        with pytest.MonkeyPatch.context() as patch:
            moment.arrange(patch, lambda: inner.append(self._clean(batch_size)))
            outer = self._clean(batch_size)
        event(f"another cleanup {moment.words}" if inner else "a moment never came")
        cleanups = self._take_over(fates, began, outer, *inner)
        for result, cleanup in zip((outer, *inner), cleanups, strict=True):
            if not self._is_refused(result):
                self._add_up(counts(result), marked=len(cleanup.changes))
        return cleanups

    def _clean(self, batch_size: int, *, dry_run: bool = False) -> dg.ExecuteInProcessResult:
        ops: Ops = {"find_stale_tracks": {"batch_size": batch_size}, "mark_orphans_failed": {"dry_run": dry_run}}
        return self.jobs.run("cleanup_orphan_tracks", ops)

    def _take_over(
        self, fates: Mapping[UUID, Fate], began: datetime, *results: dg.ExecuteInProcessResult
    ) -> list[Cleanup]:
        """The cleanups that were run, if what they changed is what they had to, and their evidence names just that."""
        was, now = self.veza.rows, self.veza.table()
        assert now.keys() == was.keys(), "a cleanup has added or removed rows"
        changed = {identity: (was[identity], row) for identity, row in now.items() if row != was[identity]}
        self._judge(fates, changed)
        for before, after in changed.values():
            marked = replace(before, status="failed", status_message=MESSAGE, updated_at=after.updated_at)
            assert after == marked, f"{before.title} is no failed track as a cleanup leaves it: {after}"
            assert began <= after.updated_at <= datetime.now(UTC), (
                f"{before.title} has a time that is none of the run's"
            )
        told = [self.jobs.lines(result.run_id, "marked") for result in results]
        names = Counter(identity for lines in told for identity in lines)
        assert names == Counter(changed.keys()), (
            f"evidence names {_titles(was, names)}, changed: {_titles(was, changed)}"
        )
        cleanups = []
        for result, lines in zip(results, told, strict=True):
            assert "marking" not in self.jobs.left(result.run_id), "a plan was left of which all is confirmed"
            for identity, line in lines.items():
                assert _rows_in(line) == _told_of(*changed[identity])
            cleanups.append(Cleanup(result.run_id, {identity: changed[identity] for identity in lines}))
        event("some orphans were failed" if changed else "no orphan was failed")
        self.veza.rows = now
        self.cleanups += cleanups
        return cleanups

    def _judge(self, fates: Mapping[UUID, Fate], changed: Iterable[UUID]) -> None:
        """Whether just those tracks are `changed` that have to be."""
        rows, changed = self.veza.rows, set(changed)
        wrong = [f"{_told(rows[each])} was failed" for each in changed if fates[each] is Fate.SPARED]
        wrong += [
            f"{_told(rows[each])} was left alone"
            for each, fate in fates.items()
            if fate is Fate.FAILED and each not in changed
        ]
        assert not wrong, "; ".join(wrong)

    def _is_refused(self, result: dg.ExecuteInProcessResult, *, is_to_be: bool | None = None) -> bool:
        """Whether the run failed because nothing proved the storage. It may fail for nothing else."""
        assert result.success or REFUSED in failure(result), failure(result)
        assert is_to_be in (None, not result.success), "the run was refused, or should have been"
        event("a cleanup was refused" if not result.success else "a cleanup was done")
        return not result.success

    def _count(self, told: Mapping[str, int], fates: Fates, *, marked: int, is_dry: bool = False) -> None:
        """Whether the counts of a cleanup that nobody disturbed are so; `marked` tracks were failed."""
        stale = [row for row in fates.rows.values() if row.is_stale]
        of_each = Counter(fates.all().values())
        assert told["stale"] == len(stale), told
        assert told["present"] == sum(self.veza.disks.shows(row.file_path) for row in stale), told
        assert 0 <= told["missing"] - of_each[Fate.FAILED] <= of_each[Fate.EITHER], told
        assert told["stale"] == told["present"] + told["missing"] + told["unverifiable"], told
        if not is_dry:  # nobody was in the way
            assert told["missing"] == told["marked_failed"], told
        assert (told["marked_failed"], told["raced"], told["refused"]) == (marked, 0, 0), told

    def _add_up(self, told: Mapping[str, int], *, marked: int) -> None:
        assert told["stale"] == told["present"] + told["missing"] + told["unverifiable"], told
        assert told["missing"] == told["marked_failed"] + told["raced"] + told["refused"], told
        assert (told["marked_failed"], told["refused"]) == (marked, 0), told

    # -- undoing

    def try_undo(self, cleanup: Cleanup) -> None:
        """A dry undo changes nothing, and counts what an undo would restore."""
        wanted = self._to_restore(cleanup)
        result = self._restore(cleanup, dry_run=True)
        self.same_table("a dry undo")
        if self._undone(result, cleanup, is_sure=bool(wanted)):
            told = _counts_of(result)
            assert (told["present"], told["restored"]) == (len(wanted), 0), told

    def undo(self, cleanup: Cleanup) -> None:
        """An undo puts the tracks back that are as the cleanup left them and have their file, and nothing else."""
        wanted, began = self._to_restore(cleanup), datetime.now(UTC)
        result = self._restore(cleanup)
        restored = self._put_back(result, wanted, began)
        if self._undone(result, cleanup, is_sure=bool(wanted)):
            told = _counts_of(result)
            assert told["marked"] == len(cleanup.changes), told
            self._undo_adds_up(told, restored)

    def undo_all(self) -> None:
        """An undo of whatever bears the message, with what its evidence tells of each track."""
        wanted: dict[UUID, str | None] = {}
        for identity, row in self.veza.rows.items():
            is_marked = (row.status, row.status_message, row.deleted_at) == ("failed", MESSAGE, None)
            if is_marked and self.veza.disks.shows(row.file_path):
                wanted[identity] = self._message_of(row)
        began = datetime.now(UTC)
        result = self._restore(None)
        restored = self._put_back(result, wanted, began)
        if self._undone(result, None, is_sure=bool(wanted)):
            self._undo_adds_up(_counts_of(result), restored)

    def regret(self, batch_size: int) -> None:
        """A cleanup whose files all come afterwards is undone exactly, and only once."""
        before = dict(self.veza.rows)
        cleanup = self.clean(batch_size)
        for was, _ in cleanup.changes.values():
            self.veza.finish_file(was.title)
        self.undo(cleanup)
        now = self.veza.rows
        same = {identity: replace(row, updated_at=before[identity].updated_at) for identity, row in now.items()}
        assert same == before, "an undo isn't the whole way back"
        assert not self._to_restore(cleanup)
        self.undo(cleanup)
        assert self.veza.rows == now

    def _message_of(self, row: Row) -> str | None:
        """What a track said before the cleanup that left it as it is or, if none did, before the last that failed it.

        Nothing, where there is no evidence any more.
        """
        known = [each.changes[row.id] for each in self.cleanups if not each.is_forgotten and row.id in each.changes]
        known = [(before, left) for before, left in known if before.file_path == row.file_path]
        exact = [(before, left) for before, left in known if replace(row, created_at=left.created_at) == left]
        return (exact or known)[-1][0].status_message if known else None

    def _to_restore(self, cleanup: Cleanup) -> dict[UUID, str | None]:
        """The tracks that an undo has to put back, with the messages that they had."""
        if cleanup.is_forgotten:
            return {}
        rows = self.veza.rows
        return {
            identity: before.status_message
            for identity, (before, left) in cleanup.changes.items()
            if identity in rows
            and replace(rows[identity], created_at=left.created_at) == left
            and self.veza.disks.shows(left.file_path)
        }

    def _restore(self, cleanup: Cleanup | None, *, dry_run: bool = False) -> dg.ExecuteInProcessResult:
        which = {"run_id": cleanup.run_id} if cleanup else {}
        ops: Ops = {"find_marked_tracks": {**which, "batch_size": 2}, "restore_tracks": {"dry_run": dry_run}}
        return self.jobs.run("restore_orphan_tracks", ops)

    def _put_back(self, result: dg.ExecuteInProcessResult, wanted: Mapping[UUID, str | None], began: datetime) -> int:
        """How many tracks an undo has put back, if they are those that are `wanted`, with their messages."""
        was, now = self.veza.rows, self.veza.table()
        changed = {identity: row for identity, row in now.items() if row != was[identity]}
        assert changed.keys() == wanted.keys(), (
            f"restored: {_titles(was, changed)}; to be restored: {_titles(was, wanted)}"
        )
        for identity, row in changed.items():
            stays = row.status_message, row.updated_at
            back = replace(was[identity], status="processing", status_message=stays[0], updated_at=stays[1])
            assert row == back, f"{row.title} isn't as an undo leaves it: {row}"
            assert row.status_message == wanted[identity], f"{row.title} has another message than before: {row}"
            assert began <= row.updated_at <= datetime.now(UTC), row.title
        told = self.jobs.lines(result.run_id, "restored")
        assert told.keys() == changed.keys(), "evidence names other tracks than were restored"
        event("some tracks were restored" if changed else "no track was restored")
        self.veza.rows = now
        return len(changed)

    @staticmethod
    def _undone(result: dg.ExecuteInProcessResult, cleanup: Cleanup | None, *, is_sure: bool) -> bool:
        """Whether an undo succeeded. It has to if there `is_sure` to be something to restore."""
        if cleanup and cleanup.is_forgotten:
            assert "There is no evidence of run" in failure(result)
        elif cleanup and not cleanup.changes:
            assert "There is no evidence of run" in failure(result) if not result.success else True
        else:
            assert result.success or (REFUSED in failure(result) and not is_sure), failure(result)
        return result.success

    @staticmethod
    def _undo_adds_up(told: Mapping[str, int], restored: int) -> None:
        assert told["marked"] == told["present"] + told["missing"] + told["unverifiable"] + told["changed"], told
        assert (told["present"], told["raced"], told["refused"]) == (restored, 0, 0), told
        assert told["restored"] == restored, told

    # -- looking and forgetting

    def audit(self) -> None:
        """An audit changes nothing, and calls no file missing that is there, or on a disk that is known to be away."""
        playable = {identity: row.file_path for identity, row in self.veza.rows.items() if row.is_playable}
        disks = self.veza.disks
        result = self.jobs.run("audit_track_files", {"audit_files": {"start_over": True}})
        self.same_table("an audit")
        for identity in self.jobs.lines(result.run_id, "audit_missing"):
            path = playable[identity]
            is_unknown = not disks.is_mounted(path) and self.veza.fates.nothing_tells(path)
            assert is_unknown or path not in disks.files, f"{path} was called missing"
            assert is_unknown or disks.is_mounted(path), f"{path} was called missing, and its disk is away"
        if result.success:
            told = result.output_for_node("audit_files").round
            assert told.audited == len(playable)
            assert told.present == sum(map(disks.shows, playable.values()))
        event("an audit was done" if result.success else "an audit was refused")

    def prune(self) -> None:
        """The history of old runs is gone with their evidence, that of others isn't, and no track is touched."""
        old = [each for each in self.cleanups if each.is_old and not each.is_forgotten]
        removed = self.jobs.forget_old_runs()
        self.same_table("forgetting")
        assert removed == ({"cleanup_orphan_tracks": len(old)} if old else {})
        for each in old:
            each.is_forgotten = True
        for each in self.cleanups:
            assert bool(self.jobs.left(each.run_id) & {"marked"}) == bool(each.changes and not each.is_forgotten)
        event("runs were forgotten" if old else "no run was forgotten")

    def same_table(self, what: str) -> None:
        """Nothing but what the model holds is in the table."""
        now = self.veza.table()
        changed = [row.title for identity, row in self.veza.rows.items() if now.get(identity) != row]
        assert not changed, f"{what} has changed {', '.join(changed)}"
        assert now.keys() == self.veza.rows.keys(), f"{what} has added rows"


def _told(row: Row) -> str:
    return f"{row.title} ({row.file_path}, {row.status})"


def _titles(rows: Mapping[UUID, Row], identities: Iterable[UUID]) -> str:
    return ", ".join(rows[each].title for each in identities) or "none"


def _counts_of(result: dg.ExecuteInProcessResult) -> dict[str, int]:
    output = result.output_for_node("report_restore")
    assert isinstance(output, dict)
    return output


def _rows_in(line: Mapping[str, Any]) -> tuple[object, ...]:
    """What evidence tells of a change, its times as such."""
    times = [datetime.fromisoformat(line[name]) for name in ("updated_at_before", "updated_at_after")]
    names = "status_before", "status_message_before", "status_after", "status_message_after", "file_path"
    return (*(line[name] for name in names), *times)


def _told_of(before: Row, after: Row) -> tuple[object, ...]:
    """The same of the rows."""
    states = before.status, before.status_message, after.status, after.status_message
    return (*states, before.file_path, before.updated_at, after.updated_at)
