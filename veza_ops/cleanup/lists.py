"""The list of the tracks that nobody could look for: it is kept once, however many hours it stays the same."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import dagster as dg

from veza_ops.errors import ConfigurationError
from veza_ops.evidence import UNVERIFIABLE, Evidence, digest

_LOOKED_THROUGH = 10


@dataclass(frozen=True)
class KeptList:
    """Which run's evidence holds a list, and what stands for its contents."""

    run_id: str = ""
    digest: str = ""
    place: str = ""

    @property
    def told(self) -> dict[str, Any]:
        """What the tracks asset is told of it, so that the next run knows."""
        if not self.digest:
            return {}
        return {
            "unverifiable_list": dg.MetadataValue.path(self.place),
            "unverifiable_list_run": self.run_id,
            "unverifiable_list_digest": self.digest,
        }


def earlier_lists(told: Iterable[Mapping[str, Any]]) -> Iterator[KeptList]:
    """The last lists that runs have `told` of, each once: a dry run of other tracks, or ten of them, hide no list."""
    lists = ((each.get("unverifiable_list_run"), each.get("unverifiable_list_digest")) for each in told)
    some = (KeptList(run, of_list) for run, of_list in lists if isinstance(run, str) and isinstance(of_list, str))
    return islice(dict.fromkeys(some), _LOOKED_THROUGH)


def keep_once(records: Evidence, of_list: int, earlier: Iterable[KeptList]) -> KeptList:
    """Keep the list that the run has just written, unless an `earlier` one is the same and still there.

    `of_list` stands for its contents; 0 for no list. Raises ConfigurationError.
    """
    own = records.files(UNVERIFIABLE)
    if not of_list or not own:
        return KeptList()
    told = f"{of_list:x}"
    for each in earlier:
        place = replace(records, run_id=each.run_id)
        if each.digest == told and each.run_id != records.run_id and place.is_of_a_run and _holds(place, of_list):
            records.drop(*own)
            return KeptList(each.run_id, told, str(place.of_run))
    return KeptList(records.run_id, told, str(records.of_run))


def _holds(records: Evidence, of_list: int) -> bool:
    """Whether the whole list is there to be read, and nothing else."""
    try:
        rows = (row for path in records.files(UNVERIFIABLE) for row in records.rows(path))
        return digest(rows) == of_list
    except ConfigurationError:  # the run has a list of its own, which it can keep
        return False
