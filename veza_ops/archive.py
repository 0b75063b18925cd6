"""The evidence of all runs in one place, and what it says of the tracks that are marked now."""

from __future__ import annotations  # so that the loading of UPath waits until there is a file to read

import re
from collections.abc import Container, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple, Self

import upath

from veza_ops.errors import ConfigurationError
from veza_ops.evidence import MARKED, MARKING, Evidence, is_gone, read_changes
from veza_ops.places import ANSWER_SECONDS, plain_files, subfolders
from veza_ops.tracks.row import Change, Place, Track

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

        Whoever planned to mark a track last saw it in processing, so no earlier claim to it holds any more. A file that
        is gone by the time that it is read has nothing to say. Raises ConfigurationError.
        """
        places = {track.place for track in tracks}
        ids = {identity for identity, _ in places}
        newest: dict[Place, Claim] = {}
        for claim in self._claims(ids) if ids else ():
            place = claim.change.place
            if place in places and (place not in newest or claim[:2] >= newest[place][:2]):
                newest[place] = claim
        return newest

    def _claims(self, ids: Container[str]) -> Iterator[Claim]:
        read: set[str] = set()
        is_over = False
        while not is_over:
            files = [path for path in self._files() if str(path) not in read]
            for path in files:
                yield from self._claims_of(path, ids)
            read.update(map(str, files))
            # A plan may have been confirmed beside it, and removed, since it was listed.
            is_over = not any(path.name.startswith(f"{MARKING}-") for path in files)

    def _claims_of(self, path: upath.UPath, ids: Container[str]) -> Iterator[Claim]:
        run_id, is_confirmed = path.parent.parent.name, path.name.startswith(f"{MARKED}-")
        try:
            told = read_changes(str(path), self.table, ids, self.answer_seconds).by_place.values()
        except ConfigurationError:
            if is_gone(path, self.answer_seconds):
                return
            raise
        for change, planned_at in told:
            yield Claim(planned_at, is_confirmed, run_id, change)

    def _of_run(self, run: upath.UPath) -> list[upath.UPath]:
        with suppress(FileNotFoundError):  # forgotten in this moment
            files = plain_files(run / "veza_ops", self.answer_seconds)
            return [path for path in files if _MARKS.fullmatch(path.name)]
        return []

    def _files(self) -> list[upath.UPath]:
        try:
            runs = list(subfolders(self.folder, self.answer_seconds))
            return [path for run in runs for path in self._of_run(run)]
        except OSError as error:
            raise ConfigurationError(
                f"The evidence in {self.folder} can't be read: {error.strerror or error}. Give this process the right "
                "to, or name the run that is to be undone."
            ) from None
