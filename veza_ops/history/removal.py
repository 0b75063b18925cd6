"""Which runs are old, and how one is forgotten for good: Dagster itself prunes nothing but ticks."""

import os
import shutil
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from veza_ops.bounds import Beat, with_beats, within
from veza_ops.evidence import Evidence
from veza_ops.runs import CHECKS_JOB, FINISHED, LABEL, OURS, Location, is_ours

PAGE = 500
"""Runs that are read at a time where ours stand among others."""


def old_runs(instance: dg.DagsterInstance, here: Location, before: datetime, limit: int) -> list[dg.RunRecord]:
    """At most `limit` of our runs that had finished `before`: those of jobs first, and of each kind the oldest first.

    Of the code location `here`; without a label, those that were started from the command line.
    """
    ours: dict[str, dg.RunRecord] = {}
    for record in _old_runs_of_all(instance, here.label, before):
        if len(ours) == limit:
            break
        if is_ours(record.dagster_run, here):
            ours[record.dagster_run.run_id] = record
    return list(ours.values())


def _old_runs_of_all(instance: dg.DagsterInstance, label: str | None, before: datetime) -> Iterator[dg.RunRecord]:
    if label:
        yield from _oldest_first(instance, before, tags={LABEL: label, **OURS})
    yield from _oldest_first(instance, before, tags=OURS)
    if label:
        # No tag tells our checks from other people's assets and checks, of which there may be any number.
        yield from _oldest_first(instance, before, tags={LABEL: label}, job_name=CHECKS_JOB)


def _oldest_first(instance: dg.DagsterInstance, before: datetime, **wanted: Any) -> Iterator[dg.RunRecord]:
    """The `wanted` runs that had finished `before`, page by page; some may come twice."""
    after: datetime | None = None
    while True:
        finished = dg.RunsFilter(statuses=FINISHED, updated_after=after, updated_before=before, **wanted)
        page = instance.get_run_records(finished, limit=PAGE, order_by="update_timestamp", ascending=True)
        yield from page
        if len(page) < PAGE or page[-1].update_timestamp == page[0].update_timestamp:
            return
        after = page[-1].update_timestamp - timedelta(microseconds=1)  # others may have ended in the same instant


def forget(instance: dg.DagsterInstance, run_id: str, evidence: Evidence) -> int:
    """Remove a finished run with all that it left: outputs, evidence, logs, events; the bytes that were on this disk.

    The run itself goes last, so that one whose files can't be removed is found again. Raises OSError for that, also
    where a disk gives no answer within the time that the evidence has.
    """
    seconds = evidence.answer_seconds
    outputs = Path(instance.storage_directory()) / run_id
    freed = with_beats(seconds, lambda beat: _size(outputs, beat))
    evidence.remove()
    within(seconds, lambda: instance.compute_log_manager.delete_logs(prefix=[run_id]))
    within(seconds, lambda: _remove(outputs))
    instance.delete_run(run_id)
    # With storage in SQLite, Dagster leaves the run's own file of events behind, without an event in it.
    history = Path(instance.root_directory, "history", "runs")
    return freed + with_beats(seconds, lambda beat: _removed(history.glob(f"{run_id}.db*"), beat))


def _size(folder: Path, beat: Beat) -> int:
    freed = 0
    for where, _, names in os.walk(folder):
        for name in names:
            beat()
            freed += os.lstat(Path(where) / name).st_size
    return freed


def _remove(folder: Path) -> None:
    if folder.is_dir():
        shutil.rmtree(folder)


def _removed(files: Iterable[Path], beat: Beat) -> int:
    freed = 0
    for file in files:
        beat()
        freed += file.stat().st_size
        file.unlink()
    return freed
