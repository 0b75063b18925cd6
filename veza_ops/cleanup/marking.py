"""One part of a batch: looked for once more, written, and written down."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from veza_ops.cleanup import rules
from veza_ops.cleanup.rules import Checked, Outcome
from veza_ops.evidence import REFUSED, UNVERIFIABLE, WOULD_MARK, digest, entry
from veza_ops.recording import MARK, Recorder
from veza_ops.storage.files import Files
from veza_ops.tracks.row import Written

_SHORTEST_SECONDS = 2.0
"""So long at least, a look holds."""


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
        if earlier := self.recorder.done_earlier(MARK):
            done, checked = checked.split(earlier)
            yield rules.outcome(done, marked={track.place for track in earlier})
        yield from self._in_parts(checked)
        self.recorder.drop_old_plans(MARK)

    def _in_parts(self, checked: Checked) -> Iterator[Outcome]:
        """Each row is looked for right before it is written, however long the rows before it took.

        What can't be written before its looks are too old is looked for anew, fewer rows at a time. After a row that is
        left alone for it comes one from the other end, since its neighbours may be as slow.
        """
        waiting, pace = [checked.by_folder()], self.recorder.pace
        while waiting:
            self.recorder.require_wanted()
            some = waiting.pop(0 if pace.is_stuck else -1)
            first_look, rest = some.divided(pace.size, from_the_end=pace.is_stuck)
            until = time.monotonic() + self._holds_seconds
            part = rules.check_again(self.files, first_look, self.recorder.database)
            written = self._write(part, until, len(first_look.missing))
            part, untried = part.split_off(written.untried)
            waiting += (each for each in (rest, untried) if each)
            yield rules.outcome(
                part,
                marked={change.place for change in written.changes},
                refused=written.refused,
                dry_run=self.dry_run,
                digest=self._list(part),
            )

    @property
    def _holds_seconds(self) -> float:
        """How old a look may be when its row is written."""
        return max(self.files.look_timeout_seconds, _SHORTEST_SECONDS)

    def _write(self, part: Checked, until: float, looked_at: int) -> Written:
        records, batch = self.recorder.records, self.recorder.batch
        if not part.missing:
            return Written()
        if self.dry_run:
            records.write(WOULD_MARK, batch, map(entry, part.missing))
            return Written()
        if time.monotonic() >= until:
            return self._too_late(part, looked_at)
        sweep, orphans = part.sweep, [track for track, _ in part.missing]
        return self.recorder.write(
            MARK,
            part.missing,
            lambda _: sweep.message,
            lambda tracks, stamp: tracks.mark_failed(
                orphans, cutoff=sweep.cutoff, message=sweep.message, quiet=sweep.quiet, stamp=stamp
            ),
            until,
            looked_at,
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
