"""Which runs are old, and how one is forgotten for good: Dagster itself prunes nothing but ticks."""

import os
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import dagster as dg

from veza_ops.evidence import Evidence
from veza_ops.runs import CHECKS_JOB, FINISHED, LABEL, OURS, is_ours


def old_runs(instance: dg.DagsterInstance, label: str | None, before: datetime, limit: int) -> Iterator[dg.RunRecord]:
    """At most `limit` of our runs that had finished `before`, oldest first.

    `label` names the code location; None leaves those that were started from the command line.
    """
    here = {LABEL: label} if label else {}
    searches = [dg.RunsFilter(statuses=FINISHED, tags=here | OURS, updated_before=before)]
    if label:
        searches += [
            dg.RunsFilter(statuses=FINISHED, tags=here, job_name=CHECKS_JOB, updated_before=before),
            dg.RunsFilter(statuses=FINISHED, tags=OURS, updated_before=before),
        ]
    for old in searches:
        for record in instance.get_run_records(old, limit=limit, order_by="update_timestamp", ascending=True):
            if limit and is_ours(record.dagster_run, label):
                limit -= 1
                yield record


def forget(instance: dg.DagsterInstance, run_id: str, evidence: Evidence) -> int:
    """Remove a finished run with all that it left: outputs, evidence, logs, events; the bytes that were on this disk.

    The run itself goes last, so that one whose files can't be removed is found again. Raises OSError for that.
    """
    outputs = Path(instance.storage_directory()) / run_id
    freed = _size(outputs)
    evidence.remove()
    instance.compute_log_manager.delete_logs(prefix=[run_id])
    if outputs.is_dir():
        shutil.rmtree(outputs)
    instance.delete_run(run_id)
    # With storage in SQLite, Dagster leaves the run's own file of events behind, without an event in it.
    for events in Path(instance.root_directory, "history", "runs").glob(f"{run_id}.db*"):
        freed += events.stat().st_size
        events.unlink()
    return freed


def _size(folder: Path) -> int:
    return sum(os.lstat(Path(where) / name).st_size for where, _, names in os.walk(folder) for name in names)
