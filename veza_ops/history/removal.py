"""Which runs are old, and how one is forgotten for good: Dagster itself prunes nothing but ticks."""

import os
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import dagster as dg

from veza_ops.evidence import Evidence
from veza_ops.runs import CHECKS_JOB, FINISHED, LABEL, OURS, is_ours

PAGE = 500
"""Runs that are read at a time where ours stand among others."""


def old_runs(instance: dg.DagsterInstance, label: str | None, before: datetime, limit: int) -> list[dg.RunRecord]:
    """At most `limit` of our runs that had finished `before`: those of jobs first, and of each kind the oldest first.

    `label` names the code location; None leaves those that were started from the command line.
    """
    ours: dict[str, dg.RunRecord] = {}
    for record in _old_runs_of_all(instance, label, before, limit):
        if len(ours) == limit:
            break
        if is_ours(record.dagster_run, label):
            ours[record.dagster_run.run_id] = record
    return list(ours.values())


def _old_runs_of_all(
    instance: dg.DagsterInstance, label: str | None, before: datetime, limit: int
) -> Iterator[dg.RunRecord]:
    for tags in (*([{LABEL: label, **OURS}] if label else []), OURS):
        old = dg.RunsFilter(statuses=FINISHED, tags=tags, updated_before=before)
        yield from instance.get_run_records(old, limit=limit, order_by="update_timestamp", ascending=True)
    if not label:
        return
    # No tag tells our checks from other people's assets and checks, of which there may be any number.
    checks = dg.RunsFilter(statuses=FINISHED, tags={LABEL: label}, job_name=CHECKS_JOB, updated_before=before)
    cursor: str | None = None
    while page := instance.get_run_records(checks, limit=PAGE, ascending=True, cursor=cursor):
        yield from page
        cursor = page[-1].dagster_run.run_id


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
