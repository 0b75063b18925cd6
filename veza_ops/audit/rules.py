"""The audit: is the file of every playable track there, and does a track name every file? Nothing is changed.

One round over all playable tracks may take several runs: each goes on after the track that the one before ended with.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from veza_ops.looks import Looking, Looks
from veza_ops.storage.files import Files
from veza_ops.storage.walk import Stored
from veza_ops.tracks.row import Track


@dataclass(frozen=True)
class Round:
    """What a round over all playable tracks has come to so far."""

    audited: int = 0
    present: int = 0
    missing: int = 0
    unverifiable: int = 0
    after: str = ""
    """The id of the track that the next run goes on after; empty once all are done that aren't in buckets."""
    after_key: str = ""
    """The address that the next run goes on after in buckets; empty once these are done."""

    def with_page(self, looks: Looks, after: str) -> "Round":
        """This round with the looks at one more page of tracks, the last of which is `after`."""
        present, missing, unverifiable = map(len, (looks.present, looks.missing, looks.unverifiable))
        return Round(
            self.audited + present + missing + unverifiable,
            self.present + present,
            self.missing + missing,
            self.unverifiable + unverifiable,
            after,
            self.after_key,
        )

    @property
    def is_complete(self) -> bool:
        """Whether the next run begins a new one."""
        return not self.after and not self.after_key

    def and_buckets(self, other: "Round") -> "Round":
        """This round with what `other` has found in buckets."""
        return replace(
            self,
            audited=self.audited + other.audited,
            present=self.present + other.present,
            missing=self.missing + other.missing,
            unverifiable=self.unverifiable + other.unverifiable,
            after_key=other.after_key,
        )


@dataclass(frozen=True)
class Unnamed:
    """The files that no track names: kept for nobody, or for something else than tracks."""

    walked: int = 0
    unnamed: int = 0
    unnamed_bytes: int = 0
    unread_folders: int = 0
    cut_short: bool = False

    def with_files(self, walked: int, unnamed: Sequence[Stored], unread: int) -> "Unnamed":
        """This count with what `walked` more steps came to."""
        return replace(
            self,
            walked=self.walked + walked,
            unnamed=self.unnamed + len(unnamed),
            unnamed_bytes=self.unnamed_bytes + sum(file.size for file in unnamed),
            unread_folders=self.unread_folders + unread,
        )

    def __add__(self, other: "Unnamed") -> "Unnamed":
        """The files here and there."""
        return Unnamed(
            self.walked + other.walked,
            self.unnamed + other.unnamed,
            self.unnamed_bytes + other.unnamed_bytes,
            self.unread_folders + other.unread_folders,
            self.cut_short or other.cut_short,
        )


@dataclass(frozen=True)
class Incomplete:
    """Uploads in parts that nobody has completed: a bucket keeps the parts, and they cost money."""

    incomplete_uploads: int = 0
    uploads_untold: str = ""
    """Why there may be more, if there may."""


def look_at(looking: Looking, tracks: Sequence[Track], again: Callable[[list[str]], list[Track]]) -> Looks:
    """Look for the file of each of `tracks`, the storage proven before and after.

    What is missing is read `again` by its ids and looked for once more: a track that was moved or deleted meanwhile
    has nothing to answer for.
    """
    looks = looking.at(tracks)
    if not looks.missing:
        return looks
    second = looking.at(again([track.id for track, _ in looks.missing]), again=True)
    return Looks(
        [*looks.present, *second.present],
        second.missing,
        looks.unverifiable + second.unverifiable,
        looks.proof.and_later(second.proof),
    )


def unnamed_of(files: Files, stored: Sequence[Stored], named: Callable[[list[str]], set[str]]) -> list[Stored]:
    """Those of `stored` that no track names, where `named` says which of many values of ``file_path`` a track has."""
    names = {file.path: files.layout.names_of(file.path) for file in stored}
    taken = named([name for each in names.values() for name in each if _is_text(name)])
    return [file for file in stored if taken.isdisjoint(names[file.path])]


def _is_text(name: str) -> bool:
    """Whether a row can have this name at all: what isn't UTF-8 on disk can't be in the database."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
