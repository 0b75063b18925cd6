"""Many files looked for at once: each folder is read once, and what isn't in it is compared with what is.

Rows name files in folders. What is configured as a top is read, then the wanted folders in it, and so on down. At each
step all folders count that are like a wanted one, since the file may be in any of them. What is held in memory is what
is wanted, never what a folder holds.
"""

import errno
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from veza_ops.bounds import Lookers
from veza_ops.storage.backend import Backend
from veza_ops.storage.likeness import fold_plain, readings_of
from veza_ops.storage.look import PRESENT, Gone, Nearest, Verdict, unverifiable
from veza_ops.storage.reading import ALIKE, Ask, AskFolders, AskSpellings, Found, Patience, Read, Task
from veza_ops.storage.wanted import Node, Wanted, join, parts_in
from veza_ops.text import quoted

_ASKED_AT_ONCE, _ASKED_FIRST = 64, 1
"""Names that a thread asks for one by one before it takes others: in a folder, and where each may take its time."""
_MOST_ALIKE = 64
"""Folders that are like one on the way, and are looked into."""
_LONG = 60
"""Characters from which on a name may be too long for a system."""
_NOTICEABLE = 0.1
"""Seconds that a folder takes before anybody remembers it."""
_LINK = unverifiable("a link that was taken away while it was looked at")


@dataclass
class Search:
    """One round of looks."""

    lookers: Lookers
    backend: Callable[[str], Backend]
    """The storage that a path is on."""
    recent_seconds: float
    """An unfinished upload that was written to within so many seconds is under way."""
    asks_again: bool = False
    """Whether the system is asked for the very path as well of each file that its folder doesn't hold."""
    singly: set[str] = field(default_factory=set)
    """The folders that are too large or too slow to be read, and are asked for single names."""
    seconds: dict[str, float] = field(default_factory=dict)
    """How long each folder took to be read, of those of which anybody could tell."""
    _read: dict[str, Nearest] = field(default_factory=dict)
    _asked: set[tuple[Node, str]] = field(default_factory=set)
    """The folders that have been read, or are next."""
    _inside: dict[str, list[tuple[Node, str]]] = field(default_factory=dict)
    """The folders that rows name, by the folder that they are in."""

    def look_for(self, wanted: Sequence[Wanted]) -> None:
        """Find out about all that is `wanted`."""
        first = [each for each in wanted if self.backend(each.folder).asks_first]
        self._ask(Ask(each, names) for each in first for names in _few_at_once(each, _ASKED_FIRST))
        seen = {id(each) for each in first if each.names <= each.looks.keys()}
        wanted = [each for each in wanted if id(each) not in seen]
        tops = self._lay_out(wanted)
        tasks: list[Task] = [Read(node, top, top in self.singly) for top, node in tops.items()]
        while tasks:
            done = self._run(tasks)
            tasks = [further for task, found in done for further in self._take(task, found)]
        for each in wanted:
            self._judge(each, tops[each.top])
        self._ask(
            Ask(each, [name])  # each may lead to where nothing answers
            for each in wanted
            for name, look in each.looks.items()
            if look is _LINK
        )
        self._ask(task for each in wanted for task in self._again(each))
        for node in tops.values():
            node.take_apart()

    def _lay_out(self, wanted: Sequence[Wanted]) -> dict[str, Node]:
        tops: dict[str, Node] = defaultdict(Node)
        for each in wanted:
            top, inside = tops[each.top], each.inside
            top.paths.setdefault(each.top, None)
            node, path = top, each.top
            for part in inside.split("/") if inside else ():
                above, node = path, node.at(parts_in(part))
                path = join(path, part)
                if path not in node.paths:
                    node.paths[path] = None
                    self._inside.setdefault(above, []).append((node, path))
            node.paths[each.folder] = each
            if not each.is_plain:
                cannot_be = self.backend(each.folder).cannot_be
                for name in each.names:
                    if cannot_be(each.path(name)):  # to fold what is too long takes long
                        continue
                    for start, way in ((node, name), (top, join(inside, name))):
                        for *folders, key in readings_of(way) or [(name,)]:
                            start.at(folders).names_like.add(key)
        return tops

    def _take(self, task: Task, found: Found | None) -> Iterator[Task]:
        """Note what a task came to; what is to be asked next."""
        if found is None:
            found = Found(failed=self._no_answer)
            if isinstance(task, Ask | AskSpellings):
                found.looks = [(task.wanted, name, unverifiable(self._no_answer)) for name in task.names]
        for wanted, name, look in found.looks:
            if look.verdict is not Verdict.MISSING:
                wanted.looks[name] = look
        for (node, key), what in found.like.items():
            node.like.setdefault(key, what)
        if isinstance(task, Read):
            yield from self._take_folder(task.node, task.path, found)
        elif isinstance(task, AskFolders) and found.failed:
            task.node.doubts.append(f"{quoted(task.folder)} can't be looked into: {found.failed}")
        for node, path in found.further.keys() - self._asked:
            self._asked.add((node, path))
            node.read.add(path)
            if len(node.read) <= _MOST_ALIKE:
                yield Read(node, path, path in self.singly)
            else:
                node.doubts.append(f"more than {_MOST_ALIKE} folders are like one on the way")

    def _take_folder(self, node: Node, path: str, found: Found) -> Iterator[Task]:
        wanted = node.paths.get(path)
        if found.seconds > _NOTICEABLE:
            self.seconds[path] = found.seconds
        if wanted:
            wanted.looks.update(dict.fromkeys(found.present, PRESENT))
            wanted.looks.update(dict.fromkeys(found.links, _LINK))
        if found.not_utf8:
            node.not_utf8 = path
        if found.nearest:
            self._read[path] = found.nearest
        if found.failed and (path in node.paths or found.code != errno.ENOTDIR):
            node.doubts.append(f"{quoted(path)} can't be looked into: {found.failed}")
        may_be_entered = found.nearest or found.code == errno.EACCES
        children = [(child, below) for child, below in self._inside.get(path, ()) if child.above is node]
        if may_be_entered:  # whether it was seen in there or not: some folders show only once they are asked for
            self._asked.update(children)
            yield from (Read(child, below, below in self.singly) for child, below in children)
        if found.code == errno.EACCES and wanted:  # whoever may enter it may ask for a name
            yield from (Ask(wanted, names) for names in _few_at_once(wanted))
        if found.is_too_much:
            self.singly.add(path)
            node.too_much = path
            for each in filter(None, node.paths.values()):
                yield from (AskSpellings(each, names, path) for names in _few_at_once(each))
            yield from (AskFolders(child, [os.path.basename(below)], path) for child, below in children)

    def _ask(self, tasks: Iterable[Task]) -> None:
        for task, found in self._run(list(tasks)):
            for _ in self._take(task, found):
                pass

    def _run(self, tasks: Sequence[Task]) -> list[tuple[Task, Found | None]]:
        return self.lookers.run(
            lambda task, beat: task.do(self._patience, beat),
            tasks,
            lambda task: self.backend(task.where).given_up(task.where),
        )

    def _again(self, wanted: Wanted) -> Iterator[Task]:
        """Names that the system may know better than the list: in another case on a disk that cares for none."""
        if wanted.is_like:
            yield from (Ask(wanted, [name]) for name, look in wanted.looks.items() if look.reason.startswith(ALIKE))
        if self.asks_again:
            size = _ASKED_FIRST if self.backend(wanted.folder).asks_first else _ASKED_AT_ONCE
            yield from (Ask(wanted, names, is_last=True) for names in _few_at_once(wanted, size))

    def _judge(self, wanted: Wanted, top: Node) -> None:
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
        doubt = node.why_not() or ("" if nearest else f"there is no such folder: {quoted(wanted.top)}")
        if doubt or not_utf8:
            why = doubt or _not_utf8(not_utf8)
            looks.update((name, unverifiable(why)) for name in missing)
            return
        for name, reason in self._reasons(wanted, missing, node, top):
            if reason:
                wanted.is_like = True
                looks.setdefault(name, unverifiable(reason))

    def _reasons(self, wanted: Wanted, missing: Sequence[str], node: Node, top: Node) -> Iterator[tuple[str, str]]:
        """Why names that aren't there may be there all the same, by what is special in them or like them."""
        if not wanted.is_plain or wanted.longest > _LONG:
            backend = self.backend(wanted.folder)
            yield from ((name, backend.cannot_be(wanted.path(name))) for name in missing)
        if not wanted.is_plain:
            others = (name for name in missing if name not in wanted.looks)
            yield from ((name, self._why_not(name, wanted.inside, node, top)) for name in others)
        elif node.like:
            yield from ((name, node.like.get(key, "")) for name, key in zip(missing, fold_plain(missing), strict=True))

    @staticmethod
    def _why_not(name: str, inside: str, folder: Node, top: Node) -> str:
        """Why a name that takes a closer look may be there all the same."""
        if not readings_of(join(inside, name)):
            return "the path may climb out of where it starts, or says nothing"
        for start, way in ((folder, name), (top, join(inside, name))):
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
    def _on_the_way(wanted: Wanted, top: Node) -> tuple[Node, str]:
        """The folder's node, and a folder on the way whose names aren't UTF-8 where the wanted one isn't ASCII."""
        node, not_utf8 = top, ""
        for part in wanted.inside.split("/") if wanted.inside else ():
            parts = parts_in(part)
            if node.not_utf8 and not (part.isascii() and "".join(parts).isascii()):
                not_utf8 = node.not_utf8
            node = node.at(parts)
        return node, not_utf8

    @property
    def _patience(self) -> Patience:
        return Patience(self.backend, self.lookers.timeout_seconds, self.recent_seconds, self.asks_again)

    @property
    def _no_answer(self) -> str:
        return f"storage gave no answer within {self.lookers.timeout_seconds:g} s"


def _few_at_once(wanted: Wanted, size: int = _ASKED_AT_ONCE) -> Iterator[list[str]]:
    names = [name for name in wanted.names if name not in wanted.looks]
    for at in range(0, len(names), size):
        yield names[at : at + size]


def _not_utf8(folder: str) -> str:
    return f"{quoted(folder)} holds names that aren't UTF-8, and this one may be among them"
