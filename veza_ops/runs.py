"""What Dagster remembers of our runs: which are ours, what was wrong with one, and how to forget one for good."""

import os
import shutil
from pathlib import Path

import dagster as dg

from veza_ops.alerts import Kind, Trouble
from veza_ops.evidence import Evidence
from veza_ops.health import STORAGE_PROVEN

OURS = {"team": "veza-ops", "domain": "tracks"}
"""Tags that every job and run of ours has, to filter by."""

LABEL = ".dagster/repository"
"""The tag by which Dagster's storage finds the runs of one code location."""

FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


def label_of(run: dg.DagsterRun) -> str | None:
    """Where the run was started from, as ``repository@location``; None if it was from the command line."""
    origin = run.remote_job_origin
    return origin.repository_origin.get_label() if origin else None


def is_ours(run: dg.DagsterRun, label: str | None) -> bool:
    """Whether `run` is of the code location `label`, or of ours and started from the command line."""
    return (label_of(run) or label) == label and (label_of(run) is not None or OURS.items() <= run.tags.items())


# -- what was wrong ---------------------------------------------------------------------------------------------------


def trouble_of(instance: dg.DagsterInstance, run: dg.DagsterRun, *, max_missing: int) -> Trouble | None:
    """What was wrong with a finished run, if anything: it failed, or found more than `max_missing` missing files."""
    if run.status is dg.DagsterRunStatus.FAILURE:
        refused = any(
            evaluation.check_name == STORAGE_PROVEN and not evaluation.passed
            for event in _events(instance, run, dg.DagsterEventType.ASSET_CHECK_EVALUATION)
            if (evaluation := event.asset_check_evaluation_data)
        )
        return Trouble(Kind.STORAGE if refused else Kind.FAILED, _why_failed(instance, run))
    for event in _events(instance, run, dg.DagsterEventType.ASSET_OBSERVATION):
        missing = event.asset_observation_data.asset_observation.metadata.get("missing")
        if missing is not None and isinstance(missing.value, int) and missing.value > max_missing:
            says = f"The files of {missing.value} tracks are missing; up to {max_missing} in a run are ordinary."
            return Trouble(Kind.ORPHANS, says)
    return None


def _why_failed(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """The first error that is meant to be read; of any other error only the name, since its text may hold anything."""
    why = "The run stopped before a step could say why."
    for event in _events(instance, run, dg.DagsterEventType.STEP_FAILURE):
        data = event.step_failure_data
        if data.user_failure_data and data.user_failure_data.description:
            return data.user_failure_data.description
        if data.error:
            why = f"The step {event.step_key} failed with {data.error.cls_name}."
    return why


def _events(instance: dg.DagsterInstance, run: dg.DagsterRun, kind: dg.DagsterEventType) -> list[dg.DagsterEvent]:
    return [event for entry in instance.all_logs(run.run_id, of_type=kind) if (event := entry.dagster_event)]


# -- forgetting -------------------------------------------------------------------------------------------------------


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
