"""What is asked of storage, each question by itself: to read a folder, and for single names.

Nothing here changes what others see; `storage.search` takes the answers together.
"""

import errno
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from veza_ops.bounds import Beat
from veza_ops.storage.backend import Backend, Entry, Folder
from veza_ops.storage.likeness import fold_plain, is_plain, is_utf8, readings_of
from veza_ops.storage.look import PRESENT, Look, Nearest, in_words, unverifiable
from veza_ops.storage.spelling import spellings
from veza_ops.storage.wanted import Node, Wanted, join
from veza_ops.text import quoted

ALIKE = "the file is there under another spelling of its name: "
_HIDDEN = 4
"""Characters that hide a file at most: a dot, and what programs put behind it."""


@dataclass(frozen=True)
class Patience:
    """Which storage is asked, and how long."""

    backend: Callable[[str], Backend]
    """That of a path."""

    timeout_seconds: float
    """A folder that isn't read within this time is too much."""
    recent_seconds: float
    """An unfinished upload that was written to within so many seconds is under way."""
    is_last: bool
    """Whether what isn't there now is called missing."""


@dataclass
class Found:
    """What one task came to."""

    looks: list[tuple[Wanted, str, Look]] = field(default_factory=list)
    # A list may repeat itself: what is kept of it doesn't grow.
    present: set[str] = field(default_factory=set)
    links: set[str] = field(default_factory=set)
    like: dict[tuple[Node, str], str] = field(default_factory=dict)
    further: dict[tuple[Node, str], None] = field(default_factory=dict)
    """Folders that are like one on the way."""
    not_utf8: bool = False
    nearest: Nearest | None = None
    is_too_much: bool = False
    failed: str = ""
    code: int = 0
    seconds: float = 0.0
    """How long it took to read a folder."""


class Task:
    """Something to ask of storage."""

    @property
    def where(self) -> str:
        """The folder that it is about."""
        raise NotImplementedError

    def do(self, patience: Patience, beat: Beat) -> Found:
        """Ask it, and say what came of it; errors of storage are an answer as well."""
        raise NotImplementedError


@dataclass(eq=False)
class Read(Task):
    """Read a folder."""

    node: Node
    path: str
    is_too_much: bool = False
    """Whether it is known to be too large or too slow for it."""

    @property
    def where(self) -> str:
        """The folder itself."""
        return self.path

    def do(self, patience: Patience, beat: Beat) -> Found:
        """Read it, and compare what it holds with what is wanted in it."""
        found = Found()
        wanted = self.node.paths.get(self.path)
        is_alone = self.node.is_of(wanted)
        backend = patience.backend(self.path)
        if reason := backend.cannot_be(self.path):
            return Found(failed=reason)
        try:
            with backend.opened(self.path, is_last=patience.is_last) as folder:
                reader = Reader(self.node, self.path, wanted, is_alone, patience.recent_seconds, found, beat, folder)
                for some in folder.coming():  # first: what is completed meanwhile is among what it holds then
                    reader.take(some)
                    beat()
                    if beat.seconds > patience.timeout_seconds:
                        return Found(failed="what is about to come there can't be listed in time")
                found.is_too_much = self.is_too_much
                for some in folder if not found.is_too_much else ():
                    reader.take(some)
                    beat()
                    found.is_too_much = beat.seconds > patience.timeout_seconds
                    if found.is_too_much:
                        break
                reader.end()
                if "." in reader.names:  # a row that names the folder itself
                    found.present.add(".")
                found.nearest = Nearest(self.path, folder.device, reader.is_empty and not found.is_too_much)
        except FileNotFoundError:
            found.code = errno.ENOENT
        except OSError as error:
            found.failed, found.code = in_words(error), error.errno or 0
        found.seconds = beat.seconds
        return found


@dataclass(eq=False)
class Ask(Task):
    """Ask for names just as they stand."""

    wanted: Wanted
    names: Sequence[str]
    is_last: bool = False
    """Whether nothing else is asked before they are called missing."""

    @property
    def where(self) -> str:
        """The folder that they are wanted in."""
        return self.wanted.folder

    def do(self, patience: Patience, beat: Beat) -> Found:
        """Ask for each; what isn't there stays unsaid."""
        found = Found()
        backend = patience.backend(self.wanted.folder)
        ask = backend.answer_again if self.is_last else backend.answer
        for name in self.names:
            beat()
            if look := ask(self.wanted.path(name)):
                found.looks.append((self.wanted, name, look))
        return found


@dataclass(eq=False)
class AskSpellings(Task):
    """Ask for names in all spellings that come to mind, in a folder that is too much to be read."""

    wanted: Wanted
    names: Sequence[str]
    folder: str

    @property
    def where(self) -> str:
        """The folder that they are asked for in."""
        return self.folder

    def do(self, patience: Patience, beat: Beat) -> Found:
        """Ask for each until something is there."""
        found = Found()
        backend = patience.backend(self.folder)
        is_itself = self.folder == self.wanted.folder
        for name in self.names:
            for other in (name, *spellings(name)):
                beat()
                path = join(self.folder, other)
                if other != name and backend.cannot_be(path):
                    continue
                if look := backend.answer(path):
                    is_it = (is_itself and other == name) or look != PRESENT
                    found.looks.append((self.wanted, name, look if is_it else alike(path)))
                    break
        return found


@dataclass(eq=False)
class AskFolders(Task):
    """Ask for the spellings that come to mind of wanted folders, where the folder that they are in is too much."""

    node: Node
    names: Sequence[str]
    folder: str

    @property
    def where(self) -> str:
        """The folder that they are asked for in."""
        return self.folder

    def do(self, patience: Patience, beat: Beat) -> Found:
        """Ask for each; what is there is to be read."""
        found = Found()
        backend = patience.backend(self.folder)
        for name in self.names:
            beat()
            for other in (join(self.folder, spelling) for spelling in spellings(name)):
                if backend.has_folder(other):
                    found.further[self.node, other] = None
        return found


@dataclass
class Reader:
    """Compares what a folder holds with what is wanted in it."""

    node: Node
    path: str
    wanted: Wanted | None
    """What is wanted just as it stands."""
    is_alone: bool
    """Whether nothing else is wanted of the folder: no names of other spellings, and no folders."""
    recent_seconds: float
    found: Found
    beat: Beat
    folder: Folder
    """The folder, open for reading."""
    is_empty: bool = True

    def __post_init__(self) -> None:
        self.names: set[str] = self.wanted.names if self.wanted else set()

    def take(self, entries: Sequence[Entry]) -> None:
        """Some more of what it holds."""
        self.is_empty = False
        names = [entry.name for entry in entries]
        here = self.names.intersection(names)
        if here:
            links = here.intersection([entry.name for entry in entries if entry.is_symlink()])
            self.found.links |= links
            self.found.present |= here - links if links else here
        if len(here) < len(names):
            self._compare([name for name in names if name not in here])

    def end(self) -> None:
        """It holds no more: names that are there may be like others that aren't."""
        wanted, seen = self.wanted, self.found.present | self.found.links
        if wanted is None or not seen or (self.is_alone and (len(seen) == len(self.names) or wanted.are_apart)):
            return
        if self.is_alone and wanted.is_plain:
            names, missing = [*seen], [*(self.names - seen)]
            keys, gone = fold_plain(names), fold_plain(missing)
            shortest, taken = min(map(len, gone)), set(gone).intersection(keys)
            names = [name for key, name in zip(keys, names, strict=True) if key in taken or len(key) > shortest]
        else:
            names = [*seen]
        if names:
            self._compare(names)

    def _compare(self, names: Sequence[str]) -> None:
        if is_plain(names):
            for name, key in zip(names, fold_plain(names), strict=True):
                self._meet(self.node, key, name)
            return
        for name in names:
            if not is_utf8(name):
                self.found.not_utf8 = True
            for *way, key in readings_of(name) or [(name,)]:
                if node := self.node.find(way):
                    self._meet(node, key, name)

    def _meet(self, node: Node, key: str, name: str) -> None:
        if key in node.names:
            self._note(node, key, name)
        if key in node.below:
            self.found.further[node.below[key], join(self.path, name)] = None
        for stem in _stems(key, node.sizes):
            if stem in node.names and (node, stem) not in self.found.like:
                self.beat()
                if upload := self.folder.under_way(self.recent_seconds, name):
                    self.found.like[node, stem] = upload

    def _note(self, node: Node, key: str, name: str) -> None:
        self.found.like.setdefault((node, key), alike(join(self.path, name)).reason)


def alike(path: str) -> Look:
    """The look at a name, when something like it is at `path`."""
    return unverifiable(f"{ALIKE}{quoted(path)}")


def _stems(key: str, sizes: set[int]) -> Iterator[str]:
    """What `key`, a folded name, may be an unfinished upload of: it without a suffix, or a leading dot, or both."""
    for size in sizes:
        if len(key) > size and not key[size].isalnum():
            yield key[:size]
    if key.startswith("."):
        for at in range(1, min(len(key), _HIDDEN)):
            yield from _bare_stems(key[at:], sizes)
            if key[at].isalnum():
                break


def _bare_stems(bare: str, sizes: set[int]) -> Iterator[str]:
    yield bare
    for size in sizes:
        if len(bare) > size and not bare[size].isalnum():
            yield bare[:size]
