"""The cleanup's wiring: its steps in their order, and the clock."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg

from veza_ops.cleanup.config import SETTLE_SECONDS, unattended
from veza_ops.cleanup.ops import check_files, report_cleanup
from veza_ops.resources import Database
from veza_ops.runs import OURS, UNFINISHED, WRITES_TRACKS, WRITING, WRONG_SETTING, Location
from veza_ops.steps import NOT_CONFIGURED

JOB = "cleanup_orphan_tracks"
EVERY_HOUR = "0 * * * *"

STUCK_AFTER = timedelta(days=1)
"""A run that has been unfinished for longer has died without a word, and no cleanup waits for it any more.

Run monitoring finds such a run out much earlier; this is for an instance that has it switched off.
"""


def cleanup_graph(find: dg.OpDefinition, mark: dg.OpDefinition, wrong: Iterable[str] = ()) -> dg.GraphDefinition:
    """The graph, whose first step and writing step may have other defaults in another code location.

    `wrong` says what is wrong with the variables that set these: no run gets beyond it.
    """

    @dg.graph(
        name=JOB,
        description="Find tracks that are stuck in processing, look for their files, and mark those failed that have "
        "none.",
        tags={**OURS, **WRITING, **({WRONG_SETTING: says} if (says := " ".join(wrong)) else {})},
    )
    def cleanup_orphan_tracks() -> None:
        """Find stale tracks, check their files batch by batch, mark the orphans failed."""
        found, batches = find()
        report_cleanup(found, batches.map(check_files).map(mark).collect())

    return cleanup_orphan_tracks


def cleanup_schedule(
    job: dg.JobDefinition, *, cron: str = EVERY_HOUR, on: bool = True, settle_seconds: int = SETTLE_SECONDS
) -> dg.ScheduleDefinition:
    """The schedule of `job`, the cleanup; `on` unless somebody switches it."""

    def cleanup_orphan_tracks_hourly(
        context: dg.ScheduleEvaluationContext, database: Database
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        """One cleanup an hour, and none on top of another.

        After downtime there is one for all the hours missed: Dagster makes up for each only if a schedule has
        partitions.
        """
        if not database.is_configured:
            yield dg.SkipReason(NOT_CONFIGURED)
        elif busy := _under_way(context.instance, Location.of_schedule(context), job.tags.get(WRITES_TRACKS)):
            yield dg.SkipReason(f"Run {busy.run_id} of the same job is still queued or running.")
        else:
            yield dg.RunRequest(run_config=unattended(settle_seconds))

    return dg.schedule(
        job=job,
        cron_schedule=cron,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING if on else dg.DefaultScheduleStatus.STOPPED,
        description=f"Cleans up {'every hour' if cron == EVERY_HOUR else 'by the clock'}. Skips while no database is "
        "configured or another cleanup is under way.",
    )(cleanup_orphan_tracks_hourly)


def _under_way(instance: dg.DagsterInstance, here: Location, table: str | None) -> dg.DagsterRun | None:
    """A cleanup of the same table that hasn't finished, if there is one; a neighbour's, as far as known, is none."""
    unfinished = dg.RunsFilter(job_name=JOB, statuses=UNFINISHED, created_after=datetime.now(UTC) - STUCK_AFTER)
    same_table = (run for run in instance.get_runs(unfinished) if run.tags.get(WRITES_TRACKS) == table)
    return next((run for run in same_table if here.label is None or here.has(run)), None)
