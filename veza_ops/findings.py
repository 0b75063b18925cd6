"""A question about the library and its answer in plain words, and how an asset check is told of it.

Here are the questions that belong to no single job; each job's own stand in its `asset`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from veza_ops.errors import StorageNotProvenError
from veza_ops.storage.proof import EVERYWHERE, Proof
from veza_ops.text import shown

TRACKS = dg.AssetKey("tracks")
TRACK_FILES = dg.AssetKey("track_files")
"""What the questions are about: Veza's tracks table, and the files of its tracks."""

STORAGE_PROVEN = dg.AssetCheckSpec(
    "storage_proven",
    asset=TRACKS,
    description="The files seen from here are those that the database describes: the newest playable tracks have "
    "theirs, in each area of the storage that has stale tracks. A warning: some weren't seen. An error: tracks of the "
    "areas that it names are left alone. An hour without stale tracks needs no proof, and leaves this as it was.",
)

MAX_ORPHANS = "max_orphans"
"""What the metadata of a step calls the limit by which it failed."""

RECHECK = "recheck"
"""What an observation calls the run that was looked at again: such a one belongs to no round, and tells of a part."""

PROVEN, REFUSED = "proven", "refused"
"""What the check's metadata calls the areas of the storage: those that were proven, and those that weren't."""


@dataclass(frozen=True)
class Finding:
    """One question about the library, and the answer."""

    check: dg.AssetCheckSpec
    healthy: bool
    says: str
    certain: bool = True
    """False for an answer that asks to be watched rather than acted on at once."""
    numbers: dict[str, int] = field(default_factory=dict)
    areas: dict[str, frozenset[str]] = field(default_factory=dict)
    """Where in the storage what is said holds, and where it doesn't."""

    @property
    def told(self) -> dict[str, Any]:
        """The answer in the words of Dagster's events."""
        return {
            "asset_key": self.check.asset_key,
            "check_name": self.check.name,
            "passed": self.healthy,
            "description": self.says,
            "severity": dg.AssetCheckSeverity.ERROR if self.certain else dg.AssetCheckSeverity.WARN,
            "metadata": {
                **self.numbers,
                **{name: dg.MetadataValue.json(sorted(areas)) for name, areas in self.areas.items()},
            },
        }


def of_proof(proof: Proof) -> Finding:
    """What a proof says that wasn't refused as a whole."""
    words = str(proof)
    return Finding(
        STORAGE_PROVEN,
        healthy=proof.sampled > 0 and proof.seen == proof.sampled and not (proof.refused or proof.left),
        says=f"{words[0].upper()}{words[1:]}.",
        certain=bool(proof.refused),
        numbers={"sampled": proof.sampled, "seen": proof.seen, "refused_areas": proof.refused_areas},
        areas={PROVEN: proof.areas_proven, REFUSED: proof.areas_refused},
    )


def of_refusal(error: StorageNotProvenError) -> Finding:
    """What a proof that was refused says."""
    areas = {REFUSED: error.areas or frozenset({EVERYWHERE})}
    return Finding(STORAGE_PROVEN, healthy=False, says=shown(str(error)), areas=areas)


def unanswered(reason: str, *checks: dg.AssetCheckSpec) -> Iterator[Finding]:
    """Questions left open for `reason`: nobody may take them for a yes."""
    return (Finding(check, healthy=False, says=reason, certain=False) for check in checks)


def some_tracks(number: int) -> str:
    """A number of tracks in words."""
    return "1 track" if number == 1 else f"{number} tracks"


def report(context: dg.OpExecutionContext, finding: Finding) -> None:
    """Tell the check of a finding while a job runs. It stays told if the step fails afterwards."""
    event = dg.AssetCheckEvaluation(**finding.told)
    context.log_event(event)  # type: ignore[arg-type]  # it takes every user event, more than its annotation names


def asked_for(context: dg.AssetCheckExecutionContext, findings: Iterable[Finding]) -> Iterator[dg.AssetCheckResult]:
    """Those of `findings` that somebody asked for, as the results of their checks."""
    keys = context.selected_asset_check_keys
    return (dg.AssetCheckResult(**each.told) for each in findings if each.check.key in keys)
