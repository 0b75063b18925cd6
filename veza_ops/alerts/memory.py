"""What the alerts remember from one look to the next: how far they came, and of which trouble people know."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from veza_ops.alerts.message import Ending, Kind
from veza_ops.cleanup.job import JOB
from veza_ops.runs import CHECKS_JOB

SAME_STORAGE = {JOB: CHECKS_JOB, CHECKS_JOB: JOB}
"""Who looks at the same storage: those who execute the checks do what the cleanup does, so one proves it for the other.

An audit looks at the areas of whichever tracks it came to, and proves them for itself alone.
"""


@dataclass(frozen=True)
class Memory:
    """The cursor of the sensor."""

    upto: int | None = None
    """The event up to which all has been told."""
    told: Mapping[str, Kind] = field(default_factory=dict)
    """Which trouble people know of, by job."""
    unproven: frozenset[str] = frozenset()
    """Whose storage wasn't proven again since it was refused: of those, nobody is told that all is well."""

    @classmethod
    def read(cls, cursor: str) -> Self:
        """Raises ValueError for a cursor that isn't one."""
        try:
            upto, told, *others = json.loads(cursor)
            (unproven,) = others or ([],)
            kinds = {str(job): Kind(kind) for job, kind in told.items()}
        except (TypeError, AttributeError, RecursionError) as error:
            raise ValueError(str(error)) from None
        is_event = upto is None or (type(upto) is int and upto >= 0)
        if not is_event or not isinstance(unproven, list) or not all(isinstance(job, str) for job in unproven):
            raise ValueError("an event and jobs are expected")
        return cls(upto, kinds, frozenset(unproven))

    def __str__(self) -> str:
        return json.dumps([self.upto, dict(self.told), sorted(self.unproven)])

    def after(self, job: str, ending: Ending) -> Self:
        """What is known once people were told how a run of `job` ended.

        Where the storage was refused, success alone says nothing: an hour may have had no need of it.
        """
        told, unproven = dict(self.told), set(self.unproven)
        if ending.trouble:
            told[job] = ending.trouble.kind
        elif job not in unproven or ending.is_storage_good:
            told.pop(job, None)
        if ending.is_storage_good is not None:
            unproven.discard(job)
        if ending.is_storage_good is False:
            unproven.add(job)
        other = SAME_STORAGE.get(job, "")
        if ending.is_storage_good:
            unproven.discard(other)
            if told.get(other) is Kind.STORAGE:
                del told[other]
        return replace(self, told=told, unproven=frozenset(unproven))

    def knowing(self, job: str, kind: Kind | None) -> Self:
        """The same with people told of `job`."""
        others = {each: known for each, known in self.told.items() if each != job}
        return replace(self, told={**others, job: kind} if kind else others)
