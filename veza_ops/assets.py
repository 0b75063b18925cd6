"""What the runs watch over, so that its history can be seen: the tracks table as an asset, and whether it is well."""

from typing import Any

import dagster as dg

from veza_ops.health import (
    NO_FILE_MISSING,
    NO_FILE_UNNAMED,
    NO_FILE_UNVERIFIABLE,
    NO_ORPHAN_LEFT,
    NOTHING_UNVERIFIABLE,
    STORAGE_PROVEN,
    Finding,
)

TRACKS = dg.AssetSpec(
    "tracks",
    description="Veza's tracks table. Every cleanup observes it: how many tracks were stale, and what became of them. "
    "Plots shows the counts over time, Checks whether the library is healthy.",
    group_name="veza",
    owners=["team:veza-ops"],
    kinds={"postgres"},
    tags={"domain": "tracks"},
)

TRACK_FILES = dg.AssetSpec(
    "track_files",
    deps=[TRACKS.key],
    description="The files of Veza's tracks. Every audit observes them: how many of the playable tracks have theirs, "
    "and which files no track names.",
    group_name="veza",
    owners=["team:veza-ops"],
    kinds={"file"},
    tags={"domain": "tracks"},
)

CHECKS = [
    dg.AssetCheckSpec(
        NO_ORPHAN_LEFT,
        asset=TRACKS.key,
        description="After a cleanup, no track is stuck in processing with its file missing.",
    ),
    dg.AssetCheckSpec(
        NOTHING_UNVERIFIABLE,
        asset=TRACKS.key,
        description="For each track that is stuck in processing, somebody could look whether its file is there.",
    ),
    dg.AssetCheckSpec(
        STORAGE_PROVEN,
        asset=TRACKS.key,
        description="The files seen from here are those that the database describes: of the newest playable tracks, "
        "most have theirs. An hour without stale tracks needs no proof, and leaves this as it was.",
    ),
]

AUDIT_CHECKS = [
    dg.AssetCheckSpec(
        NO_FILE_MISSING, asset=TRACK_FILES.key, description="Every playable track that was looked at has its file."
    ),
    dg.AssetCheckSpec(
        NO_FILE_UNVERIFIABLE,
        asset=TRACK_FILES.key,
        description="For every playable track, somebody could look whether its file is there.",
    ),
    dg.AssetCheckSpec(
        NO_FILE_UNNAMED,
        asset=TRACK_FILES.key,
        description="Every file in the storage is named by a track. Others take up disk, or belong to something else: "
        "nothing is ever removed.",
    ),
]

_ASSET_OF = {check.name: check.asset_key for check in (*CHECKS, *AUDIT_CHECKS)}


def report(context: dg.OpExecutionContext, finding: Finding) -> None:
    """Tell the asset's checks of a finding. It stays told if the step fails afterwards."""
    event = dg.AssetCheckEvaluation(asset_key=_ASSET_OF[finding.check], check_name=finding.check, **_said(finding))
    context.log_event(event)  # type: ignore[arg-type]  # it takes every user event, more than its annotation names


def result(finding: Finding) -> dg.AssetCheckResult:
    """A finding as the result of a check that was asked for."""
    return dg.AssetCheckResult(asset_key=_ASSET_OF[finding.check], check_name=finding.check, **_said(finding))


def _said(finding: Finding) -> dict[str, Any]:
    return {
        "passed": finding.healthy,
        "description": finding.says,
        "severity": dg.AssetCheckSeverity.ERROR if finding.certain else dg.AssetCheckSeverity.WARN,
        "metadata": finding.numbers,
    }
