"""From a ``file_path`` to a verdict, and the proof that the storage is the one the database speaks of.

All access to Veza's files is here, and it is only ever a look: nothing is opened, read or written. "Couldn't
look" is never "missing": a file is missing only if the system says ENOENT for its very path, there is no dangling
link on the way, and no other spelling of the path is there either.
"""

import contextlib
import errno
import os
import re
import stat
import threading
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from veza_ops.errors import ConfigurationError, StorageNotProvenError


class Verdict(StrEnum):
    """What a look at a track's file says."""

    PRESENT = "present"
    """Something is there: a file of any size, or a folder."""
    MISSING = "missing"
    """The system says that there is no such file."""
    UNVERIFIABLE = "unverifiable"
    """Nobody could look, so nothing follows."""


class Look(NamedTuple):
    """A verdict, with its reason in words (empty for a file that is there)."""

    verdict: Verdict
    reason: str


_PRESENT = Look(Verdict.PRESENT, "")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def _unverifiable(reason: str) -> Look:
    return Look(Verdict.UNVERIFIABLE, reason)


@dataclass(frozen=True)
class Layout:
    """Where the files are as seen from this machine.

    `root` is the absolute folder that relative paths are joined to, or empty. `path_map` maps prefixes of absolute
    paths, as the database has them, to where this machine has them.
    """

    root: str = ""
    path_map: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises ConfigurationError for a root or a prefix that is not absolute."""
        if self.root and not os.path.isabs(self.root):
            raise ConfigurationError(
                f"The storage root {self.root!r} is relative, so it means another folder in every process. "
                "Give VEZA_STORAGE_ROOT (or storage.root) as an absolute path."
            )
        for prefix in (*self.path_map.keys(), *self.path_map.values()):
            if not os.path.isabs(prefix):
                raise ConfigurationError(
                    f"The path {prefix!r} in storage.path_map is relative. Map absolute prefixes to absolute prefixes."
                )

    def __str__(self) -> str:
        mapped = [f"{prefix} mapped to {target}" for prefix, target in self.path_map.items()]
        return ", ".join([f"the root {self.root}" if self.root else "no root", *mapped])

    def resolve(self, file_path: str | None) -> str | Look:  # noqa: PLR0911 - one for each reason
        """The path to look at for a row's `file_path`, or why there is none."""
        if not file_path:
            return _unverifiable("the row has no file_path")
        if "://" in file_path and (scheme := _SCHEME.match(file_path)):
            return _unverifiable(f"no storage here serves {scheme[1]}:// addresses")
        if not file_path.startswith("/"):
            if file_path.lstrip().startswith("/"):
                return _unverifiable("the path begins with white space, and is neither relative nor absolute")
            if not self.root:
                return _unverifiable("the path is relative and no storage root is configured")
            return _within(self.root, file_path)
        for prefix in sorted(self.path_map, key=len, reverse=True):
            head = prefix.rstrip("/")
            if file_path == head or file_path.startswith(f"{head}/"):
                return _within(self.path_map[prefix], file_path[len(head) :])
        return file_path

    def names_of(self, path: str) -> list[str]:
        """The values of ``file_path`` by which a row may mean the file at `path`."""
        names = [path]
        for prefix, folder in (("", self.root), *self.path_map.items()):
            head = f"{folder.rstrip('/')}/"
            if folder and path.startswith(head):
                rest = path[len(head) :]
                names.append(f"{prefix.rstrip('/')}/{rest}" if prefix else rest)
        meant = [name for name in names if self.resolve(name) == path]
        meant += [f"./{name}" for name in meant if not name.startswith("/")]
        if not path.isascii():
            meant += [unicodedata.normalize(form, name) for form in ("NFC", "NFD") for name in meant]
        return meant


def _within(folder: str, relative: str) -> str | Look:
    """`relative` joined to `folder`, unless it climbs out of it."""
    if ".." in relative:
        depth = 0
        for part in relative.split("/"):
            depth += 0 if part in ("", ".") else -1 if part == ".." else 1
            if depth < 0:
                return _unverifiable(f"the path climbs out of {folder}")
    return f"{folder.rstrip('/')}/{relative.lstrip('/')}"


def look(path: str, known_folders: set[str] | None = None) -> Look:
    """Look at `path` as it stands.

    `known_folders` remembers the folders that were seen to be there, so that a run of missing files in one folder
    asks for it once.
    """
    try:
        if stat.S_ISLNK(os.lstat(path).st_mode) and not _leads_somewhere(path):
            return _unverifiable(f"{path} is a link to nowhere")
    except FileNotFoundError:
        return _look_closer(path, set() if known_folders is None else known_folders)
    except OSError as error:
        return _unverifiable(_says(error))
    except ValueError as error:  # a NUL, or text that is no name in this system's encoding
        return _unverifiable(f"no file can have this name: {error}")
    return _PRESENT


def _leads_somewhere(link: str) -> bool:
    try:
        os.stat(link)
    except FileNotFoundError:
        return False
    return True


def _look_closer(path: str, known_folders: set[str]) -> Look:
    """Whether ENOENT for `path` is the whole truth."""
    try:
        if dangling := _dangling_link_above(path, known_folders):
            return _unverifiable(f"{dangling} is a link to nowhere")
        for other in _other_spellings(path):
            if os.path.lexists(other):
                return _unverifiable(f"the file is there under another spelling of its name: {other!r}")
    except (OSError, ValueError) as error:
        return _unverifiable(str(error))
    return Look(Verdict.MISSING, f"no file at {path}")


def _dangling_link_above(path: str, known_folders: set[str]) -> str | None:
    """The link that leads nowhere on the way to `path`, if that is why nothing is there.

    Raises OSError when a part of the way can't be looked at.
    """
    while True:
        folder = path.rstrip("/").rpartition("/")[0]
        if not folder or folder in known_folders:
            return None
        try:
            found = os.lstat(folder)
        except FileNotFoundError:
            path = folder
            continue
        if stat.S_ISLNK(found.st_mode) and not _leads_somewhere(folder):
            return folder
        known_folders.add(folder)
        return None


def _other_spellings(path: str) -> set[str]:
    """The paths that a person or another system would take for the same as `path`."""
    is_ascii = path.isascii()
    if is_ascii and path.split() == [path] and "//" not in path and "/." not in path and not path.endswith("/"):
        return set()  # what nearly every path comes to, said without building all the others
    spellings = {"/".join(map(str.strip, path.split("/"))), os.path.normpath(path)}
    if not is_ascii:
        folder, name = os.path.split(path)
        for form in ("NFC", "NFD"):
            spellings.add(unicodedata.normalize(form, path))
            spellings.add(os.path.join(folder, unicodedata.normalize(form, name)))
        with contextlib.suppress(UnicodeEncodeError):  # as an old program wrote it, in bytes that are no UTF-8
            spellings.add(os.path.join(folder, os.fsdecode(name.encode("latin-1"))))
    spellings.discard(path)
    return spellings


def _says(error: OSError) -> str:
    code = errno.errorcode.get(error.errno or 0, "error")
    return f"{error.strerror or error} ({code})"


# -- many looks at once ---------------------------------------------------------------------------------------------

_SLICE = 64
"""Paths that a thread takes at a time: few enough that a hung one holds up little."""
_TICK_SECONDS = 0.02
_SLOW_LOOK_SECONDS = 0.0002
"""From this long a look, waiting for storage outweighs what threads cost each other."""


class _Looker(threading.Thread):
    """Takes slices of the work until there are none left. A daemon: a hung look must not keep the process alive."""

    def __init__(self, see: Callable[[int], None], slices: Iterator[range], deadline_seconds: float) -> None:
        super().__init__(name="veza-ops-look", daemon=True)
        self._see, self._slices, self._deadline_seconds = see, slices, deadline_seconds
        self.since = time.monotonic()
        self.seen = 0
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            for numbers in self._slices:
                for number in numbers:
                    self.since = time.monotonic()
                    self._see(number)
                    self.seen += 1
        except Exception as error:  # noqa: BLE001 - handed to the caller, whose run it must end
            self.error = error

    @property
    def is_hung(self) -> bool:
        return self.is_alive() and time.monotonic() - self.since > self._deadline_seconds


def look_at_all(paths: Sequence[str | Look], *, threads: int = 32, timeout_seconds: float = 30.0) -> list[Look]:
    """Look at many paths; the looks in the same order. A Look among the paths is passed on as it stands.

    One thread does it as long as storage answers at once; when it is slow, up to `threads` share the work. A look
    that takes longer than `timeout_seconds` is given up and counts as unverifiable, and so do the few that its
    thread had still to do.
    """
    looks: list[Look | None] = [None] * len(paths)
    slices = iter([range(at, min(at + _SLICE, len(looks))) for at in range(0, len(looks), _SLICE)])
    known_folders: set[str] = set()

    def see(number: int) -> None:
        path = paths[number]
        looks[number] = path if isinstance(path, Look) else look(path, known_folders)

    def start(count: int) -> list[_Looker]:
        lookers = [_Looker(see, slices, timeout_seconds) for _ in range(count)]
        for looker in lookers:
            looker.start()
        return lookers

    lookers = start(1) if looks else []
    while busy := [looker for looker in lookers if looker.is_alive() and not looker.is_hung]:
        began = time.monotonic()
        seen = sum(looker.seen for looker in lookers)
        busy[0].join(_TICK_SECONDS)
        looked = sum(looker.seen for looker in lookers) - seen
        if len(lookers) == 1 and time.monotonic() - began > looked * _SLOW_LOOK_SECONDS:
            lookers += start(min(threads, -(-len(looks) // _SLICE)) - 1)
    for looker in lookers:
        if looker.error is not None:
            raise looker.error
    timed_out = _unverifiable(f"storage gave no answer within {timeout_seconds:g} s")
    return [timed_out if seen is None else seen for seen in looks]


# -- the other way round: which files there are ---------------------------------------------------------------------


class Stored(NamedTuple):
    """A file as it is on disk, or a folder that couldn't be read, with the reason."""

    path: str
    size: int
    unread: str = ""


def _walk(folder: str) -> Iterator[Stored]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from _walk(entry.path)
                else:
                    yield Stored(entry.path, entry.stat(follow_symlinks=False).st_size)
    except OSError as error:
        yield Stored(folder, 0, _says(error))


# -- the proof ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Proof:
    """How many files of the known-good sample were looked for, and how many were seen."""

    sampled: int
    seen: int

    def __str__(self) -> str:
        if not self.sampled:
            return "storage taken on trust: there is no sample of playable tracks to prove it with"
        return f"storage proven: the files of {self.seen} of the {self.sampled} newest playable tracks are there"


@dataclass(frozen=True)
class Files:
    """Veza's files as seen from this machine: where they are, and how patiently they are looked for."""

    layout: Layout
    max_threads: int = 32
    look_timeout_seconds: float = 30.0

    def look(self, file_paths: Iterable[str | None]) -> list[Look]:
        """Look at the files of many rows (see `look_at_all`); the looks in the same order."""
        return self._look_at_all([self.layout.resolve(file_path) for file_path in file_paths])

    def prove(self, sample: Sequence[str | None]) -> Proof:
        """Prove that this is the storage that the database speaks of, by the files of tracks known to be good.

        Raises StorageNotProvenError when the root isn't a folder, or not more than half of the sample's files are seen.
        """
        self.require_root()
        looks = self.look(sample)
        unseen = [look.reason for look in looks if look.verdict is not Verdict.PRESENT]
        proof = Proof(sampled=len(looks), seen=len(looks) - len(unseen))
        if unseen and proof.seen * 2 <= proof.sampled:
            raise StorageNotProvenError(
                f"This storage is not the one that the database describes: with {self.layout}, the files of only "
                f"{proof.seen} of the {proof.sampled} newest playable tracks can be seen (the first: {unseen[0]}). "
                "On such storage nothing is changed. Check that the disk is mounted here and that VEZA_STORAGE_ROOT "
                "and storage.path_map say where; set storage.sample_size to 0 only if playable tracks keep no file at "
                "file_path."
            )
        return proof

    def walk(self, folders: Sequence[str]) -> Iterator[Stored]:
        """The files in `folders` of the root, and where ``path_map`` leads to, one by one, in no order.

        However many there are, only the way down to the present one is held in memory. Links aren't followed.
        """
        root = [os.path.normpath(f"{self.layout.root}/{folder}") for folder in folders] if self.layout.root else []
        tops = {os.path.normpath(path) for path in (*root, *self.layout.path_map.values())}
        for top in sorted(tops):
            if not any(top.startswith(f"{other.rstrip('/')}/") for other in tops - {top}):
                yield from _walk(top)

    def require_root(self) -> None:
        """Raises StorageNotProvenError when a root is configured but isn't a folder that can be looked into."""
        root = self.layout.root
        if not root:
            return
        # A look at "root/." is ENOTDIR for a file, and has the same time-out as any other look.
        (look,) = self._look_at_all([f"{root.rstrip('/')}/."])
        if look.verdict is not Verdict.PRESENT:
            reason = "there is no such folder" if look.verdict is Verdict.MISSING else look.reason
            raise StorageNotProvenError(
                f"The storage root {root} can't be used: {reason}. Without it nothing is changed. Mount the disk, or "
                "set VEZA_STORAGE_ROOT (or storage.root) to the folder that holds Veza's files."
            )

    def _look_at_all(self, paths: Sequence[str | Look]) -> list[Look]:
        return look_at_all(paths, threads=self.max_threads, timeout_seconds=self.look_timeout_seconds)
