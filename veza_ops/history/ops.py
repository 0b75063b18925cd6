"""The step that forgets old runs, so that history doesn't grow for ever."""

import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import dagster as dg

from veza_ops.history.removal import forget, old_runs
from veza_ops.resources import EvidenceStore, History
from veza_ops.runs import Location
from veza_ops.steps import plain_failures
from veza_ops.text import shown


@dg.op(tags={"kind": "dagster"})
def remove_old_runs(context: dg.OpExecutionContext, history: History, evidence: EvidenceStore) -> dict[str, int]:
    """Remove our finished runs of this code location that are older than `keep_days`, oldest first.

    Runs of other jobs, of other code locations, and unfinished ones are never touched. The output is how many were
    removed, by job.
    """
    with plain_failures(context):
        history.require_right()
    if not history.keep_days:
        context.log.info("history.keep_days is 0: every run is kept")
        return {}
    with plain_failures(context):
        evidence.require()
    began = time.monotonic()
    before = datetime.now(UTC) - timedelta(days=history.keep_days)
    removed: Counter[str] = Counter()
    freed, kept = 0, []
    for record in old_runs(context.instance, Location.of_run(context.run), before, history.max_runs):
        run = record.dagster_run
        try:
            freed += forget(context.instance, run.run_id, evidence.of_run(run.run_id, context.instance))
        except OSError as error:
            kept.append(shown(f"{run.run_id}: {error.strerror or error}"))
            if isinstance(error, TimeoutError):  # the others would be waited for as long
                break
            continue
        removed[run.job_name] += 1
    context.log.info("%d runs removed that had finished before %s", removed.total(), before.isoformat(" ", "seconds"))
    context.add_output_metadata(
        {
            "removed": removed.total(),
            **{f"removed_{job}": count for job, count in removed.items()},
            "freed_bytes": freed,
            "finished_before": before.isoformat(" ", "seconds"),
            "seconds": round(time.monotonic() - began, 3),
        }
    )
    if kept:
        raise dg.Failure(
            description=f"{len(kept)} old runs couldn't be removed, the first: {kept[0]}. {removed.total()} were. Give "
            "this process the right to delete in Dagster's storage and in evidence.folder."
        )
    return dict(removed)
