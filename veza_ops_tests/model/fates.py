"""What a cleanup has to make of each track, by docs/guarantees.md alone: nothing here is taken from veza_ops."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from uuid import UUID

from veza_ops_tests.model.disks import Disks, area_of

MESSAGE = "orphan cleanup: file missing on disk after >1h in processing"
SAMPLED = 20


@dataclass(frozen=True)
class Row:
    """A row of the tracks table, in the order of its columns."""

    id: UUID
    title: str
    status: str
    status_message: str | None
    file_path: str
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None

    @property
    def is_stale(self) -> bool:
        """Whether it has been in processing for more than an hour."""
        is_old = self.created_at < datetime.now(UTC) - timedelta(hours=1)
        return self.status == "processing" and self.deleted_at is None and is_old

    @property
    def is_playable(self) -> bool:
        """Whether listeners expect its file to be there."""
        return self.status == "ready" and self.deleted_at is None


Rows = Mapping[UUID, Row]


class Fate(Enum):
    """What may become of a track in a cleanup."""

    FAILED = "has to be failed"
    SPARED = "must not be changed"
    EITHER = "may be failed or left alone"

    def or_else(self, later: "Fate") -> "Fate":
        """What may become of it if this holds at the beginning of a cleanup, and `later` at its end."""
        return self if self is later else Fate.EITHER


@dataclass(frozen=True)
class Fates:
    """The rows and the disks at one time."""

    rows: Rows
    disks: Disks

    def all(self) -> dict[UUID, Fate]:
        """The fate of each track."""
        return {identity: self.of(row) for identity, row in self.rows.items()}

    def of(self, row: Row) -> Fate:
        """The fate of one track."""
        path = row.file_path
        if not row.is_stale or self.disks.shows(path):
            return Fate.SPARED
        if not self.disks.is_mounted(path):
            return Fate.EITHER if self.nothing_tells(path) else Fate.SPARED
        if self.disks.shows_like(path) or self.disks.shows_upload(path) or not self.proves(path):
            return Fate.SPARED
        return Fate.SPARED if self._may_be_a_mount_point(path) else Fate.FAILED

    def proves(self, path: str) -> bool:
        """Whether playable tracks prove the area that a file is in, or there are none at all."""
        own = self._witnesses(area_of(path))
        every = self._witnesses()
        return not every or _are_seen([self.disks.shows(each) for each in own or every])

    def run_is_refused(self) -> bool:
        """Whether nothing proves any of the areas that stale tracks are in."""
        stale = [row.file_path for row in self.rows.values() if row.is_stale]
        return bool(stale) and not any(self.proves(path) for path in stale)

    def _witnesses(self, folder: str = "") -> list[str]:
        """The paths of the newest playable tracks below `folder`, or of all."""
        newest = sorted(self.rows.values(), key=lambda row: row.created_at, reverse=True)
        paths = [row.file_path for row in newest if row.is_playable]
        return [path for path in paths if not folder or path.startswith(f"{folder}/")][:SAMPLED]

    def nothing_tells(self, path: str) -> bool:
        """Whether this is where the promise ends: the disk of a file is away, and by nothing can anybody tell.

        On a platform without playable tracks, storage is taken on trust. An area without any of its own is told by its
        empty folder; one that is mounted further down by both.
        """
        area, folder = area_of(path), path.rpartition("/")[0]
        if not self._witnesses():
            return True
        if "root" in self.disks.away:
            return False
        if area in self.disks.away:
            return area in self.disks.littered and not self._witnesses(area)
        return folder in self.disks.littered or not self._witnesses(folder)

    def _may_be_a_mount_point(self, path: str) -> bool:
        """Whether the folder of a file holds nothing, and an empty folder there may be the place of a disk."""
        folder = path.rpartition("/")[0]
        if not self.disks.is_bare(folder) or not self._witnesses():
            return False
        is_area = folder == area_of(path)
        return is_area or bool(self._witnesses(folder))


def _are_seen(seen: Sequence[bool]) -> bool:
    """Whether one in ten of the witnesses is unseen at most (or a single one), and never half."""
    unseen = seen.count(False)
    return unseen < len(seen) and unseen <= max(1, len(seen) // 10) and unseen * 2 < len(seen)


def during(before: Mapping[UUID, Fate], after: Mapping[UUID, Fate], spared: Iterable[UUID]) -> dict[UUID, Fate]:
    """The fates in a cleanup in which something happens, of which some are `spared` for its sake."""
    fates = {identity: before.get(identity, fate).or_else(fate) for identity, fate in after.items()}
    return fates | dict.fromkeys(fates.keys() & set(spared), Fate.SPARED)
