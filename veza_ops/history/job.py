"""The wiring of the job that forgets old runs: its step, and the clock."""

import dagster as dg

from veza_ops.history.ops import remove_old_runs
from veza_ops.runs import OURS


@dg.graph(
    description="Remove this code location's finished runs that are older than history.keep_days, with their "
    "stored outputs, evidence and logs. A run that is removed can't be undone by its run id any more.",
    tags=OURS,
)
def prune_history() -> None:
    """Remove old runs."""
    remove_old_runs()


def prune_schedule(job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """The schedule of `job`."""
    return dg.ScheduleDefinition(
        name="prune_history_daily",
        job=job,
        cron_schedule="30 3 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Removes runs every night that finished more than history.keep_days ago.",
    )
