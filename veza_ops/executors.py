"""Where the steps of a run are executed: chosen in run config, out of what is installed here."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import dagster as dg
from dagster._core.definitions.executor_definition import ExecutorRequirement  # not exported, but in a public signature

_MOVING_UP = {"celery": "dagster_celery", "k8s_job": "dagster_k8s"}


def installed() -> dict[str, dg.ExecutorDefinition]:
    """Dagster's own executors, and those of its packages for Celery and Kubernetes where they are installed."""
    executors = {"in_process": dg.in_process_executor, "multiprocess": dg.multiprocess_executor}
    for name, package in _MOVING_UP.items():
        if find_spec(package):
            executors[name] = getattr(import_module(package), f"{name}_executor")
    return executors


_EXECUTORS = installed()


def _chosen(config: Mapping[str, Any]) -> tuple[dg.ExecutorDefinition, Mapping[str, Any]]:
    """The one executor that the config names, and its own settings."""
    ((name, settings),) = config.items()
    return _EXECUTORS[name], settings


def _requirements(config: Mapping[str, Any]) -> Sequence[ExecutorRequirement]:
    executor, settings = _chosen(config)
    return executor.get_requirements(settings)


@dg.executor(
    name="chosen_in_run_config",
    config_schema=dg.Field(
        dg.Selector({name: each.config_schema.as_field() for name, each in _EXECUTORS.items()}),  # type: ignore[no-untyped-call]
        default_value={"in_process": {}},
    ),
    requirements=_requirements,
)
def chosen_in_run_config(context: dg.InitExecutorContext) -> dg.Executor:
    """The executor that ``execution.config`` names, with one process as the default.

    An ordinary hour is a batch or none, and each further process costs some two seconds to start.
    """
    executor, settings = _chosen(context.executor_config)
    assert executor.executor_creation_fn is not None
    return executor.executor_creation_fn(context._replace(executor_def=executor, executor_config=settings))
