"""What the alerts remember from one look to the next: how far they came, and of which trouble people know."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Self

from veza_ops.alerts.message import Ending, Kind
from veza_ops.cleanup.job import JOB
from veza_ops.runs import CHECKS_JOB
from veza_ops.storage.proof import EVERYWHERE

SAME_STORAGE = {JOB: CHECKS_JOB, CHECKS_JOB: JOB}
"""Who looks at the same storage: those who execute the checks do what the cleanup does, so one proves it for the other.

An audit looks at the areas of whichever tracks it came to, and proves them for itself alone.
"""

STUCK_TRACKS = "processing"
"""What tracks that are stuck with their file are trouble of, whichever run has seen them."""


@dataclass(frozen=True)
class Memory:
    """The cursor of the sensor."""

    upto: int | None = None
    """The event up to which all has been told."""
    told: Mapping[str, Kind] = field(default_factory=dict)
    """Which trouble people know of, by job."""
    unproven: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """The areas that weren't proven again since a job refused them: till they are, nobody is told that all is well."""
    tried: int | None = None
    """The event whose run couldn't be read, the first time."""
    summed: float | None = None
    """When the last summary was made, in seconds since the epoch; on the first day, what stands for that."""

    @classmethod
    def read(cls, cursor: str) -> Self:
        """Raises ValueError for a cursor that isn't one."""
        try:
            values: list[Any] = json.loads(cursor)
            upto, told, unproven, tried, summed = values + [{}, None, None][len(values) - 2 :]  # earlier versions' end
            if isinstance(unproven, list):  # as earlier versions wrote it: the jobs alone
                unproven = {job: [EVERYWHERE] for job in unproven}
            kinds = {str(job): Kind(kind) for job, kind in told.items()}
            areas = {job: frozenset(names) for job, names in unproven.items() if isinstance(names, list)}
        except (TypeError, AttributeError, RecursionError) as error:
            raise ValueError(str(error)) from None
        are_events = all(each is None or (type(each) is int and each >= 0) for each in (upto, tried))
        is_time = summed is None or (type(summed) in (int, float) and 0 <= summed < math.inf)
        are_names = all(isinstance(each, str) for each in (*areas, *chain.from_iterable(areas.values())))
        if not are_events or not is_time or not are_names or len(areas) < len(unproven):
            raise ValueError("events, jobs and areas are expected")
        return cls(upto, kinds, areas, tried, summed)

    def __str__(self) -> str:
        areas = {job: sorted(names) for job, names in self.unproven.items()}
        return json.dumps([self.upto, dict(self.told), areas, self.tried, self.summed])

    def after(self, job: str, ending: Ending) -> Self:
        """What is known once people were told how a run of `job` ended.

        Where the storage was refused, success alone says nothing: an hour may have had no need of it. What is proven
        of an area ends the trouble with that one only.
        """
        other = SAME_STORAGE.get(job, job)
        told = dict(self.told)
        if ending.stuck:
            told[STUCK_TRACKS] = Kind.STUCK
        elif ending.stuck is not None:
            told.pop(STUCK_TRACKS, None)
        unproven = {
            each: areas - ending.proven if each in (job, other) else areas for each, areas in self.unproven.items()
        }
        unproven[job] = unproven.get(job, frozenset()) | ending.refused
        unproven = {each: areas for each, areas in unproven.items() if areas}
        if ending.trouble:
            told[job] = ending.trouble.kind
        elif job not in unproven and not (ending.is_dry and told.get(job) is not Kind.STORAGE):
            told.pop(job, None)
        if other not in unproven and ending.proven and told.get(other) is Kind.STORAGE:
            del told[other]
        return replace(self, told=told, unproven=unproven)

    def knows(self, job: str, after: Self) -> bool:
        """Whether people know all that is to be known of `job` after a run: its kind of trouble, and the areas."""
        known = self.unproven.get(job, frozenset())
        is_same_disk = EVERYWHERE in known or after.unproven.get(job, frozenset()) <= known
        return self.told.get(job) == after.told.get(job) and is_same_disk

    def knowing(self, job: str, after: Self) -> Self:
        """The same with people told of `job` what is known after a run."""
        told = {each: kind for each, kind in self.told.items() if each != job}
        unproven = {each: areas for each, areas in self.unproven.items() if each != job}
        if kind := after.told.get(job):
            told[job] = kind
        if areas := after.unproven.get(job):
            unproven[job] = areas
        return replace(self, told=told, unproven=unproven)
