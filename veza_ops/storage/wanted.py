"""What is looked for: the names that rows have in folders, and those folders as anybody might write them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from veza_ops.storage.likeness import are_folded, fold_plain, is_plain, is_telling, parts_of
from veza_ops.storage.look import Area, Gone, Look, Verdict
from veza_ops.text import quoted, shown


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
        return join(self.folder, name)

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
class Node:
    """A folder as anybody might write it: all those on disk that are like it are read."""

    above: "Node | None" = None
    below: dict[str, "Node"] = field(default_factory=dict)
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

    def at(self, parts: Iterable[str]) -> "Node":
        """The node of a path below this one, made if need be."""
        node = self
        for part in parts:
            node = node.below.setdefault(part, Node(node)) if part not in node.below else node.below[part]
        return node

    def find(self, parts: Iterable[str]) -> "Node | None":
        """The node of a path below this one, if anything is wanted there."""
        node: Node | None = self
        for part in parts:
            node = node.below.get(part) if node else None
        return node

    def take_apart(self) -> None:
        """Let go of all nodes below: while they hold each other, their names wait for the garbage collector."""
        nodes = [self]
        while nodes:
            node = nodes.pop()
            nodes.extend(node.below.values())
            node.below.clear()

    def why_not(self) -> str:
        """The first doubt about this folder, or one on the way to it."""
        node: Node | None = self
        while node is not None:
            if node.doubts:
                return node.doubts[0]
            node = node.above
        return ""

    def why_unread(self) -> str:
        """Which folder on the way was too much to be read, if one was."""
        node: Node | None = self
        while node is not None:
            if node.too_much:
                folder = quoted(node.too_much)
                return f"{folder} is too large or too slow to be read, so nothing is known of names like this"
            node = node.above
        return ""


def join(folder: str, name: str) -> str:
    """The path of a name in a folder."""
    return f"{folder}/{name}" if folder and folder != "/" else f"{folder}{name}"


def parts_in(name: str) -> tuple[str, ...]:
    """What a folder's name is made of, folded; itself where that is nothing, or leads upwards."""
    try:
        return parts_of(name) or (name,)
    except ValueError:
        return (name,)
