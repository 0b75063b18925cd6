"""Where a row's file is as seen from this machine: from ``file_path`` to a folder and a name in it."""

import errno
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from veza_ops.errors import ConfigurationError
from veza_ops.storage import keys
from veza_ops.storage.likeness import is_absolute, parts_of, says_nothing
from veza_ops.storage.look import LONGEST, S3, Area, Look, Place, unverifiable
from veza_ops.text import quoted, reveal, shown

_ABSOLUTE = unverifiable("the path is not an absolute one as it stands, but may mean one")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/(?:/|$)")


@dataclass(frozen=True)
class Layout:
    """Where the files are as seen from this machine.

    `root` is the absolute folder that relative paths are joined to, or empty. `path_map` maps prefixes of absolute
    paths, as the database has them, to where this machine has them. Either may lead to ``s3://BUCKET/PREFIX``; then a
    prefix may be relative too, for platforms that keep plain keys.
    """

    root: str = ""
    path_map: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises ConfigurationError for a root or a prefix that is not absolute, or mapped twice, or an address."""
        for target in filter(_is_address, (self.root, *self.path_map.values())):
            keys.require_literal(target)
        if self.root and not os.path.isabs(self.root) and not _is_address(self.root):
            raise ConfigurationError(
                f"The storage root {quoted(self.root)} is relative, so it means another folder in every process. "
                "Give VEZA_STORAGE_ROOT (or storage.root) as an absolute path."
            )
        if address := next(filter(_SCHEME.match, self.path_map), ""):
            raise ConfigurationError(
                f"The prefix {quoted(address)} in storage.path_map is an address, and only paths are mapped. Give rows "
                "the address where their file is now, and take the prefix out."
            )
        on_disk = {prefix: target for prefix, target in self.path_map.items() if not _is_address(target)}
        for prefix in (*on_disk.keys(), *on_disk.values()):
            if not os.path.isabs(prefix):
                raise ConfigurationError(
                    f"The path {quoted(prefix)} in storage.path_map is relative. "
                    "Map absolute prefixes to absolute prefixes, or any to s3://BUCKET/PREFIX."
                )
        mapped: dict[str, str] = {}
        for prefix, target in self.path_map.items():
            if mapped.setdefault(in_one_form(prefix), _tidy(target)) != _tidy(target):
                raise ConfigurationError(f"The prefix {quoted(prefix)} in storage.path_map is mapped to two folders.")

    def __str__(self) -> str:
        mapped = [f"{shown(prefix)} mapped to {shown(target)}" for prefix, target in self.path_map.items()]
        return ", ".join([f"the root {shown(self.root)}" if self.root else "no root", *mapped])

    @cached_property
    def top(self) -> str:
        """The root in the form that paths are compared in, or empty: also where it is a bucket."""
        return _tidy(self.root) if self.root and not _is_address(self.root) else ""

    @cached_property
    def targets(self) -> dict[str, str]:
        """The path map in the form that paths are compared in, the longest prefix first."""
        given = {"": self.root, **self.path_map} if _is_address(self.root) else self.path_map
        tidy = {in_one_form(prefix): _tidy(target) for prefix, target in given.items()}
        return {prefix: tidy[prefix] for prefix in sorted(tidy, key=len, reverse=True)}

    @cached_property
    def _has_buckets(self) -> bool:
        return any(map(_is_address, self.targets.values()))

    @cached_property
    def heads(self) -> set[str]:
        """The folders that prefixes of the path map stand in."""
        return {prefix.rpartition("/")[0] for prefix in self.targets}

    def resolve(self, file_path: str | None) -> str | Look:
        """The path to look at for a row's `file_path`, or why there is none."""
        found = self.locate(file_path)
        return found if isinstance(found, Look) else _join(found[0].folder, found[1])

    def locate(self, file_path: str | None) -> tuple[Place, str] | Look:
        """The folder and the name in it to look for, for a row's `file_path`, or why there is none."""
        if not file_path or says_nothing(file_path[:LONGEST]):
            return unverifiable("the row has no file_path, or none in UTF-8")
        if len(file_path) > LONGEST:
            return unverifiable(f"{os.strerror(errno.ENAMETOOLONG)} (ENAMETOOLONG)")
        if address := self._address(file_path):
            return address if isinstance(address, Look) else keys.located(address)
        head, name = split(file_path)
        is_folder = name in ("", ".", "..")
        is_absolute = bool(head) and is_folder and not head.startswith("/") and may_be_absolute(head)
        if is_folder:
            head, name = split(in_one_form(file_path))
            if name in ("", ".."):  # the root, or the top of all folders, or what is above it
                head, name = f"{head}{name or '.'}/", "."
        if is_absolute or (not head and may_be_absolute(name)):
            return _ABSOLUTE
        if (path := in_one_form(file_path)) in self.targets:
            return self._below(self.targets[path]), "."
        place = self.place(head)
        return place if isinstance(place, Look) else (place, name)

    def place(self, head: str) -> Place | Look:
        """Where the folder `head` of a ``file_path`` is (with its last slash; empty: no folder), or why nowhere."""
        if address := self._address(head):
            return address if isinstance(address, Look) else keys.place(address)
        if (scheme := _SCHEME.match(head)) and not head.startswith("/"):
            return unverifiable(f"no storage here serves {scheme[1]}:// addresses")
        return self._absolute(in_one_form(head)) if head.startswith("/") else self._relative(head)

    def _relative(self, head: str) -> Place | Look:
        if prefix := self._is_like_a_key(head):
            return _not_within(prefix)
        if not self.root:
            return unverifiable("the path is relative and no storage root is configured")
        if head and may_be_absolute(head):
            return _ABSOLUTE
        inside = in_one_form(head)
        if inside == ".." or inside.startswith("../"):
            return unverifiable(f"the path climbs out of {shown(self.root)}")
        return self._below(_join(self.top, inside))

    def _address(self, path: str) -> str | Look | None:
        """The address of the object that `path` means, if it means one. Behind a prefix, a key is taken literally."""
        if path.startswith(S3):
            return path
        if not self._has_buckets or (path and not path.startswith("/") and may_be_absolute(path)):
            return None
        clean = in_one_form(path)
        prefix = next((each for each in self.targets if _is_mapped(clean, each)), None)
        if prefix is None or not _is_address(self.targets[prefix]):
            return None
        if not _is_mapped(path, prefix):
            return unverifiable(f"the path isn't written as keys below {quoted(prefix)} are")
        rest = path[len(prefix.rstrip("/")) + 1 :] if prefix else path
        bucket = keys.parts(self.targets[prefix])[0]
        if prefix in ("", "/") and rest.partition("/")[0].lower() == bucket.lower():
            return unverifiable(f"the path may begin with the bucket, {quoted(bucket)}, or with a prefix of its name")
        return f"{self.targets[prefix]}/{rest}"

    def _is_like_a_key(self, path: str) -> str:
        """A prefix that is mapped to a bucket, and is how `path` may begin that isn't mapped there."""
        mapped = (prefix for prefix, target in self.targets.items() if _is_address(target) and prefix not in ("", "/"))
        return next((prefix for prefix in mapped if _is_like_one_within(path, prefix)), "")

    def _absolute(self, path: str) -> Place | Look:
        for prefix, target in self.targets.items():
            if _is_mapped(path, prefix):
                return self._below(_join(target, path[len(prefix) :]))
        if prefix := self._is_like_a_key(path):
            return _not_within(prefix)
        place = self._below(path)
        if not place.area.covered:
            for configured in filter(None, (self.top, *self.targets)):
                if _is_like_one_within(path, configured):
                    return _not_within(configured)
        return place

    @property
    def tops(self) -> list[str]:
        """The configured folders: the root, and where the path map leads."""
        return [top for top in (self.top, *self.targets.values()) if top and not _is_address(top)]

    def tops_within(self, folder: str) -> list[str]:
        """The configured folders below `folder`, whose files aren't those of its area."""
        return [top for top in self.tops if top != folder and _is_within(top, folder)]

    def _below(self, path: str) -> Place:
        """The place of a folder on this machine, by the deepest of what is configured that it is in."""
        top = max((top for top in self.tops if _is_within(path, top)), key=len, default="")
        if top and top != self.top:
            return Place(path, top, Area(top))
        rest = path[len(top) :].lstrip("/")
        first = rest.partition("/")[0]
        area = Area(_join(top or "/", first), directly=not first, covered=bool(top))
        return Place(path, top or "/", area)

    def reveal_in(self, bucket: str) -> None:
        """What leads to `bucket`, which is there, is no secret."""
        for target in filter(lambda each: _is_within(each, bucket), self.targets.values()):
            reveal(target)

    def as_written(self, file_path: str) -> str:
        """The path on this machine of a `file_path` whose ``..`` are left to the system; empty if nobody can tell."""
        if not file_path.startswith("/"):
            return _join(self.top, file_path)
        path, clean = _tidy(file_path), in_one_form(file_path)
        for prefix, target in self.targets.items():
            if _is_mapped(path, prefix):
                return _join(target, path[len(prefix) :])
        return "" if any(_is_mapped(clean, prefix) for prefix in self.targets) else path

    def names_of(self, path: str) -> list[str]:
        """The values of ``file_path`` by which a row may mean the file at `path`."""
        meant = [name for name in self._names(path) if self.resolve(name) == path]
        if not _is_address(path):
            meant += [f"./{name}" for name in meant if not name.startswith("/")]
        if not path.isascii():
            meant += [unicodedata.normalize(form, name) for form in ("NFC", "NFD") for name in meant]
        return meant

    def prefixes_of(self, folder: str) -> list[str]:
        """What the ``file_path`` of a row may begin with that names a file below `folder`, on this machine."""
        found = [_slashed(name) if name else "" for name in self._names(folder)]
        if _is_address(folder):  # taken literally; and areas there don't end where something is mapped to
            found += [_slashed(name) if name else "" for name, top in self.targets.items() if _is_within(top, folder)]
        else:
            found += [f"./{name}" for name in found if not name.startswith("/")]
        return list(dict.fromkeys(found))

    def _names(self, path: str) -> Iterator[str]:
        yield path
        for prefix, folder in (("", self.top), *self.targets.items()):
            if folder and _is_within(path, folder):
                rest = path[len(folder) :].lstrip("/")
                yield _join(prefix, rest) if prefix else rest


def _not_within(folder: str) -> Look:
    return unverifiable(f"the path is not within {quoted(folder)} as it stands, but may mean to be")


def _is_address(target: str) -> bool:
    return target.startswith(S3)


def _is_mapped(path: str, prefix: str) -> bool:
    """Whether `path` is below `prefix`; the empty one stands for all relative paths."""
    return _is_within(path, prefix) if prefix else not path.startswith("/")


def may_be_absolute(path: str) -> bool:
    """Whether a path without a slash in front may be meant as an absolute one."""
    is_ordinary = path[0].isalnum() and not any(character in path for character in ":%&")
    return not is_ordinary and is_absolute(path)


def _is_like_one_within(path: str, folder: str) -> bool:
    """Whether the way to `folder` is how `path` may begin that isn't within it."""
    try:
        parts = parts_of(folder)
        return parts == parts_of(path)[: len(parts)] != ()
    except ValueError:  # it leads above the top of all folders, whatever that means
        return True


def split(path: str) -> tuple[str, str]:
    """The folder, with its last slash, and the name in it."""
    at = path.rfind("/") + 1
    return path[:at], path[at:]


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(_slashed(folder))


def _join(folder: str, rest: str) -> str:
    rest = rest.strip("/")
    return f"{folder.rstrip('/')}/{rest}" if rest else folder.rstrip("/") or "/"


def _slashed(folder: str) -> str:
    return folder if folder.endswith("/") else f"{folder}/"


def _tidy(path: str) -> str:
    """An absolute path without what means nothing; ``..`` stays, since a link may stand before it."""
    if _is_address(path):
        return path.rstrip("/")
    return "/" + "/".join(part for part in path.split("/") if part not in ("", "."))


def in_one_form(path: str) -> str:
    """A path of a row without ``//``, ``/./`` and ``x/..``; what climbs out of where it starts keeps its ``..``."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part not in ("", ".") and not (part == ".." and path.startswith("/")):
            parts.append(part)
    return ("/" if path.startswith("/") else "") + "/".join(parts)
