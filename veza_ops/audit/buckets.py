"""The audit of buckets: what a store lists, compared with what rows name, both in one order and in flat memory.

A stretch of the table is read before the same stretch is listed, and what one of the two lacks is read once more
afterwards. So a track that is moved meanwhile isn't missing, and its file isn't nobody's. A key that isn't listed is
asked for by itself before its file is called missing.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import merge
from itertools import groupby
from types import MappingProxyType
from typing import NamedTuple

from veza_ops.audit.listing import Item, Listing
from veza_ops.audit.unnamed import unnamed_of
from veza_ops.bounds import Lookers
from veza_ops.errors import ConfigurationError
from veza_ops.looks import Looking, Looks, Transaction
from veza_ops.storage import keys
from veza_ops.storage.files import Files
from veza_ops.storage.layout import Layout
from veza_ops.storage.look import S3, Look
from veza_ops.storage.order import by_bytes, by_folder
from veza_ops.storage.proof import Proof
from veza_ops.storage.store import StoreError
from veza_ops.storage.walk import Stored
from veza_ops.text import quoted
from veza_ops.tracks.row import Judged, Named, Track

END = "\U0010ffff"
"""Sorts behind all keys of a bucket."""
_CANDIDATES = 5_000
"""Tracks whose keys weren't listed that are looked for together: each takes several requests."""
SKEW_SECONDS = 300.0
"""So far the store's clock may be from ours."""


class Part(NamedTuple):
    """What one stretch of a bucket came to."""

    place: str
    upto: str
    """The address that the stretch ends with."""
    looks: Looks
    walked: int = 0
    """The objects listed."""
    unnamed: Sequence[Stored] = ()
    unread: str = ""
    """Why the rest of it can't be compared, when that is found out."""
    is_incomparable: bool = False
    """Whether what was found to be unnamed there before isn't to be relied on."""
    sizes: Mapping[str, int] = MappingProxyType({})
    """Those of the listed objects that rows name, by address."""


Row = tuple[str, Named]
"""A row, by its key."""


def are_served() -> bool:
    """Whether there is an object store for us."""
    return not keys.why_not_served()


def elsewhere(layout: Layout, tracks: Sequence[Track]) -> list[Track]:
    """Those of `tracks` whose file is no object that can be asked for here: they are for the other audit."""
    has_targets = any(target.startswith(S3) for target in layout.targets.values())

    def is_here(file_path: str) -> bool:
        if not has_targets and not file_path.startswith(S3):
            return False
        found = layout.resolve(file_path)
        return not isinstance(found, Look) and found.startswith(S3)

    return [track for track in tracks if not is_here(track.file_path or "")]


def places_of(layout: Layout, named: Iterable[str], wanted: Sequence[str]) -> list[str]:
    """The buckets and prefixes where rows may have objects or that are `wanted`, in order, none within another."""
    targets = [target for target in layout.targets.values() if target.startswith(S3)]
    buckets = [address for bucket in named if not keys.why_no_bucket(address := S3 + bucket)]
    places: list[str] = []
    for place in sorted({*targets, *buckets, *wanted}, key=_slashed):
        if not any(_slashed(place).startswith(_slashed(each)) for each in places):
            places.append(place)
    return places


def wanted_of(buckets: Sequence[str]) -> list[str]:
    """What was given as buckets and prefixes. Raises ConfigurationError for anything else."""
    wanted = [each.strip().rstrip("/") for each in buckets]
    for each in wanted:
        prefix = keys.parts(each)[1] if each.startswith(S3) else ""
        if not each.startswith(S3) or keys.why_no_bucket(each) or (prefix and keys.why_not_literal(prefix)):
            raise ConfigurationError(
                "audit_buckets.buckets names what is no bucket here. Give s3://BUCKET or s3://BUCKET/PREFIX, without a "
                "login, where an object store is set up."
            )
    return wanted


@dataclass
class Buckets:
    """How a step compares buckets with the table."""

    looking: Looking
    database: Transaction
    page_size: int = 10_000
    wanted: Sequence[str] = ()
    """Where files that no track names are told of; everywhere, if there is none."""
    proof: Proof = field(default_factory=lambda: Proof(0, 0))

    @property
    def _files(self) -> Files:
        return self.looking.files

    def parts(self, places: Iterable[str], after: str = "") -> Iterator[Part]:
        """Compare `places` stretch by stretch, from behind the address `after` on."""
        for place in places:
            is_in = after.startswith(_slashed(place)) and after != _slashed(place) + END
            if is_in or _slashed(place) > after:
                yield from _Place(self, place).parts(keys.parts(after)[1] if is_in else "")

    def look_for(self, tracks: Sequence[Track]) -> Looks:
        """Look for single files, the storage proven before and after."""
        looks = self.looking.at(tracks, again=True)
        self.proof |= looks.proof
        return looks

    def again(self, ids: list[str]) -> list[Track]:
        """The playable tracks with these ids as they are now."""
        with self.database() as tracks:
            return tracks.of_ids(tracks.playable(), ids)

    def is_wanted(self, address: str) -> bool:
        """Whether a file there may be told of as unnamed."""
        return not self.wanted or any(address.startswith(_slashed(each)) for each in self.wanted)

    def names(self, file_paths: list[str]) -> set[str]:
        """Those of `file_paths` that a row has now, in any state."""
        with self.database() as tracks:
            return tracks.named(file_paths)

    def are_there(self, addresses: Iterable[str]) -> set[str]:
        """Those of some objects that are there now."""
        return {address for address, modified in self._times(addresses) if modified is not None}

    def are_old(self, addresses: Iterable[str], moment: float) -> bool:
        """Whether one of some objects was there long before a `moment`, in seconds since the epoch."""
        times = (modified for _, modified in self._times(addresses))
        return any(modified is not None and modified < moment - SKEW_SECONDS for modified in times)

    def _times(self, addresses: Iterable[str]) -> list[tuple[str, float | None]]:
        lookers = Lookers(self._files.max_threads, self._files.look_timeout_seconds)
        return lookers.run(lambda address, _: self._modified(address), list(addresses))

    def _modified(self, address: str) -> float | None:
        try:
            return self._files.objects.modified(address)
        except StoreError:
            return None


class Group(NamedTuple):
    """The rows that name one key."""

    key: str
    rows: list[Named]

    @property
    def playable(self) -> list[Track]:
        """Those whose file has to be there."""
        return [row.track for row in self.rows if row.is_playable]


@dataclass
class _Stretch:
    """What is to be looked at again of some rows and keys."""

    present: list[Track] = field(default_factory=list)
    unlisted: list[Track] = field(default_factory=list)
    empty: set[str] = field(default_factory=set)
    """Addresses that were listed without content."""
    unnamed: list[Item] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    walked: int = 0


class _Place:
    """A bucket, or a prefix in one, while it is compared with the table."""

    def __init__(self, audit: Buckets, place: str) -> None:
        self._audit, self._place = audit, place
        self._layout = audit.looking.files.layout
        self._bucket, self._prefix = keys.parts(_slashed(place))
        self._sorted_by: Callable[[str], str] = by_bytes
        self._upto = ""
        self._is_proven = False

    def parts(self, after: str) -> Iterator[Part]:
        """Stretch by stretch, from behind the key `after` on."""
        self._upto, why = after, ""
        listing = Listing(self._audit.looking.files, self._place, after)
        try:
            self._sorted_by = listing.order()
        except StoreError as error:
            why = str(error)
            yield self._part(Looks([], (), ()), unread=why)
        for groups, upto in self._windows(after):
            for part in () if why else self._compared(listing, groups, upto):
                yield part
                why = why or part.unread
            if why:  # those that aren't looked at yet
                left = [track for group in groups for track in group.playable]
                self._prove(left)
                self._upto = self._end if upto is None else upto
                yield self._part(Looks([], (), tuple(Judged(track, why) for track in left)))

    def _compared(self, listing: Listing, groups: deque[Group], upto: str | None) -> Iterator[Part]:
        """Compare `groups` with what is listed up to a key, and take them away as far as that came."""
        items, stretch = listing.upto(upto), _Stretch()
        try:
            for item in items:
                self._take(stretch, groups, item)
                # However little there is to be told: whoever takes the part may have no more time.
                if stretch.walked >= self._audit.page_size or len(stretch.unlisted) >= _CANDIDATES:
                    part = self._judged(stretch, listing)
                    stretch = _Stretch()
                    yield part
                    if part.unread:
                        return
        except StoreError as error:
            yield self._judged(stretch, listing)._replace(unread=str(error))
            return
        while groups:
            self._take_unlisted(stretch, groups)
        self._upto = self._end if upto is None else upto
        yield self._judged(stretch, listing)

    def _take(self, stretch: _Stretch, groups: deque[Group], item: Item) -> None:
        """Take an item, and the rows that come before it and with it."""
        while groups and self._sorted_by(groups[0].key) < self._sorted_by(item.key):
            self._take_unlisted(stretch, groups)
        stretch.walked += 1
        address = self._address(item.key)
        if groups and groups[0].key == item.key:
            stretch.sizes[address] = item.size
            if item.size:
                stretch.present += groups.popleft().playable
            else:  # it may be the mark of a folder: whether it is the object itself, a look tells
                stretch.empty.add(address)
                self._take_unlisted(stretch, groups)
        elif not item.is_mark and self._audit.is_wanted(address):
            stretch.unnamed.append(item)
        self._upto = item.key

    def _take_unlisted(self, stretch: _Stretch, groups: deque[Group]) -> None:
        group = groups.popleft()
        stretch.unlisted += group.playable
        self._upto = group.key

    def _judged(self, stretch: _Stretch, listing: Listing) -> Part:
        """Look again at what the listing or the rows lacked."""
        resolve = self._layout.resolve
        named = {(track.id, resolve(track.file_path)) for track in stretch.unlisted}
        again = self._audit.again([track.id for track in stretch.unlisted]) if named else []
        second = [track for track in again if (track.id, resolve(track.file_path)) in named]
        looks = self._audit.look_for(second) if second else Looks([], (), ())
        seen = {str(resolve(track.file_path)) for track in looks.present} - stretch.empty
        if self._audit.are_old(seen, listing.began):
            why = f"the listing of {quoted(self._place)} leaves out objects that are there, so nothing follows from it"
            left = tuple(Judged(track, why) for track in (*stretch.present, *second))
            return self._part(Looks([], (), left), unread=why, is_incomparable=True)
        self._prove(stretch.present)
        looks = Looks([*stretch.present, *looks.present], looks.missing, looks.unverifiable)
        return self._part(looks, stretch.walked, self._unnamed(stretch.unnamed))._replace(sizes=stretch.sizes)

    def _prove(self, tracks: Sequence[Track]) -> None:
        """Have the proof say whether this is the bucket that the database describes."""
        if tracks and not self._is_proven:
            self._audit.look_for(tracks[:1])
            self._is_proven = True

    def _part(
        self,
        looks: Looks,
        walked: int = 0,
        unnamed: Sequence[Stored] = (),
        *,
        unread: str = "",
        is_incomparable: bool = False,
    ) -> Part:
        return Part(self._place, self._address(self._upto), looks, walked, unnamed, unread, is_incomparable)

    @property
    def _end(self) -> str:
        return self._prefix + END

    def _unnamed(self, items: Sequence[Item]) -> list[Stored]:
        """Those of some listed objects that no row names, neither before the listing nor after it."""
        if not items:
            return []
        stored = [Stored(self._address(item.key), item.size, modified=item.modified) for item in items]
        found = unnamed_of(self._audit.looking.files, stored, self._audit.names)
        early = {self._address(item.key) for item in items if item.is_early}
        # Of these, the first reading of the table came after the listing: a file that was moved in between is gone.
        gone = early - self._audit.are_there(each.path for each in found if each.path in early)
        return [each for each in found if each.path not in gone]

    def _windows(self, after: str) -> Iterator[tuple[deque[Group], str | None]]:
        """The rows in the order of the listing, about a page of them at a time, and the key that these go up to."""
        window: deque[Group] = deque()
        size = 0
        for key, rows in groupby(self._rows(after), key=lambda row: row[0]):
            each = list({row.track.place: row for _, row in rows}.values())  # two mappings may mean the same
            window.append(Group(key, each))
            size += len(each)
            if size >= self._audit.page_size:
                yield window, key
                window, size = deque(), 0
        yield window, None

    def _rows(self, after: str) -> Iterator[Row]:
        """The rows of all spellings of addresses here, in the order of keys, read page by page."""
        targets = self._layout.targets
        streams = []
        for name in self._layout.prefixes_of(self._place):
            folder = name if name in ("", "/") else name.removesuffix("/")
            address = folder if name.startswith(S3) else targets[folder]
            streams.append(self._stream(name, keys.parts(_slashed(address))[1], after))
        return merge(*streams, key=lambda row: self._sorted_by(row[0]))

    def _stream(self, name: str, prefix: str, after: str) -> Iterator[Row]:
        """The rows whose path begins with `name`, which stands for the `prefix` of keys."""
        last: Named | str | None = None
        if after.startswith(prefix):
            last = name + after[len(prefix) :]
        elif self._sorted_by(after) > self._sorted_by(prefix):
            return
        while True:
            with self._audit.database() as tracks:
                rows = tracks.below(
                    name, after=last, size=self._audit.page_size, by_folder=self._sorted_by is by_folder
                )
            for row in rows:
                key = prefix + (row.track.file_path or "")[len(name) :]
                if self._layout.resolve(row.track.file_path) == self._address(key):
                    yield key, row
            if len(rows) < self._audit.page_size:
                return
            last = rows[-1]

    def _address(self, key: str) -> str:
        return f"{S3}{self._bucket}/{key}"


def _slashed(place: str) -> str:
    return f"{place}/"
