"""What the steps of every job share: how they fail and are tried again, and what they show on the run page."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from traceback import extract_tb, format_exception
from typing import Any, ClassVar

import dagster as dg
from pydantic import ConfigDict

from veza_ops.bounds import within
from veza_ops.errors import DagsterSilentError, RunEndedError, StorageNotProvenError, VezaOpsError
from veza_ops.evidence import Evidence
from veza_ops.findings import of_refusal, report
from veza_ops.places import ANSWER_SECONDS
from veza_ops.runs import FINISHED, has_stopped
from veza_ops.storage.proof import Proof
from veza_ops.text import brief, cut, holds_secret, keep_secret, shown
from veza_ops.tracks.row import Judged, age_hours

NOT_CONFIGURED = "No database is configured, so there is nothing to do: set VEZA_DATABASE_URL (or database.url)."


class StepConfig(dg.Config):
    """The config of a step, whose errors don't repeat what it was given."""

    model_config = ConfigDict(hide_input_in_errors=True)

    wrong: ClassVar[tuple[str, ...]] = ()
    """What is wrong with the variables of the environment that set it."""


_AGAIN = dg.RetryPolicy(max_retries=3, delay=1, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
"""How often and after how long a step is tried again.

It is no step's own policy: by that, Dagster would try again what somebody has ended.
"""


@contextmanager
def plain_failures(context: dg.OpExecutionContext | None = None) -> Iterator[None]:
    """Fail the step with the plain words of our own errors; only those that pass are tried again, and an end never is.

    With `context`, a storage that isn't proven shows on the tracks asset too. Without, nothing is tried again. No
    error shows what a variable of the environment holds that the run config names.
    """
    run = context.run if context is not None else None
    for variable in _variables(run.run_config if run else {}):
        keep_secret(dg.EnvVar(variable).get_value() or "")
    try:
        if context is not None:
            require_wanted(context)
        yield
    except RunEndedError as error:
        # As a signal would have done: in one process, the run stays what it was ended as. Of several, Dagster says that
        # it failed.
        raise KeyboardInterrupt(str(error)) from None
    except VezaOpsError as error:
        failure = dg.Failure(description=shown(str(error)), allow_retries=False)
        if context is not None and error.passing and context.retry_number < _AGAIN.max_retries:
            seconds = _AGAIN.calculate_delay(context.retry_number + 1)
            raise dg.RetryRequested(_AGAIN.max_retries, seconds_to_wait=seconds) from failure
        if context is not None and isinstance(error, StorageNotProvenError):
            report(context, of_refusal(error))
        raise failure from None
    except Exception as error:
        if holds_secret("".join(format_exception(error))):
            place = extract_tb(error.__traceback__)[-1]
            raise dg.Failure(
                description=f"{type(error).__name__} in {place.name}, line {place.lineno} of {place.filename}. What it "
                "says holds a secret, and isn't shown."
            ) from None
        raise


def _variables(config: object) -> Iterator[str]:
    """The variables of the environment that run config takes values from."""
    if isinstance(config, Mapping):
        if config.keys() == {"env"} and isinstance(config["env"], str):
            yield config["env"]
        else:
            yield from chain.from_iterable(map(_variables, config.values()))
    elif isinstance(config, Sequence) and not isinstance(config, str):
        yield from chain.from_iterable(map(_variables, config))


def require_wanted(context: dg.OpExecutionContext) -> None:
    """Raises RunEndedError when somebody has ended the run, DagsterSilentError when Dagster's storage can't tell.

    Mostly, the process is told of it by a signal. It isn't where it can't be reached: on another machine, or when a run
    is ended by force, or by run monitoring, while its code server is away. Nor is one that its executor starts after
    having stopped all others, as Dagster's for several processes does with a step that it had just taken up.
    """
    try:
        ended = within(ANSWER_SECONDS, lambda: _is_ended(context.instance, context.run_id))
    except Exception as error:  # noqa: BLE001 - whatever its storage raises
        raise DagsterSilentError(
            f"Dagster's own storage can't be asked whether somebody has ended the run ({type(error).__name__}), and "
            "without that nothing is changed. Check where the instance (dagster.yaml, DAGSTER_HOME) keeps its runs."
        ) from None
    if ended:
        raise RunEndedError("The run was ended before this part of it was written. Nothing more is changed.")


def _is_ended(instance: dg.DagsterInstance, run_id: str) -> bool:
    run = instance.get_run_by_id(run_id)
    is_over = run is None or run.status in (*FINISHED, dg.DagsterRunStatus.CANCELING)
    return is_over or has_stopped(instance, run_id)


def config_of(context: dg.OpExecutionContext, step: dg.OpDefinition) -> Mapping[str, Any]:
    """The config of a `step` of the run, even if there was nothing for it to do."""
    config: Mapping[str, Any] = dg.validate_run_config(context.job_def, context.run.run_config)["ops"]
    return config.get(step.name, {}).get("config") or {}


def is_dry(context: dg.OpExecutionContext, step: dg.OpDefinition) -> bool:
    """Whether the run was to change nothing by `step`."""
    return bool(config_of(context, step).get("dry_run"))


def seconds_since_start(context: dg.OpExecutionContext) -> float:
    """How long the run has taken so far."""
    record = context.instance.get_run_record_by_id(context.run_id)
    started = record.start_time if record else None
    return round(time.time() - started, 1) if started else 0.0


def refused(proof: Proof) -> dict[str, dg.TableMetadataValue]:
    """The areas whose tracks were left alone, as a page shows them; nothing where there is none."""
    left = {**proof.left, **proof.refused}
    rows = [dg.TableRecord({"area": area, "why": why}) for area, why in left.items()]
    return {"refused_areas": dg.MetadataValue.table(rows)} if rows else {}


def full_lists(records: Evidence) -> dict[str, dg.MetadataValue[Any]]:
    """Where the whole lists of a run are, if it has left any."""
    return {"full_lists": dg.MetadataValue.path(str(records.of_run))} if records.has_files else {}


def table_of(rows: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue:
    """Rows of a list as a page shows them."""
    shown_rows = ({name: brief(each) if isinstance(each, str) else each for name, each in row.items()} for row in rows)
    return dg.MetadataValue.table(
        [dg.TableRecord({k: v for k, v in row.items() if v is not None}) for row in shown_rows]
    )


def table(rows: Sequence[Judged], now: str) -> dg.TableMetadataValue:
    """Rows as a page shows them."""
    return dg.MetadataValue.table(
        [
            dg.TableRecord(
                {
                    "id": brief(track.id),
                    "file_path": brief(track.file_path or ""),
                    "age_hours": round(age, 1) if (age := age_hours(track.created_at, now)) < math.inf else "infinite",
                    "reason": cut(reason),
                }
            )
            for track, reason in rows
        ]
    )
