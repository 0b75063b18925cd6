"""How Dagster knows our runs from those of others: their tags, their code location, and where they stand."""

import dagster as dg

from veza_ops.findings import TRACK_FILES, TRACKS

OURS = {"team": "veza-ops", "domain": "tracks"}
"""Tags that every job and run of ours has, to filter by."""

WRITES_TRACKS = "veza_ops/writes_tracks"
"""Tag of the jobs that write to the tracks table; the queue lets one of them run at a time."""

WRITING = {WRITES_TRACKS: "true", "dagster/max_runtime": "2700"}
"""Such a run is ended after 45 minutes: one whose process was killed looks as if it ran, and holds up the next one."""

CHECKS = frozenset(
    dg.AssetCheckKey(asset, name)
    for asset, names in {
        TRACKS: ("no_orphan_left", "nothing_unverifiable", "storage_proven"),
        TRACK_FILES: ("no_file_missing", "no_file_unverifiable", "no_file_unnamed"),
    }.items()
    for name in names
)
"""Our checks: what a run that executes some of them, because somebody asked for it, is known by."""

CHECKS_JOB = "__ASSET_JOB"
"""What Dagster calls the job that executes checks which somebody asked for."""

LABEL = ".dagster/repository"
"""The tag by which Dagster's storage finds the runs of one code location."""

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


def label_of(run: dg.DagsterRun) -> str | None:
    """Where the run was started from, as ``repository@location``; None if it was from the command line."""
    origin = run.remote_job_origin
    return origin.repository_origin.get_label() if origin else None


def is_ours(run: dg.DagsterRun, label: str | None) -> bool:
    """Whether `run` is one of ours, and of the code location `label` or started from the command line.

    A code location may hold other people's jobs and checks beside ours. What has none of our tags is ours only if it
    executes checks of ours, and nothing else.
    """
    if (label_of(run) or label) != label:
        return False
    checks = run.asset_check_selection or set()
    return OURS.items() <= run.tags.items() or (bool(checks) and checks <= CHECKS and not run.asset_selection)
