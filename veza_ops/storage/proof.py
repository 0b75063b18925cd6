"""The proof that this is the storage that the database speaks of, by the files of tracks known to be good.

A witness is the file of a playable track, a regular file, seen now. What it proves is the area that it is in, and there
the file system that its name is on. A whole, all that is below the root and the targets of ``path_map``, speaks for the
areas in it that have no playable track of their own.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple, Self

from veza_ops.errors import StorageNotProvenError
from veza_ops.storage.backend import Regular
from veza_ops.storage.layout import Layout
from veza_ops.storage.look import Area, Device, Gone
from veza_ops.text import shown

NAMED = 20
"""So many refused areas are named; there may be thousands."""
EVERYWHERE = "*"
"""Stands for all areas, where it isn't known of which something is said. No path is that."""
_KEPT = 1_000
"""So many proven ones are remembered."""


class Known(NamedTuple):
    """A playable track."""

    file_path: str
    status: str


@dataclass(frozen=True)
class Sample:
    """Tracks whose files prove the storage: the newest playable ones, of the whole and of areas."""

    size: int = 0
    """How many of each; 0 goes without proof."""
    whole: tuple[Known, ...] = ()
    areas: Mapping[Area, tuple[Known, ...]] = field(default_factory=dict)
    """Of the areas that were asked for: empty where there is none."""
    some: Mapping[Area, tuple[Known, ...]] = field(default_factory=dict)
    """Of areas that weren't: fewer than there may be."""
    folders: frozenset[str] = frozenset()
    """If that is all there is: the folders below which playable tracks have their files."""
    is_tidy: bool = True
    """Whether the newest tracks' paths are all written in one form."""
    is_all: bool = True
    """Whether there is no other playable track in the whole table."""
    may_hide: bool = False
    """Whether row-level security may hide rows."""

    @property
    def in_full(self) -> dict[Area, tuple[Known, ...]]:
        """Those of areas that are no smaller for being among many: of `size` tracks, or of none, as there is none."""
        return {area: own for area, own in self.areas.items() if len(own) in (0, self.size)}

    @property
    def on_trust(self) -> bool:
        """Whether there is nothing at all to prove the storage with, and nothing speaks against it."""
        return not (self.size and (self.whole or any(self.areas.values()) or not self.is_all or self.may_hide))


@dataclass(frozen=True)
class Standing:
    """What the witnesses of one area, or of the whole, come to."""

    sampled: int = 0
    seen: int = 0
    devices: frozenset[Device] = frozenset()
    """The file systems, or buckets, that witnesses' names are on."""
    unseen: str = ""
    """Why the first of those that weren't seen wasn't."""
    statuses: tuple[str, ...] = ()
    """Which statuses those have."""
    refused: str = ""
    """Why nothing is proven whatever was seen: the folder itself can't be used."""

    @classmethod
    def of(cls, found: Iterable[tuple[Known, Regular | str]], *, refused: str = "") -> Self:
        """The sum of the looks at a sample."""
        files: set[tuple[Device, int | str]] = set()
        devices: set[Device] = set()
        unseen: list[str] = []
        statuses: dict[str, int] = {}
        for known, regular in found:
            if isinstance(regular, Regular):
                files.add(regular.file)
                devices.add(regular.device)
            else:
                unseen.append(regular)
                statuses[known.status] = statuses.get(known.status, 0) + 1
        most_first = sorted(statuses, key=lambda status: -statuses[status])
        return cls(
            len(files) + len(unseen),
            len(files),
            frozenset(devices),
            next(iter(unseen), ""),
            tuple(most_first),
            refused,
        )

    @property
    def is_proven(self) -> bool:
        """Whether nearly all of the sample was seen: one in ten may be lost, never half."""
        unseen = self.sampled - self.seen
        return not self.refused and unseen <= max(1, self.sampled // 10) and unseen * 2 < self.sampled

    def and_later(self, other: "Standing") -> "Standing":
        """What holds at both of two times."""
        worse = min(self, other, key=lambda standing: (standing.is_proven, standing.seen))
        return replace(worse, devices=self.devices & other.devices)

    def __str__(self) -> str:
        if self.refused:
            return self.refused
        statuses = f", status {' or '.join(map(repr, self.statuses[:3]))}" if self.statuses else ""
        first = f" (the first: {self.unseen}{statuses})" if self.unseen else ""
        return f"the files of only {self.seen} of the {self.sampled} newest playable tracks can be seen{first}"


@dataclass(frozen=True)
class Witnesses:
    """What was seen at one time, or at each of several."""

    sample: Sample
    whole: Standing
    areas: Mapping[Area, Standing]
    sampled: int
    seen: int
    """Of all of them together."""
    buckets: Mapping[Area, Standing] = field(default_factory=dict)
    """Those that areas are in."""

    def and_later(self, other: "Witnesses") -> "Witnesses":
        """What holds at both of two times."""
        return Witnesses(
            self.sample,
            self.whole.and_later(other.whole),
            {area: standing.and_later(other.areas[area]) for area, standing in self.areas.items()},
            max(self.sampled, other.sampled),
            min(self.seen, other.seen),
            {bucket: standing.and_later(other.buckets[bucket]) for bucket, standing in self.buckets.items()},
        )

    def why_not(self, gone: Gone) -> str:
        """Why a file that isn't there can't be called missing, or nothing."""
        area, nearest = gone.area, gone.nearest
        if why := self._why_refused(area) or self._why_unproven(area):
            return f"nothing proves {area}: {why}"
        if not self.sample.size or self.sample.on_trust:
            return ""
        own = self.areas[area]
        if not own.sampled and nearest.is_empty and nearest.path == area.folder:
            return (
                f"{area} is empty: it may be the place of a disk that isn't mounted. Any file in it, even an empty "
                "one, says that it isn't"
            )
        devices = own.devices if own.sampled else self._bucket_of(area).devices or self._devices
        if nearest.device not in devices:
            return f"{shown(nearest.path)} is on a file system where no file of a playable track was seen"
        return ""

    def proof(self, doubts: Mapping[Gone, str] | None = None) -> "Proof":
        """What this comes to, for the page and the check, where files are gone that there are `doubts` about."""
        refused = {str(area): why for area in self.areas if (why := self._why_refused(area))}
        proven = [str(area) for area in self.areas if str(area) not in refused and not self._why_unproven(area)]
        left = {str(gone.area): why for gone, why in (doubts or {}).items() if why}
        left = {area: why for area, why in left.items() if area not in refused}
        is_open = bool(self.sample.size) and not self.sample.on_trust and not self.whole.is_proven
        if proven and not self.whole.sampled and not self.sample.may_hide:
            is_open = False  # all playable tracks are in areas of their own: there is no whole to prove
        return Proof(
            self.sampled,
            self.seen,
            frozenset(proven[:_KEPT]),
            dict(list(refused.items())[:NAMED]),
            len(refused),
            self._whole_refused if is_open else "",
            dict(list(left.items())[:NAMED]),
        )

    def _why_refused(self, area: Area) -> str:
        """Why `area` isn't what the database describes."""
        own = self.areas[area]
        if not own.sampled and not own.refused:
            own = self._bucket_of(area)
        if own.refused or (own.sampled and not own.is_proven):
            return str(own)
        if own.sampled or not area.covered or not self.sample.size or self.sample.on_trust:
            return ""
        return "" if self.whole.is_proven and not self.sample.may_hide else self._whole_refused

    def _why_unproven(self, area: Area) -> str:
        """Why nothing follows for `area`, though nothing is wrong with it."""
        if area.covered or not self.sample.size or self.areas[area].sampled or self._bucket_of(area).sampled:
            return ""
        if area.bucket:
            return f"no playable track has its file in {area.bucket}"
        return "it is neither below the storage root nor in storage.path_map, and no playable track has its file there"

    def _bucket_of(self, area: Area) -> Standing:
        """What the witnesses of the bucket come to that `area` is in; nothing where it is in none."""
        return self.buckets.get(area.bucket, Standing()) if area.bucket else Standing()

    @cached_property
    def _whole_refused(self) -> str:
        if self.sample.may_hide:
            return (
                "row-level security may hide the playable tracks from this role (or the view that is read leaves them "
                "out), so there is nothing to prove the storage with; let the role see all of them"
            )
        if self.whole.sampled or self.whole.refused:
            return str(self.whole)
        return "no playable track has its file below the storage root or in storage.path_map"

    @cached_property
    def _devices(self) -> frozenset[Device]:
        """Where witnesses were seen at all."""
        return self.whole.devices.union(*(each.devices for each in self.areas.values() if each.is_proven))


@dataclass(frozen=True)
class Proof:
    """What the witnesses of a run, or of a part of it, come to."""

    sampled: int
    """How many files of known-good tracks were looked for."""
    seen: int
    """How many of them were seen, each time."""
    proven: frozenset[str] = frozenset()
    """The areas in which a missing file may be called missing: some of them."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """The areas that aren't what the database describes, and why: the first of them."""
    refused_areas: int = 0
    whole: str = ""
    """Why the whole isn't proven, if it isn't."""
    left: Mapping[str, str] = field(default_factory=dict)
    """Areas whose tracks were left alone in part or altogether, though nothing is wrong with them, and why."""

    def __str__(self) -> str:
        if not self.sampled and not self.refused and not self.whole:
            return "storage taken on trust: there is no sample of playable tracks to prove it with"
        if self.is_refused and not self.refused:
            return f"storage not proven: {self.whole}"
        seen = f"the files of {self.seen} of the {self.sampled} newest playable tracks are there"
        if not self.refused:
            return f"storage proven: {seen}" + (f". Left alone: {self._reasons}" if self.left else "")
        return f"storage {'only proven in part' if self.proven else 'not proven'}: {seen}. Left alone: {self._reasons}"

    def and_later(self, other: "Proof") -> "Proof":
        """What holds of one part of a run after its first and its second look."""
        return replace(self | other, proven=other.proven - self.refused.keys())

    def __or__(self, other: "Proof") -> "Proof":
        """Of two parts of a run, what was proven throughout, and what either was refused."""
        sampled = max(self.sampled, other.sampled)
        unseen = max(self.sampled - self.seen, other.sampled - other.seen)
        refused = {**self.refused, **other.refused}
        return Proof(
            sampled,
            sampled - unseen,
            frozenset(sorted((self.proven | other.proven) - refused.keys())[:_KEPT]),
            dict(list(refused.items())[:NAMED]),
            max(len(refused), self.refused_areas, other.refused_areas),
            self.whole or other.whole,
            dict(list({**self.left, **other.left}.items())[:NAMED]),
        )

    @property
    def is_refused(self) -> bool:
        """Whether nothing at all was proven, and something was refused."""
        return not self.proven and bool(self.refused or self.whole)

    @property
    def areas_proven(self) -> frozenset[str]:
        """Where witnesses were seen, not merely taken on trust: EVERYWHERE is among it if they prove the whole."""
        if not self.seen:
            return frozenset()
        proven = self.proven - self.left.keys()
        return proven if self.refused or self.whole else proven | {EVERYWHERE}

    @property
    def areas_refused(self) -> frozenset[str]:
        """Where not: EVERYWHERE is among it if the whole isn't proven, or if not all areas have a name.

        Where no witness at all was seen, the root itself may be wrong, and the areas in it with it.
        """
        if not self.refused and not self.is_refused:
            return frozenset()
        named = frozenset(self.refused) if self.seen and self.refused_areas <= len(self.refused) else frozenset()
        return named | {EVERYWHERE} if self.whole or not named else named

    def require(self, layout: Layout) -> None:
        """Raises StorageNotProvenError when nothing at all was proven."""
        if self.is_refused:
            why = self.whole if set(self.refused.values()) <= {self.whole} else self._reasons
            raise StorageNotProvenError(
                f"This storage is not the one that the database describes: with {layout}, {why}. On such storage "
                "nothing is changed. Check that the disk is mounted here, or the AWS_* variables are those of the "
                "bucket, and that VEZA_STORAGE_ROOT and storage.path_map say where. Statuses of tracks that keep no "
                "file belong into database.not_playable; storage.sample_size: 0 goes without proof.",
                self.areas_refused,
            )

    @property
    def _reasons(self) -> str:
        """The refused areas, those of one reason together."""
        by_reason: dict[str, list[str]] = {}
        for area, why in (*self.refused.items(), *self.left.items()):
            by_reason.setdefault(why, []).append(area)
        reasons = [f"in {', '.join(areas)}, {why}" for why, areas in by_reason.items()]
        more = self.refused_areas - len(self.refused)
        return "; ".join([*reasons, *([f"and in {more} more"] if more else [])])
