"""Veza's files as a job sees them: look at many, prove that they are the right ones, walk through them."""

import math
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from veza_ops.bounds import Beat, Lookers
from veza_ops.errors import StorageNotProvenError
from veza_ops.storage import disk
from veza_ops.storage.backend import Backend, Measure, Regular
from veza_ops.storage.layout import Layout
from veza_ops.storage.look import PRESENT, S3, Area, Look, Verdict, unverifiable
from veza_ops.storage.objects import Objects
from veza_ops.storage.proof import Known, Sample, Standing, Witnesses
from veza_ops.storage.rows import Named, Rows, by_folder
from veza_ops.storage.search import Search
from veza_ops.storage.walk import Stored, walk
from veza_ops.text import all_shown, quoted, reveal, shown

AN_HOUR = 3600.0

_MEASURED_AT_ONCE = 256
"""Files that a thread measures one after the other."""


@dataclass(frozen=True)
class Files:
    """Veza's files as seen from this machine: where they are, and how patiently they are looked for."""

    layout: Layout
    max_threads: int = 32
    look_timeout_seconds: float = 30.0

    @cached_property
    def objects(self) -> Objects:
        """Those of them that are in buckets."""
        return Objects(self.max_threads, self.look_timeout_seconds)

    def backend(self, path: str) -> Backend:
        """What a path, as this machine sees it, is on."""
        return self.objects if path.startswith(S3) else disk

    @property
    def _lookers(self) -> Lookers:
        return Lookers(self.max_threads, self.look_timeout_seconds)

    def look(self, file_paths: Iterable[str | None]) -> list[Look]:
        """Look for the files of many rows, as `search` does; each look with its whole reason."""
        paths = [path or "" for path in file_paths]
        looks = self.search(paths)
        reasons = whole_reasons(looks, paths)
        return [look._replace(reason=reason) for look, reason in zip(looks, reasons, strict=True)]

    def rows(self, file_paths: Iterable[str | None]) -> Rows:
        """The paths of rows, by the folders that they are in."""
        return Rows(self.layout, [path or "" for path in file_paths])

    def search(
        self,
        file_paths: Rows | Iterable[str | None],
        *,
        recent_seconds: float = AN_HOUR,
        asks_again: bool = False,
        singly: set[str] | None = None,
        seconds: dict[str, float] | None = None,
    ) -> list[Look]:
        """Look for the files of many rows, folder by folder; the looks in the same order.

        An unfinished upload that was written to within `recent_seconds` is under way. With `asks_again` the system is
        asked for the very path too of what a folder doesn't hold. `singly` names the folders that are too large or too
        slow to be read, and `seconds` how long folders took; both are added to. All files that are missing from a
        folder share one look (`whole_reasons`).
        """
        rows = file_paths if isinstance(file_paths, Rows) else self.rows(file_paths)
        search = Search(self._lookers, self.backend, recent_seconds, asks_again)
        search.singly = search.singly if singly is None else singly
        search.seconds = search.seconds if seconds is None else seconds
        search.look_for(list(rows.folders.values()))
        looks = rows.looks()
        if rows.have_dots:
            self._follow_dots(rows.paths, looks)
        return looks

    def prove(self, sample: Sample, areas: Iterable[Area] = (), silent: set[Area] | None = None) -> Witnesses:
        """Look for the witnesses of `sample`: those of the whole, and of each of `areas`.

        `silent` names the areas that gave no answer in time, which aren't asked again, and is added to.
        """
        silent = set() if silent is None else silent
        wanted = list(dict.fromkeys(areas))
        buckets = list(dict.fromkeys(area.bucket for area in wanted if area.bucket))
        refused = self._refused(wanted, buckets)
        sampled = (each for area in (*wanted, *buckets) for each in sample.areas.get(area, ()))
        found = self._look_for(dict.fromkeys([*sample.whole, *sampled]), silent, refused)

        def standing(area: Area) -> Standing:
            own = ((known, found[known]) for known in sample.areas.get(area, ()))
            return Standing.of(own, refused=refused.get(area, ""))

        total = Standing.of(found.items())
        return Witnesses(
            sample,
            Standing.of((known, found[known]) for known in sample.whole),
            {area: standing(area) for area in wanted},
            total.sampled,
            total.seen,
            {bucket: standing(bucket) for bucket in buckets},
        )

    def _refused(self, areas: Sequence[Area], buckets: Sequence[Area]) -> dict[Area, str]:
        """Those of `areas` and `buckets` where nothing follows from what is seen, and why."""
        listed = self._lookers.run(lambda bucket, _: self.objects.why_unusable(bucket.folder), buckets)
        refused = {bucket: why for bucket, found in listed if (why := self._no_answer if found is None else found)}
        for bucket, found in listed:
            if found is None:
                self.objects.given_up(bucket.folder)
        for bucket in set(buckets) - refused.keys():
            self.layout.reveal_in(bucket.folder)
        targets = set(self.layout.targets.values())
        tops = {area: area.folder if area.folder in targets else self.layout.top for area in areas if area.covered}
        unusable = self._unusable({top for top in tops.values() if top})
        refused |= {area: unusable[top] for area, top in tops.items() if top in unusable}
        return refused | {area: refused[area.bucket] for area in areas if area.bucket in refused}

    def _look_for(
        self, sampled: Iterable[Known], silent: set[Area], refused: Mapping[Area, str]
    ) -> dict[Known, Regular | str]:
        """The files of some tracks, or why they aren't seen; nothing is asked of buckets that are `refused`."""
        found: dict[Known, Regular | str] = {}
        groups: dict[Area, list[tuple[Known, str]]] = {}
        for known in sampled:
            located = self.layout.locate(known.file_path)
            if isinstance(located, Look):
                found[known] = located.reason
            elif (bucket := located[0].area.bucket) and bucket in refused:
                found[known] = refused[bucket]
            else:
                place, name = located
                groups.setdefault(place.area, []).append((known, f"{place.folder}/{name}"))
        asked = [(area, group) for area, group in groups.items() if area not in silent]
        found.update((known, self._no_answer) for area in silent & groups.keys() for known, _ in groups[area])
        for (area, group), results in self._lookers.run(self._witnesses, asked):
            if results is None:
                silent.add(area)
            found.update(results or {known: self._no_answer for known, _ in group})
        return found

    def _witnesses(self, task: tuple[Area, Sequence[tuple[Known, str]]], beat: Beat) -> dict[Known, Regular | str]:
        """Those of one area, one after the other, so that a disk that hangs costs one thread."""
        found: dict[Known, Regular | str] = {}
        for known, path in task[1]:
            beat()
            found[known] = self.backend(path).regular(path)
        return found

    def why_not_regular(self, file_paths: Sequence[str | None]) -> list[str]:
        """For each row, why no regular file is its file now; empty where one is."""
        places = [self.layout.locate(path or "") for path in file_paths]
        whys = [place.reason if isinstance(place, Look) else "" for place in places]
        tasks = [
            (number, f"{place[0].folder}/{place[1]}")
            for number, place in enumerate(places)
            if not isinstance(place, Look)
        ]
        for (number, _), found in self._lookers.run(lambda task, _: self.backend(task[1]).regular(task[1]), tasks):
            whys[number] = found if isinstance(found, str) else "" if found else self._no_answer
        return whys

    def measure(self, paths: Iterable[str]) -> dict[str, Measure]:
        """How large files are and how old, by their path as this machine sees it; without those nobody can tell of."""
        every = list(dict.fromkeys(paths))
        return {path: each for path, each in zip(every, self._measured(by_folder(None, every)), strict=True) if each}

    def unsure(self, paths: Sequence[str]) -> list[str]:
        """Those of some paths of which nobody can say whether anything is there."""
        looks = self._lookers.run(lambda path, _: (self.backend(path).answer(path),), paths)
        return [path for path, look in looks if look is None or (look[0] and look[0].verdict is Verdict.UNVERIFIABLE)]

    def measure_rows(self, file_paths: Iterable[str | None], within: float = math.inf) -> list[Measure | None]:
        """The same for the files of rows, in their order; None where nobody can tell.

        What isn't asked for `within` so many seconds isn't asked for at all.
        """
        return self._measured(by_folder(self.layout, [path or "" for path in file_paths]), within)

    def _measured(self, folders: Sequence[Named], within: float = math.inf) -> list[Measure | None]:
        until = time.monotonic() + within

        def ask(part: tuple[str, Sequence[str], Sequence[int]], beat: Beat) -> list[Measure | None]:
            folder, names, _ = part

            def in_time() -> None:
                beat()
                if time.monotonic() > until:
                    raise TimeoutError

            return self.backend(folder).measures(folder or "/", names, in_time)

        parts = [
            (folder, names[at : at + _MEASURED_AT_ONCE], numbers[at : at + _MEASURED_AT_ONCE])
            for folder, names, numbers in folders
            for at in range(0, len(names), _MEASURED_AT_ONCE)
        ]
        measures: list[Measure | None] = [None] * sum(len(numbers) for _, _, numbers in parts)
        for (_, _, numbers), found in self._lookers.run(
            ask, parts, lambda part: self.backend(part[0]).given_up(part[0])
        ):
            for number, each in zip(numbers, found or (), strict=False):
                measures[number] = each
        return measures

    def walk(self, folders: Sequence[str]) -> Iterator[Stored]:
        """The files in `folders` of the root, and where ``path_map`` leads to, one by one, in no order.

        However many there are, only the way down to the present one is held in memory. Links aren't followed.
        """
        root = [f"{self.layout.root}/{folder}" for folder in folders] if self.layout.top else []
        mapped = [target for target in self.layout.path_map.values() if not target.startswith(S3)]
        return walk([*root, *mapped], self.look_timeout_seconds)

    def require_root(self) -> None:
        """Raises StorageNotProvenError when a root is configured but isn't a folder that can be looked into."""
        for why in self._unusable({self.layout.top} if self.layout.top else ()).values():
            raise StorageNotProvenError(f"{why}. Without it nothing is changed.")

    def _unusable(self, tops: Iterable[str]) -> dict[str, str]:
        """Those of the configured folders that can't be looked into, and why."""
        found = {}
        # A look at "root/." is ENOTDIR for a file, and has the same time-out as any other look.
        for top, look in self._lookers.run(lambda top, _: disk.look(f"{top.rstrip('/')}/."), sorted(tops)):
            if look is None or look.verdict is not Verdict.PRESENT:
                is_missing = look is not None and look.verdict is Verdict.MISSING
                reason = "there is no such folder" if is_missing else look.reason if look else self._no_answer
                found[top] = (
                    f"the storage root {shown(top)} can't be used: {reason}. Mount the disk, or set VEZA_STORAGE_ROOT "
                    "(or storage.root) to the folder that holds Veza's files"
                    if top == self.layout.top
                    else f"the folder {shown(top)} of storage.path_map can't be used: {reason}"
                )
            else:
                reveal(top)
        return found

    def _follow_dots(self, paths: Sequence[str], looks: list[Look]) -> None:
        """``x/..`` is where ``x`` is, unless ``x`` is a link: then the system may know a file where we know of none."""
        dotted = []
        for number, path in enumerate(paths):
            if _UP.search(path) and looks[number].verdict is Verdict.MISSING:
                if written := self.layout.as_written(path):
                    dotted.append((number, written))
                else:
                    looks[number] = unverifiable(f"{quoted(path)} leads elsewhere as written, and nobody knows where")
        for (number, path), way in self._lookers.run(lambda task, _: _way_up(task[1]), dotted):
            if way is None or any(look.verdict is Verdict.UNVERIFIABLE for look in way) or way[-1] == PRESENT:
                looks[number] = unverifiable(f"{quoted(path)} leads elsewhere as written, and something may be there")

    @property
    def _no_answer(self) -> str:
        return f"storage gave no answer within {self.look_timeout_seconds:g} s"


def whole_reasons(looks: Iterable[Look], file_paths: Sequence[str]) -> list[str]:
    """The reasons of looks, of which the files that are missing from a folder share one, for each of their paths."""
    names = all_shown([path.rpartition("/")[2] for path in file_paths])
    return [look.reason + name if look.gone else look.reason for look, name in zip(looks, names, strict=True)]


_UP = re.compile(r"(?:^|/)\.\.(?=/|$)")


def _way_up(path: str) -> list[Look]:
    """The looks at what stands before each ``..`` of a path, and at the path itself."""
    return [*(disk.look(path[: up.start()]) for up in _UP.finditer(path) if up.start()), disk.look(path)]
