"""What was wrong with a finished run, told from what Dagster remembers of it."""

from dataclasses import dataclass

import dagster as dg

from veza_ops.alerts.message import Kind, Trouble
from veza_ops.findings import STORAGE_PROVEN


@dataclass(frozen=True)
class Ending:
    """How a run ended."""

    trouble: Trouble | None
    is_storage_good: bool | None
    """What it says of the storage; None if it had no need of it."""


def ending_of(instance: dg.DagsterInstance, run: dg.DagsterRun, *, max_missing: int) -> Ending:
    """What was wrong with a finished run, if anything, and what it says of the storage.

    It failed, it left an area of the storage alone, or it found more than `max_missing` missing files.
    """
    asked = [
        evaluation
        for event in _events(instance, run, dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        if (evaluation := event.asset_check_evaluation_data) and evaluation.check_name == STORAGE_PROVEN.name
    ]
    refused = [each for each in asked if not each.passed and each.severity is dg.AssetCheckSeverity.ERROR]
    is_good = not refused if asked else None
    if run.status is dg.DagsterRunStatus.FAILURE:
        return Ending(Trouble(Kind.STORAGE if refused else Kind.FAILED, _why_failed(instance, run)), is_good)
    if refused:
        return Ending(Trouble(Kind.STORAGE, refused[-1].description or ""), is_good)
    for event in _events(instance, run, dg.DagsterEventType.ASSET_OBSERVATION):
        missing = event.asset_observation_data.asset_observation.metadata.get("missing")
        if missing is not None and isinstance(missing.value, int) and missing.value > max_missing:
            says = f"The files of {missing.value} tracks are missing; up to {max_missing} in a run are ordinary."
            return Ending(Trouble(Kind.ORPHANS, says), is_good)
    return Ending(None, is_good)


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
