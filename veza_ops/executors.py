"""Where the steps of a run are executed: chosen in run config, out of what is installed here."""

import atexit
import gc
import io
import signal
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import dagster as dg

IN_ONE_PROCESS: Mapping[str, Any] = {"in_process": {}}
"""An ordinary hour is a batch or none, and each further process costs some two seconds to start."""

_MOVING_UP = {"celery": "dagster_celery", "k8s_job": "dagster_k8s"}

_HOLD_WHAT_IS_WRITTEN = frozenset({io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom})

_LEAVING_SECONDS = 5

_MOMENT_SECONDS = 0.1
"""Until then, Python has tidied up."""


@atexit.register
def _leave_memory_to_the_system() -> None:
    """Keep Python from looking through all that Dagster has loaded, as it exits, for what refers to itself.

    It takes as long as a third of a second, a sixth of an ordinary hour's run. What plain files hold that nobody
    closed is written here; nothing else is finalized that refers to itself. Not where some other thread is left: one
    that hangs may be at such a file, and whoever touches that would hang as well.
    """
    if threading.active_count() > 1:
        return
    for each in gc.get_objects():
        if type(each) in _HOLD_WHAT_IS_WRITTEN:
            with suppress(OSError, ValueError, RuntimeError):  # the disk is full, or it is closed, or at it already
                each.flush()
    gc.freeze()


@atexit.register
def _leave_no_lock_behind() -> None:
    """Wait for Dagster's thread by which the process of a step, or of a run, is told to end.

    It holds a lock of its parent's for a moment when all is done. If the process were over just then, nobody would ever
    give that back, and whoever ends the run would wait for it for good.
    """
    for thread in threading.enumerate():
        if thread.name == "termination-handler":
            thread.join(_LEAVING_SECONDS)


def _sent_again(lost: "sys.UnraisableHookArgs") -> None:
    """Send an end once more that Python has dropped, as it does with all that is raised while it tidies up.

    In a finalizer, say, or as a weak reference is let go. The run would go on as if nobody had ended it.
    """
    try:
        if issubclass(lost.exc_type, (KeyboardInterrupt, dg.DagsterExecutionInterruptedError)) and _goes_on():
            again = threading.Timer(_MOMENT_SECONDS, _end)
            again.daemon = True
            again.start()
    finally:
        _report(lost)


def _goes_on() -> bool:
    """Whether there is something left to end: a process that is about to exit is left to what it has to do then."""
    return threading.main_thread().is_alive()


def _end() -> None:
    main = threading.main_thread().ident
    if main is not None and _goes_on():
        signal.pthread_kill(main, signal.SIGINT)


_report, sys.unraisablehook = sys.unraisablehook, _sent_again


def installed() -> dict[str, dg.ExecutorDefinition]:
    """Dagster's own executors, and those of its packages for Celery and Kubernetes where they are installed."""
    executors = {"in_process": dg.in_process_executor, "multiprocess": dg.multiprocess_executor}
    for name, package in _MOVING_UP.items():
        if find_spec(package):
            executors[name] = getattr(import_module(package), f"{name}_executor")
    return executors


def chosen_in_run_config(default: Mapping[str, Any] = IN_ONE_PROCESS) -> dg.ExecutorDefinition:
    """The executor that ``execution.config`` names with its own settings, or else the `default` one.

    Raises DagsterInvalidConfigError for a default that isn't one installed executor with settings that it takes.
    """
    executors = installed()

    def chosen(config: Mapping[str, Any]) -> tuple[dg.ExecutorDefinition, Mapping[str, Any]]:
        ((name, settings),) = config.items()
        return executors[name], settings

    def requirements(config: Mapping[str, Any]) -> list[dg.ExecutorRequirement]:
        executor, settings = chosen(config)
        return [*executor.get_requirements(settings)]

    schema = dg.Selector({name: each.config_schema.as_field() for name, each in executors.items()})  # type: ignore[no-untyped-call]
    field = dg.Field(schema, default_value=default)

    @dg.executor(name="chosen_in_run_config", config_schema=field, requirements=requirements)
    def create(context: dg.InitExecutorContext) -> dg.Executor:
        executor, settings = chosen(context.executor_config)
        assert executor.executor_creation_fn is not None
        return executor.executor_creation_fn(context._replace(executor_def=executor, executor_config=settings))

    return create
