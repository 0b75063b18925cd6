"""One part of a batch: looked for once more, written, and written down."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from veza_ops.cleanup import rules
from veza_ops.cleanup.rules import Checked, Outcome
from veza_ops.errors import TooSlowError
from veza_ops.evidence import REFUSED, UNVERIFIABLE, WOULD_MARK, digest, entry
from veza_ops.recording import MARK, Recorder
from veza_ops.storage.files import Files
from veza_ops.tracks.row import Judged, Written

_SHORTEST_SECONDS = 2.0
"""So long at least, a look holds."""
_LEFT_AT_MOST = 2
"""So many rows of a part that can't be written in time cost themselves alone; more are no fault of theirs."""


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
        for part in checked.parts():
            yield from self._part(part)
        self.recorder.drop_old_plans(MARK)

    def _part(self, first_look: Checked) -> Iterator[Outcome]:
        """Each row is looked for right before it is written, however long the rows before it took.

        A part that can't be written before its looks are too old is halved, until it is a row that is left alone.
        Raises TooSlowError for more than a few of these.
        """
        waiting, left = [first_look], 0
        while waiting:
            part = rules.check_again(self.files, waiting.pop(), self.recorder.database)
            written = self._write(part, time.monotonic() + self._looks_hold_seconds)
            part, rest = part.split_off(written.untried)
            yield rules.outcome(
                part,
                marked={change.place for change in written.changes},
                refused=written.refused,
                dry_run=self.dry_run,
                digest=self._list(part),
            )
            if rest and (written.changes or written.refused):
                waiting.append(rest)
            elif rest and len(rest.missing) > 1:
                half = len(rest.missing) // 2
                waiting += (replace(rest, missing=each) for each in (rest.missing[half:], rest.missing[:half]))
            elif rest:
                left += 1
                yield self._leave(rest, left)

    @property
    def _looks_hold_seconds(self) -> float:
        """So long after its look, a row may be written."""
        return max(self.files.look_timeout_seconds, _SHORTEST_SECONDS)

    def _leave(self, part: Checked, number: int) -> Outcome:
        """Leave a row alone that can't be written in time, the `number`-th of a part."""
        within = f"within {self._looks_hold_seconds:g} s of the look at"
        if number > _LEFT_AT_MOST:
            raise TooSlowError(
                f"Tracks could not be written {within} their files, as they have to be: the database, or where the "
                "evidence is kept, is too slow. Nothing more is changed. See what keeps them busy, or raise "
                "storage.look_timeout_seconds."
            )
        refused = [Judged(track, f"it could not be written {within} its file") for track, _ in part.missing]
        self.recorder.records.add(REFUSED, self.recorder.batch, map(entry, refused))
        return rules.outcome(part, refused=refused)

    def _write(self, part: Checked, until: float) -> Written:
        records, batch = self.recorder.records, self.recorder.batch
        if not part.missing:
            return Written()
        if self.dry_run:
            records.write(WOULD_MARK, batch, map(entry, part.missing))
            return Written()
        sweep, orphans = part.sweep, [track for track, _ in part.missing]
        return self.recorder.write(
            MARK,
            part.missing,
            lambda _: sweep.message,
            lambda tracks, stamp: tracks.mark_failed(
                orphans, cutoff=sweep.cutoff, message=sweep.message, quiet=sweep.quiet, stamp=stamp
            ),
            until,
        )

    def _list(self, part: Checked) -> int:
        """List what couldn't be verified; the digest of the list."""
        if not part.unverifiable or part.proof.is_refused:  # or each hour would list all rows for one disk
            return 0
        self.recorder.records.add(UNVERIFIABLE, self.recorder.batch, map(entry, part.unverifiable))
        return digest(map(entry, part.unverifiable))
