"""The jobs: which steps, in which order."""

import dagster as dg

from veza_ops.audit_ops import audit_files, find_unnamed_files, report_audit
from veza_ops.executors import chosen_in_run_config
from veza_ops.ops import check_files, find_stale_tracks, mark_orphans_failed, report_cleanup
from veza_ops.retention import remove_old_runs
from veza_ops.runs import OURS
from veza_ops.undo_ops import find_marked_tracks, report_restore, restore_tracks

WRITES_TRACKS = "veza_ops/writes_tracks"
"""Tag of the jobs that write to the tracks table; the queue lets one of them run at a time."""

WRITING = {WRITES_TRACKS: "true", "dagster/max_runtime": "2700"}
"""Such a run is ended after 45 minutes: one whose process was killed looks as if it ran, and holds up the next one."""


@dg.job(
    description="Find tracks that are stuck in processing, look for their files, and mark those failed that have none.",
    executor_def=chosen_in_run_config,
    tags={**OURS, **WRITING},
)
def cleanup_orphan_tracks() -> None:
    """Find stale tracks, check their files batch by batch, mark the orphans failed."""
    found, batches = find_stale_tracks()
    report_cleanup(found, batches.map(check_files).map(mark_orphans_failed).collect())


@dg.job(
    description="Undo a cleanup, by hand only: put tracks that it marked failed back to processing where the file is "
    "there. A dry run unless restore_tracks.dry_run is set to false; with find_marked_tracks.run_id, only that run's.",
    executor_def=chosen_in_run_config,
    tags={**OURS, **WRITING},
)
def restore_orphan_tracks() -> None:
    """Find marked tracks, restore those whose file is there."""
    report_restore(find_marked_tracks().map(restore_tracks).collect())


@dg.job(
    description="Look for the file of every playable track, and for files that no track names. Changes nothing: a role "
    "that may only read will do. What one run leaves, the next goes on with.",
    executor_def=chosen_in_run_config,
    tags=OURS,
)
def audit_track_files() -> None:
    """Audit the files, walk through the storage, report."""
    report_audit(audit_files(), find_unnamed_files())


@dg.job(
    description="Remove this code location's finished runs that are older than history.keep_days, with their stored "
    "outputs, evidence and logs. A run that is removed can't be undone by its run id any more.",
    executor_def=chosen_in_run_config,
    tags=OURS,
)
def prune_history() -> None:
    """Remove old runs."""
    remove_old_runs()
