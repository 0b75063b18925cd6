"""One part of a batch after the other: looked for once more, written, and written down.

While the server writes one part, a thread of ours looks for the next one and plans it. It never writes.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

from veza_ops.bounds import Ahead
from veza_ops.cleanup import rules
from veza_ops.cleanup.rules import Checked, Outcome
from veza_ops.errors import VezaOpsError
from veza_ops.evidence import REFUSED, UNVERIFIABLE, WOULD_MARK, digest, entry
from veza_ops.recording import MARK, Plan, Recorder
from veza_ops.storage.files import Files
from veza_ops.tracks.row import Written

_SHORTEST_SECONDS = 2.0
"""So long at least, a look holds."""


@dataclass(frozen=True)
class Ready:
    """A part that was looked for once more."""

    first: Checked
    """As it was before."""
    part: Checked
    began: float
    """When the looks began, by the monotonic clock."""
    plan: Plan | None
    """What is to be written; None where nothing is, or where the looks are too old for it."""
    since: float
    """When all of this was done."""


@dataclass(frozen=True)
class Marking:
    """How the missing of a batch become failed."""

    files: Files
    recorder: Recorder
    dry_run: bool

    def batch(self, checked: Checked) -> Iterator[Outcome]:
        """Mark what `checked` says is missing, part by part. What an earlier attempt did is counted as it is."""
        records, batch = self.recorder.records, self.recorder.batch
        for kind in (UNVERIFIABLE, REFUSED, WOULD_MARK):  # an earlier attempt's, found anew now
            records.drop(*records.files(kind, batch))
        checked = rules.measured_again(self.files, checked)
        if earlier := self.recorder.done_earlier(MARK):
            done, checked = checked.split(earlier)
            yield rules.outcome(done, marked={track.place for track in earlier})
        yield from self._in_parts(checked)
        self.recorder.drop_old_plans(MARK)

    def _in_parts(self, checked: Checked) -> Iterator[Outcome]:
        """Each row is looked for before it is written, while the rows before it are at the earliest.

        What can't be written before its looks are too old is looked for anew, fewer rows at a time.
        """
        waiting = [checked.by_folder()]
        ahead: Ahead[Ready] | None = None
        try:
            while waiting or ahead:
                ready = self._fresh(ahead.result()) if ahead else self._ready(self._next(waiting))
                if ahead := self._ahead(waiting):
                    ahead.start()
                written = self._write(ready)
                part, untried = ready.part.split_off(written.untried)
                if ahead and not self.recorder.pace.is_full:  # too many rows, as is known by now
                    too_many = ahead.result()
                    ahead = None
                    self._take_back(too_many)
                    waiting.append(too_many.first)
                if untried:
                    waiting.append(untried)
                yield rules.outcome(
                    part,
                    marked={change.place for change in written.changes},
                    refused=written.refused,
                    dry_run=self.dry_run,
                    digest=self._list(part),
                )
        finally:
            if ahead:
                ahead.give_up()

    def _next(self, waiting: list[Checked]) -> Checked:
        """The next part; the others wait.

        After a row that is left alone since it is slow comes one from the other end: its neighbours may be as slow.
        """
        pace = self.recorder.pace
        some = waiting.pop(0 if pace.is_stuck else -1)
        part, rest = some.divided(pace.size, from_the_end=pace.is_stuck)
        if rest:
            waiting.append(rest)
        return part

    def _ahead(self, waiting: list[Checked]) -> Ahead[Ready] | None:
        """The next part, which is made ready while another is written; only as long as all goes well."""
        if not waiting or not self.recorder.pace.is_full:
            return None
        part = self._next(waiting)
        return Ahead(lambda: self._ready_ahead(part), self._take_back)

    def _ready_ahead(self, first: Checked) -> Ready:
        """The same as `_ready`, but that what goes wrong is left to be met when the turn of the part comes.

        It may be over by then: for as long as the part before it is written, there are two connections.
        """
        try:
            return self._ready(first)
        except VezaOpsError:
            return Ready(first, first, -math.inf, None, -math.inf)

    def _ready(self, first: Checked) -> Ready:
        """Look for the files of a part once more, and plan what is to be written."""
        self.recorder.require_wanted()
        began = time.monotonic()
        part = rules.check_again(self.files, first, self.recorder.database)
        plan = None
        if part.missing and not self.dry_run and time.monotonic() - began < self._holds_seconds:
            plan = self.recorder.plan(MARK, part.missing, lambda _: part.sweep.message)
        return Ready(first, part, began, plan, time.monotonic())

    def _fresh(self, ready: Ready) -> Ready:
        """`ready`, made anew if that went wrong, or if little time is left to write it after the part before it."""
        if time.monotonic() - ready.since < self._holds_seconds / 4:
            return ready
        self._take_back(ready)
        return self._ready(ready.first)

    def _take_back(self, ready: Ready) -> None:
        if ready.plan:
            self.recorder.take_back(ready.plan)

    @property
    def _holds_seconds(self) -> float:
        """How old a look may be when its row is written."""
        return max(self.files.look_timeout_seconds, _SHORTEST_SECONDS)

    def _write(self, ready: Ready) -> Written:
        records, part = self.recorder.records, ready.part
        if not part.missing:
            return Written()
        if self.dry_run:
            records.write(WOULD_MARK, self.recorder.batch, map(entry, part.missing))
            return Written()
        if ready.plan is None:
            return self._too_late(part, len(ready.first.missing))
        sweep, orphans = part.sweep, [track for track, _ in part.missing]
        return self.recorder.write(
            ready.plan,
            lambda tracks, stamp: tracks.mark_failed(
                orphans, cutoff=sweep.cutoff, message=sweep.message, quiet=sweep.quiet, stamp=stamp
            ),
            ready.began + self._holds_seconds,
            len(ready.first.missing),
        )

    def _too_late(self, part: Checked, looked_at: int) -> Written:
        """What becomes of a part whose looks alone took too long.

        If it was one row, the folders on the way to its file that took the time aren't read any more. If they took most
        of it, one at least took half of its share.
        """
        tracks = tuple(track for track, _ in part.missing)
        folders = self.files.rows(track.file_path for track in tracks).on_the_way if looked_at == 1 else set()
        share = self._holds_seconds / (2 * len(folders) or 1)
        slow = {folder for folder in folders if part.learned.seconds.get(folder, 0) >= share}
        if slow - part.learned.singly:
            part.learned.singly.update(slow)
            return Written(untried=tracks)
        return self.recorder.too_late(part.missing, looked_at)

    def _list(self, part: Checked) -> int:
        """List what couldn't be verified; the digest of the list."""
        if not part.unverifiable or part.proof.is_refused:  # or each hour would list all rows for one disk
            return 0
        self.recorder.records.add(UNVERIFIABLE, self.recorder.batch, map(entry, part.unverifiable))
        return digest(map(entry, part.unverifiable))
