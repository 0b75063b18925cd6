"""The evidence of all runs in one place, and what it says of the tracks that are marked now."""

from __future__ import annotations  # so that the loading of UPath waits until there is a file to read

import re
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self

import upath

from veza_ops.errors import ConfigurationError
from veza_ops.evidence import MARKED, MARKING, Evidence, is_seen_to_be_gone, read_changes
from veza_ops.places import ANSWER_SECONDS, plain_files, subfolders
from veza_ops.tracks.row import Change, Place, Track

Listing = Callable[[upath.UPath, float], Iterator[upath.UPath]]

_MARKS = re.compile(rf"({MARKED}|{MARKING})-\d{{5,}}(\.\d+)?\.jsonl")


class Claim(NamedTuple):
    """A run says that it marked a track, or was about to."""

    planned_at: str
    is_confirmed: bool
    run_id: str
    change: Change


@dataclass(frozen=True)
class Archive:
    """What runs have left in `folder` of the table named `table`."""

    folder: upath.UPath
    table: str
    answer_seconds: float = ANSWER_SECONDS
    """How long each thing that is asked of the folder may take."""

    @classmethod
    def around(cls, records: Evidence, table: str) -> Self:
        """The archive that a run's own evidence is a part of."""
        return cls(records.folder, table, records.answer_seconds)

    def newest(self, tracks: Iterable[Track]) -> dict[Place, Claim]:
        """The newest claim to each of `tracks`, as far as there is any.

        The run whose change left a track just as it is has marked it. Where none has, it is the one that planned to do
        so last: it saw the track in processing, so no earlier claim holds any more. A file that is gone by the time
        that it is read has nothing to say. Raises ConfigurationError.
        """
        by_place = {track.place: track for track in tracks}
        ids = {identity for identity, _ in by_place}
        newest: dict[Place, tuple[tuple[bool, str, bool], Claim]] = {}
        for claim in self._claims(ids) if ids else ():
            place = claim.change.place
            if place not in by_place:
                continue
            is_its_own = claim.change.is_timed and claim.change.left(by_place[place])
            weight = is_its_own, claim.planned_at, claim.is_confirmed
            if place not in newest or weight >= newest[place][0]:
                newest[place] = weight, claim
        return {place: claim for place, (_, claim) in newest.items()}

    def _claims(self, ids: Container[str]) -> Iterator[Claim]:
        read: set[str] = set()
        # A plan may be confirmed, and removed, while it is listed or before it is read. What confirms it is there by
        # then, so that whatever the first list missed is in the second.
        for _ in range(2):
            files = [path for path in self._files() if str(path) not in read]
            for path in files:
                yield from self._claims_of(path, ids)
            read.update(map(str, files))

    def _claims_of(self, path: upath.UPath, ids: Container[str]) -> Iterator[Claim]:
        run_id, is_confirmed = path.parent.parent.name, path.name.startswith(f"{MARKED}-")
        try:
            told = read_changes(str(path), self.table, ids, self.answer_seconds).by_place.values()
        except ConfigurationError:
            if is_seen_to_be_gone(path, self.answer_seconds):
                return
            raise
        for change, planned_at in told:
            yield Claim(planned_at, is_confirmed, run_id, change)

    def _of_run(self, run: upath.UPath) -> list[upath.UPath]:
        files = self._inside(run / "veza_ops", plain_files)  # forgotten in this moment, it has none
        return [path for path in files if _MARKS.fullmatch(path.name)]

    def _inside(self, folder: upath.UPath, listing: Listing) -> list[upath.UPath]:
        """What is in `folder`, which need not be there. Raises OSError."""
        try:
            return list(listing(folder, self.answer_seconds))
        except NotADirectoryError:
            return []
        except FileNotFoundError:
            if is_seen_to_be_gone(folder, self.answer_seconds):
                return []
            raise

    def _files(self) -> list[upath.UPath]:
        try:
            runs = self._inside(self.folder, subfolders)
            return [path for run in runs for path in self._of_run(run)]
        except OSError as error:
            raise ConfigurationError(
                f"The evidence in {self.folder} can't be read: {error.strerror or error}. Give this process the right "
                "to, or name the run that is to be undone."
            ) from None
