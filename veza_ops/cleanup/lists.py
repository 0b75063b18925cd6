"""The list of the tracks that nobody could look for: it is kept once, however many hours it stays the same."""

from dataclasses import dataclass
from typing import Any

import dagster as dg

from veza_ops.evidence import UNVERIFIABLE, Evidence
from veza_ops.findings import TRACKS


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


def last_list(instance: dg.DagsterInstance) -> KeptList:
    """The list of the last run, if it had one. Whatever else an observation says makes none."""
    records = instance.fetch_observations(TRACKS, limit=1).records
    observation = records[0].asset_observation if records else None
    if observation is None:
        return KeptList()
    names = ("unverifiable_list_run", "unverifiable_list_digest")
    run_id, digest = (getattr(observation.metadata.get(name), "value", None) for name in names)
    return KeptList(run_id, digest) if isinstance(run_id, str) and isinstance(digest, str) else KeptList()


def keep_once(records: Evidence, digest: int, last: KeptList) -> KeptList:
    """Keep the list that the run has just written, unless the `last` one is the same and still there.

    `digest` stands for its contents; 0 for no list. Raises ConfigurationError.
    """
    if not digest:
        return KeptList()
    told = f"{digest:x}"
    earlier = Evidence(records.folder, last.run_id)
    if last.digest == told and last.run_id != records.run_id and earlier.is_of_a_run and earlier.files(UNVERIFIABLE):
        records.drop(*records.files(UNVERIFIABLE))
        return KeptList(last.run_id, told, str(earlier.of_run))
    return KeptList(records.run_id, told, str(records.of_run))
