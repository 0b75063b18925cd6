"""The storage of the model: real files below a root, on disks that come and go, and what must be there."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

DISKS = ("root", "a", "b", "b/disk", "new")
"""What can be mounted apart from the rest, the outer before the inner ones."""

AREAS = ("a", "b", "b/disk", "new")
"""The folders below the root in which tracks have their files."""

LITTER = "left-behind.txt"
"""What may lie in the folder under a disk."""

HOURS = 3600.0
"""Seconds."""


@dataclass
class Disks:
    """Veza's storage. Paths are those that rows have, relative to the root."""

    root: Path
    aside: Path
    """Where the folders of disks lie that aren't mounted."""
    files: dict[str, bytes] = field(default_factory=dict)
    """Each file that must be there, mounted or not, and what it holds."""
    away: set[str] = field(default_factory=set)
    """The disks that aren't mounted."""
    littered: set[str] = field(default_factory=set)
    """Those of them in whose empty folder something was left."""
    written: dict[str, float] = field(default_factory=dict)
    """When each file was written to, in seconds since the epoch."""

    def __post_init__(self) -> None:
        self.aside.mkdir(parents=True)
        for area in AREAS:
            (self.root / area).mkdir(parents=True)

    # -- what is done to it

    def write(self, path: str, content: bytes) -> None:
        """Write to a file just now."""
        self._at(path).write_bytes(content)
        self.files[path] = content
        self.written[path] = time.time()

    def rename(self, path: str, other: str) -> None:
        """Give a file another name; its time goes with it."""
        self._at(path).rename(self._at(other))
        self.files[other] = self.files.pop(path)
        self.written[other] = self.written.pop(path)

    def age(self, path: str, hours: int) -> None:
        """Let a file have been written so many hours earlier."""
        self.written[path] -= hours * HOURS
        os.utime(self._at(path), (self.written[path],) * 2)

    def unmount(self, disk: str, *, litter: bool = False) -> None:
        """Take a disk away; its folder stays, empty or with something that was left under the disk."""
        folder = self._folder(disk)
        folder.rename(self._place_aside(disk))
        folder.mkdir()
        self.away.add(disk)
        if litter:
            (folder / LITTER).touch()
            self.littered.add(disk)

    def mount(self, disk: str) -> None:
        """Put a disk back. Fails where its folder isn't as it was left."""
        folder = self._folder(disk)
        if disk in self.littered:
            (folder / LITTER).unlink()
            self.littered.remove(disk)
        folder.rmdir()
        self._place_aside(disk).rename(folder)
        self.away.remove(disk)

    def toggle(self, disk: str, *, litter: bool = False) -> None:
        """Unmount a disk, or mount it, if what its folder is on is mounted."""
        if not self._can_be_toggled(disk):
            return
        if disk in self.away:
            self.mount(disk)
        else:
            self.unmount(disk, litter=litter)

    # -- what is asked of it

    def _can_be_toggled(self, disk: str) -> bool:
        return disk == "root" or not self.away.intersection(set(_disks_of(disk)) - {disk})

    def is_mounted(self, path: str) -> bool:
        """Whether all disks are mounted that a file is on."""
        return self.away.isdisjoint(_disks_of(path))

    def shows(self, path: str) -> bool:
        """Whether just this file can be seen."""
        return path in self.files and self.is_mounted(path)

    def shows_like(self, path: str) -> bool:
        """Whether a file can be seen that differs from this one by letter case alone."""
        return any(each != path and each.lower() == path.lower() and self.shows(each) for each in self.files)

    def shows_upload(self, path: str) -> bool:
        """Whether an unfinished upload of this file can be seen that somebody wrote to within the hour."""
        return any(self.shows(each) and self.written[each] > time.time() - HOURS for each in unfinished(path))

    def is_bare(self, folder: str) -> bool:
        """Whether nobody can see anything in a folder: no file, and no folder."""
        within = f"{folder}/"
        if not self.is_mounted(f"{within}x"):
            return True
        inner = any(area.startswith(within) for area in AREAS)
        return not inner and not any(path.startswith(within) for path in self.files)

    def found(self) -> dict[str, bytes]:
        """What is really there, mounted or not."""
        places = [("", self.root), *((disk, self._place_aside(disk)) for disk in self.away)]
        found: dict[str, bytes] = {}
        for disk, folder in places:
            for path, content in _contents(folder):
                if not path.endswith(LITTER):
                    found[path if disk in ("", "root") else f"{disk}/{path}"] = content
        return found

    def _at(self, path: str) -> Path:
        assert self.is_mounted(path)
        return self.root / path

    def _folder(self, disk: str) -> Path:
        return self.root if disk == "root" else self.root / disk

    def _place_aside(self, disk: str) -> Path:
        return self.aside / disk.replace("/", "-")


def unfinished(path: str) -> tuple[str, str]:
    """The names that an unfinished upload of a file may have beside it."""
    folder, _, name = path.rpartition("/")
    return f"{path}.part", f"{folder}/.{name}.tmp"


def area_of(path: str) -> str:
    """The first-level folder, which veza-ops proves apart from the rest."""
    return path.partition("/")[0]


def _disks_of(path: str) -> list[str]:
    return [disk for disk in DISKS if disk in ("root", path) or path.startswith(f"{disk}/")]


def _contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    for where, _, names in os.walk(folder):
        for name in names:
            path = Path(where) / name
            yield str(path.relative_to(folder)), path.read_bytes()
