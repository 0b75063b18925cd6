"""Where a row's file is as seen from this machine: from ``file_path`` to the path to look at."""

import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field

from veza_ops.errors import ConfigurationError
from veza_ops.storage.look import Look, unverifiable

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


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
            return unverifiable("the row has no file_path")
        if "://" in file_path and (scheme := _SCHEME.match(file_path)):
            return unverifiable(f"no storage here serves {scheme[1]}:// addresses")
        if not file_path.startswith("/"):
            if file_path.lstrip().startswith("/"):
                return unverifiable("the path begins with white space, and is neither relative nor absolute")
            if not self.root:
                return unverifiable("the path is relative and no storage root is configured")
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
                return unverifiable(f"the path climbs out of {folder}")
    return f"{folder.rstrip('/')}/{relative.lstrip('/')}"
