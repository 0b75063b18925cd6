"""Many files looked for at once: each folder is read once, and what isn't in it is compared with what is.

Rows name files in folders. What is configured as a top is read, then the wanted folders in it, and so on down. At each
step all folders count that are like a wanted one, since the file may be in any of them. What is held in memory is what
is wanted, never what a folder holds.
"""

import errno
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice

from veza_ops.storage import disk
from veza_ops.storage.likeness import are_folded, fold_plain, is_plain, is_telling, is_utf8, parts_of, readings_of
from veza_ops.storage.look import PRESENT, Area, Gone, Look, Nearest, Verdict, in_words, shown, unverifiable
from veza_ops.storage.many import Beat, Lookers

_AT_ONCE = 1024
"""Entries of a folder that are compared at once."""
_ASKED_AT_ONCE = 64
"""Names that a thread asks for one by one before it takes others."""


@dataclass(eq=False)
class Wanted:
    """The names that rows have in one folder, and what is found of them."""

    folder: str
    top: str
    area: Area
    names: set[str] = field(default_factory=set)
    looks: dict[str, Look] = field(default_factory=dict)
    """Of the names that are there, or that nobody can say of whether they are."""
    gone: Gone | None = None
    """Where all other names are missing from."""
    is_like: bool = False
    """Whether something like one of the names was found."""

    def path(self, name: str) -> str:
        """The path of one of the names."""
        return _join(self.folder, name)

    @cached_property
    def missing(self) -> Look:
        """The look at any name that isn't there."""
        return Look(Verdict.MISSING, f"no file at {shown(self.path(''))}", self.gone)

    @cached_property
    def are_apart(self) -> bool:
        """Whether none of the names can be like another one, or an unfinished upload of it."""
        return self.is_plain and are_folded(self.names) and len(set(map(len, self.names))) == 1

    @cached_property
    def longest(self) -> int:
        """How long the longest of the names is, or the folder's path."""
        return max(len(self.folder), *map(len, self.names))

    @cached_property
    def is_plain(self) -> bool:
        """Whether each of the names, folded, is one name in this folder and nothing else."""
        return not is_telling(self.inside) and is_plain(self.names)

    @property
    def inside(self) -> str:
        """The folder as seen from its top."""
        return self.folder[len(self.top.rstrip("/")) :].strip("/")


@dataclass(eq=False)
class _Node:
    """A folder as anybody might write it: all those on disk that are like it are read."""

    above: "_Node | None" = None
    below: dict[str, "_Node"] = field(default_factory=dict)
    paths: dict[str, Wanted | None] = field(default_factory=dict)
    """The folders of this kind that rows name, as they stand, with what is wanted in them."""
    names_like: set[str] = field(default_factory=set)
    """Names wanted here that are written as if they were elsewhere, folded."""
    like: dict[str, str] = field(default_factory=dict)
    """For a wanted name, folded, what was found that could be it."""
    doubts: list[str] = field(default_factory=list)
    """Why nobody can say of a name that isn't seen that it isn't there."""
    too_much: str = ""
    """A folder that is too large or too slow to be read."""
    read: set[str] = field(default_factory=set)
    """The folders like it that were read."""
    not_utf8: str = ""
    """A folder that holds names which aren't UTF-8; they may be any that isn't ASCII."""

    @cached_property
    def names(self) -> set[str]:
        """The names wanted in any of them, folded: only worked out where something else is found."""
        names = set(self.names_like)
        for wanted in filter(None, self.paths.values()):
            if wanted.is_plain:
                names.update(fold_plain(list(wanted.names)))
        return names

    @cached_property
    def sizes(self) -> set[int]:
        """How long those names are."""
        return set(map(len, self.names))

    def is_of(self, wanted: Wanted | None) -> bool:
        """Whether nothing is wanted of this folder but what `wanted` says."""
        others = any(each not in (None, wanted) for each in self.paths.values())
        return not (others or self.below or self.names_like)

    def at(self, parts: Iterable[str]) -> "_Node":
        """The node of a path below this one, made if need be."""
        node = self
        for part in parts:
            node = node.below.setdefault(part, _Node(node)) if part not in node.below else node.below[part]
        return node

    def find(self, parts: Iterable[str]) -> "_Node | None":
        """The node of a path below this one, if anything is wanted there."""
        node: _Node | None = self
        for part in parts:
            node = node.below.get(part) if node else None
        return node

    def why_not(self) -> str:
        """The first doubt about this folder, or one on the way to it."""
        node: _Node | None = self
        while node is not None:
            if node.doubts:
                return node.doubts[0]
            node = node.above
        return ""

    def why_unread(self) -> str:
        """Which folder on the way was too much to be read, if one was."""
        node: _Node | None = self
        while node is not None:
            if node.too_much:
                return f"{node.too_much!r} is too large or too slow to be read, so nothing is known of names like this"
            node = node.above
        return ""


@dataclass
class _Found:
    """What one task came to."""

    looks: list[tuple[Wanted, str, Look]] = field(default_factory=list)
    # A list may repeat itself: what is kept of it doesn't grow.
    present: set[str] = field(default_factory=set)
    links: set[str] = field(default_factory=set)
    like: dict[tuple[_Node, str], str] = field(default_factory=dict)
    further: dict[tuple[_Node, str], None] = field(default_factory=dict)
    """Folders that are like one on the way."""
    not_utf8: bool = False
    nearest: Nearest | None = None
    is_too_much: bool = False
    failed: str = ""
    code: int = 0


class _Task:
    """Something to ask of storage."""

    def do(self, search: "Search", beat: Beat) -> _Found:
        raise NotImplementedError


@dataclass(eq=False)
class _Read(_Task):
    """Read a folder."""

    node: _Node
    path: str

    def do(self, search: "Search", beat: Beat) -> _Found:
        found = _Found()
        wanted = self.node.paths.get(self.path)
        is_alone = self.node.is_of(wanted)
        reader = _Reader(self.node, self.path, wanted, is_alone, search.recent_seconds, found, beat)
        if reason := disk.cannot_be(self.path):
            return _Found(failed=reason)
        try:
            with disk.opened(self.path) as folder:
                reader.folder, device = folder, os.fstat(folder).st_dev
                found.is_too_much = self.path in search.singly
                with os.scandir(folder) as entries:
                    while not found.is_too_much and (some := list(islice(entries, _AT_ONCE))):
                        reader.take(some)
                        beat()
                        found.is_too_much = beat.seconds > search.lookers.timeout_seconds
                reader.end()
                if "." in reader.names:  # a row that names the folder itself
                    found.present.add(".")
                found.nearest = Nearest(self.path, device, reader.is_empty and not found.is_too_much)
        except OSError as error:
            found.failed, found.code = in_words(error), error.errno or 0
            if error.errno == errno.ENOENT:  # not there at all, or a link to nowhere
                look = disk.look(self.path)
                found.failed = "" if look.verdict is Verdict.MISSING else look.reason or "it came only just now"
        return found


@dataclass(eq=False)
class _Ask(_Task):
    """Ask for names just as they stand."""

    wanted: Wanted
    names: Sequence[str]

    def do(self, search: "Search", beat: Beat) -> _Found:  # noqa: ARG002 - the signature of all tasks
        found = _Found()
        for name in self.names:
            beat()
            if disk.is_there(path := self.wanted.path(name)):
                found.looks.append((self.wanted, name, disk.look(path)))
        return found


@dataclass(eq=False)
class _AskSpellings(_Task):
    """Ask for names in all spellings that come to mind, in a folder that is too much to be read."""

    wanted: Wanted
    names: Sequence[str]
    folder: str

    def do(self, search: "Search", beat: Beat) -> _Found:  # noqa: ARG002 - the signature of all tasks
        found = _Found()
        is_itself = self.folder == self.wanted.folder
        for name in self.names:
            for other in (name, *disk.spellings(name)):
                beat()
                path = _join(self.folder, other)
                if disk.is_there(path):
                    look = disk.look(path) if is_itself and other == name else _alike(path)
                    found.looks.append((self.wanted, name, look))
                    break
        return found


@dataclass(eq=False)
class _AskFolders(_Task):
    """Ask for the spellings that come to mind of wanted folders, where the folder that they are in is too much."""

    node: _Node
    names: Sequence[str]
    folder: str

    def do(self, search: "Search", beat: Beat) -> _Found:  # noqa: ARG002 - the signature of all tasks
        found = _Found()
        for name in self.names:
            beat()
            for other in (_join(self.folder, spelling) for spelling in disk.spellings(name)):
                if disk.is_there(other):
                    found.further[self.node, other] = None
        return found


@dataclass
class _Reader:
    """Compares what a folder holds with what is wanted in it."""

    node: _Node
    path: str
    wanted: Wanted | None
    """What is wanted just as it stands."""
    is_alone: bool
    """Whether nothing else is wanted of the folder: no names of other spellings, and no folders."""
    recent_seconds: float
    found: _Found
    beat: Beat
    folder: int = -1
    """The folder, open for reading."""
    is_empty: bool = True

    def __post_init__(self) -> None:
        self.names: set[str] = self.wanted.names if self.wanted else set()

    def take(self, entries: Sequence[os.DirEntry[str]]) -> None:
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

    def _meet(self, node: _Node, key: str, name: str) -> None:
        if key in node.names:
            self._note(node, key, name)
        if key in node.below:
            self.found.further[node.below[key], _join(self.path, name)] = None
        for stem in _stems(key, node.sizes):
            if stem in node.names and (node, stem) not in self.found.like:
                self.beat()
                if disk.changed_within(self.recent_seconds, name, self.folder):
                    path = _join(self.path, name)
                    self.found.like[node, stem] = f"an upload is under way: {path!r} has just been written to"

    def _note(self, node: _Node, key: str, name: str) -> None:
        self.found.like.setdefault((node, key), _alike(_join(self.path, name)).reason)


@dataclass
class Search:
    """One round of looks."""

    lookers: Lookers
    recent_seconds: float
    """An unfinished upload that was written to within so many seconds is under way."""
    asks_again: bool = False
    """Whether the system is asked for the very path as well of each file that its folder doesn't hold."""
    singly: set[str] = field(default_factory=set)
    """The folders that are too large or too slow to be read, and are asked for single names."""
    _read: dict[str, Nearest] = field(default_factory=dict)
    _asked: set[tuple[_Node, str]] = field(default_factory=set)
    """The folders that have been read, or are next."""
    _inside: dict[str, list[tuple[_Node, str]]] = field(default_factory=dict)
    """The folders that rows name, by the folder that they are in."""

    def look_for(self, wanted: Sequence[Wanted]) -> None:
        """Find out about all that is `wanted`."""
        tops = self._lay_out(wanted)
        tasks: list[_Task] = [_Read(node, top) for top, node in tops.items()]
        while tasks:
            done = self.lookers.run(lambda task, beat: task.do(self, beat), tasks)
            tasks = [further for task, found in done for further in self._take(task, found)]
        for each in wanted:
            self._judge(each, tops[each.top])
        self._ask(
            _Ask(each, [name])  # each may lead to where nothing answers
            for each in wanted
            for name, look in each.looks.items()
            if look is _LINK
        )
        self._ask(task for each in wanted for task in self._again(each))

    def _lay_out(self, wanted: Sequence[Wanted]) -> dict[str, _Node]:
        tops: dict[str, _Node] = defaultdict(_Node)
        for each in wanted:
            top, inside = tops[each.top], each.inside
            top.paths.setdefault(each.top, None)
            node, path = top, each.top
            for part in inside.split("/") if inside else ():
                above, node = path, node.at(_parts(part))
                path = _join(path, part)
                if path not in node.paths:
                    node.paths[path] = None
                    self._inside.setdefault(above, []).append((node, path))
            node.paths[each.folder] = each
            if not each.is_plain:
                for name in each.names:
                    for start, way in ((node, name), (top, _join(inside, name))):
                        for *folders, key in readings_of(way) or [(name,)]:
                            start.at(folders).names_like.add(key)
        return tops

    def _take(self, task: _Task, found: _Found | None) -> Iterator[_Task]:
        """Note what a task came to; what is to be asked next."""
        if found is None:
            found = _Found(failed=self._no_answer)
            if isinstance(task, _Ask | _AskSpellings):
                found.looks = [(task.wanted, name, unverifiable(self._no_answer)) for name in task.names]
        for wanted, name, look in found.looks:
            if look.verdict is not Verdict.MISSING:
                wanted.looks[name] = look
        for (node, key), what in found.like.items():
            node.like.setdefault(key, what)
        if isinstance(task, _Read):
            yield from self._take_folder(task.node, task.path, found)
        elif isinstance(task, _AskFolders) and found.failed:
            task.node.doubts.append(f"{task.folder!r} can't be looked into: {found.failed}")
        for node, path in found.further.keys() - self._asked:
            self._asked.add((node, path))
            node.read.add(path)
            if len(node.read) <= _MOST_ALIKE:
                yield _Read(node, path)
            else:
                node.doubts.append(f"more than {_MOST_ALIKE} folders are like one on the way")

    def _take_folder(self, node: _Node, path: str, found: _Found) -> Iterator[_Task]:
        wanted = node.paths.get(path)
        if wanted:
            wanted.looks.update(dict.fromkeys(found.present, PRESENT))
            wanted.looks.update(dict.fromkeys(found.links, _LINK))
        if found.not_utf8:
            node.not_utf8 = path
        if found.nearest:
            self._read[path] = found.nearest
        if found.failed and (path in node.paths or found.code != errno.ENOTDIR):
            node.doubts.append(f"{path!r} can't be looked into: {found.failed}")
        may_be_entered = found.nearest or found.code == errno.EACCES
        children = [(child, below) for child, below in self._inside.get(path, ()) if child.above is node]
        if may_be_entered:  # whether it was seen in there or not: some folders show only once they are asked for
            self._asked.update(children)
            yield from (_Read(child, below) for child, below in children)
        if found.code == errno.EACCES and wanted:  # whoever may enter it may ask for a name
            yield from (_Ask(wanted, names) for names in _few_at_once(wanted))
        if found.is_too_much:
            self.singly.add(path)
            node.too_much = path
            for each in filter(None, node.paths.values()):
                yield from (_AskSpellings(each, names, path) for names in _few_at_once(each))
            yield from (_AskFolders(child, [os.path.basename(below)], path) for child, below in children)

    def _ask(self, tasks: Iterable[_Task]) -> None:
        for task, found in self.lookers.run(lambda task, beat: task.do(self, beat), list(tasks)):
            for _ in self._take(task, found):
                pass

    def _again(self, wanted: Wanted) -> Iterator[_Task]:
        """Names that the system may know better than the list: in another case on a disk that cares for none."""
        if wanted.is_like:
            yield from (_Ask(wanted, [name]) for name, look in wanted.looks.items() if look.reason.startswith(_ALIKE))
        if self.asks_again:
            yield from (_Ask(wanted, names) for names in _few_at_once(wanted))

    def _judge(self, wanted: Wanted, top: _Node) -> None:
        """Say of each name that isn't there why it may be all the same."""
        looks = wanted.looks
        missing = list(wanted.names - looks.keys())
        if not missing:
            return
        path = wanted.folder
        while path not in self._read and path not in (wanted.top, "/"):
            path = os.path.dirname(path)
        nearest = self._read.get(path)
        wanted.gone = Gone(wanted.area, nearest) if nearest else None
        node, not_utf8 = self._on_the_way(wanted, top)
        doubt = node.why_not() or ("" if nearest else f"there is no such folder: {wanted.top!r}")
        if doubt or not_utf8:
            why = doubt or _not_utf8(not_utf8)
            looks.update((name, unverifiable(why)) for name in missing)
            return
        for name, reason in self._reasons(wanted, missing, node, top):
            if reason:
                wanted.is_like = True
                looks.setdefault(name, unverifiable(reason))

    def _reasons(self, wanted: Wanted, missing: Sequence[str], node: _Node, top: _Node) -> Iterator[tuple[str, str]]:
        """Why names that aren't there may be there all the same, by what is special in them or like them."""
        if not wanted.is_plain or wanted.longest > _LONG:
            yield from ((name, disk.cannot_be(wanted.path(name))) for name in missing)
        if not wanted.is_plain:
            yield from ((name, self._why_not(name, wanted.inside, node, top)) for name in missing)
        elif node.like:
            yield from ((name, node.like.get(key, "")) for name, key in zip(missing, fold_plain(missing), strict=True))

    @staticmethod
    def _why_not(name: str, inside: str, folder: _Node, top: _Node) -> str:
        """Why a name that takes a closer look may be there all the same."""
        if not readings_of(_join(inside, name)):
            return "the path may climb out of where it starts, or says nothing"
        for start, way in ((folder, name), (top, _join(inside, name))):
            for *folders, key in readings_of(way) or [(name,)]:
                node = start.at(folders)
                if key in node.like:
                    return node.like[key]
                if doubt := node.why_not() or (node is not folder and node.why_unread()):
                    return doubt
                if node.not_utf8 and not key.isascii():
                    return _not_utf8(node.not_utf8)
        return _not_utf8(folder.not_utf8) if folder.not_utf8 and not name.isascii() else ""

    @staticmethod
    def _on_the_way(wanted: Wanted, top: _Node) -> tuple[_Node, str]:
        """The folder's node, and a folder on the way whose names aren't UTF-8 where the wanted one isn't ASCII."""
        node, not_utf8 = top, ""
        for part in wanted.inside.split("/") if wanted.inside else ():
            parts = _parts(part)
            if node.not_utf8 and not (part.isascii() and "".join(parts).isascii()):
                not_utf8 = node.not_utf8
            node = node.at(parts)
        return node, not_utf8

    @property
    def _no_answer(self) -> str:
        return f"storage gave no answer within {self.lookers.timeout_seconds:g} s"


_LINK = unverifiable("a link that was taken away while it was looked at")
_ALIKE = "the file is there under another spelling of its name: "
_MOST_ALIKE = 64
"""Folders that are like one on the way, and are looked into."""
_HIDDEN = 4
"""Characters that hide a file at most: a dot, and what programs put behind it."""
_LONG = 60
"""Characters from which on a name may be too long for a system."""


def _few_at_once(wanted: Wanted) -> Iterator[list[str]]:
    names = [name for name in wanted.names if name not in wanted.looks]
    for at in range(0, len(names), _ASKED_AT_ONCE):
        yield names[at : at + _ASKED_AT_ONCE]


def _alike(path: str) -> Look:
    return unverifiable(f"{_ALIKE}{path!r}")


def _not_utf8(folder: str) -> str:
    return f"{folder!r} holds names that aren't UTF-8, and this one may be among them"


def _parts(name: str) -> tuple[str, ...]:
    try:
        return parts_of(name) or (name,)
    except ValueError:
        return (name,)


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


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder and folder != "/" else f"{folder}{name}"
