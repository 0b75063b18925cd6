"""The evidence of all runs in one place, and what it says of the tracks that are marked now."""

from __future__ import annotations  # so that the loading of UPath waits until there is a file to read

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import upath

from veza_ops.errors import ConfigurationError
from veza_ops.evidence import MARKED, MARKING, read_changes
from veza_ops.tracks.row import Change, Track


class Claim(NamedTuple):
    """A run says that it marked a track."""

    run_id: str
    change: Change
    is_confirmed: bool


@dataclass(frozen=True)
class Archive:
    """What runs have left in `folder` of the table named `table`."""

    folder: upath.UPath
    table: str

    def messages(self, tracks: Iterable[Track]) -> dict[str, str | None]:
        """The message that each of `tracks`, which are marked, had before, as far as any evidence tells, by its id.

        What fits the track as it is now, to the time of the write, says more than what only names it; what was
        confirmed more than what was planned; and of equals the last one counts. Raises ConfigurationError.
        """
        marked = {track.id: track for track in tracks}
        best: dict[str, tuple[bool, bool]] = {}
        messages: dict[str, str | None] = {}
        for claim in self._claims(marked.keys()):
            change = claim.change
            track = marked[change.id]
            worth = change.left(track), claim.is_confirmed
            if change.file_path == track.file_path and worth >= best.get(change.id, (False, False)):
                best[change.id] = worth
                messages[change.id] = change.status_message_before
        return messages

    def left_by_others(self, run_id: str, tracks: Iterable[Track]) -> set[str]:
        """The ids of those of `tracks` that another run than this confirms to have left as they are."""
        marked = {track.id: track for track in tracks}
        return {
            claim.change.id
            for claim in self._claims(marked.keys())
            if claim.is_confirmed and claim.run_id != run_id and claim.change.left(marked[claim.change.id])
        }

    def _claims(self, ids: Collection[str]) -> Iterator[Claim]:
        """All that is said of `ids`, the oldest first."""
        if not ids:
            return
        for kind, path in self._files():
            for identity, change in read_changes(str(path), self.table).by_id.items():
                if identity in ids:
                    yield Claim(path.parent.parent.name, change, kind == MARKED)

    def _files(self) -> list[tuple[str, upath.UPath]]:
        try:
            found = [
                (path.stat().st_mtime, str(path), kind, path)
                for kind in (MARKING, MARKED)
                for path in self.folder.glob(f"*/veza_ops/{kind}-*.jsonl")
            ]
        except OSError as error:
            raise ConfigurationError(
                f"The evidence in {self.folder} can't be read: {error.strerror or error}. Give this process the right "
                "to, or name the run that is to be undone."
            ) from None
        return [(kind, path) for _, _, kind, path in sorted(found, key=lambda each: each[:2])]
