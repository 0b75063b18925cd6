"""What runs by the clock."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg

from veza_ops.jobs import audit_track_files, cleanup_orphan_tracks, prune_history
from veza_ops.ops import NOT_CONFIGURED
from veza_ops.resources import Database

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]

STUCK_AFTER = timedelta(days=1)
"""A run that has been unfinished for longer has died without a word, and no cleanup waits for it any more.

Run monitoring finds such a run out much earlier; this is for an instance that has it switched off.
"""


@dg.schedule(
    job=cleanup_orphan_tracks,
    cron_schedule="0 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Cleans up every hour. Skips while no database is configured or another cleanup is under way.",
)
def cleanup_orphan_tracks_hourly(
    context: dg.ScheduleEvaluationContext, database: Database
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """One cleanup an hour, and none on top of another.

    After downtime there is one for all the hours missed: Dagster makes up for each only if a schedule has partitions.
    """
    if not database.is_configured:
        yield dg.SkipReason(NOT_CONFIGURED)
    elif busy := context.instance.get_runs(
        dg.RunsFilter(
            job_name=cleanup_orphan_tracks.name, statuses=UNFINISHED, created_after=datetime.now(UTC) - STUCK_AFTER
        ),
        limit=1,
    ):
        yield dg.SkipReason(f"Run {busy[0].run_id} of the same job is still queued or running.")
    else:
        yield dg.RunRequest()


prune_history_daily = dg.ScheduleDefinition(
    name="prune_history_daily",
    job=prune_history,
    cron_schedule="30 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Removes runs every night that finished more than history.keep_days ago.",
)

audit_track_files_weekly = dg.ScheduleDefinition(
    name="audit_track_files_weekly",
    job=audit_track_files,
    cron_schedule="0 4 * * 0",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Audits the files every Sunday, once it is switched on: a look at every file is work for the storage.",
)
