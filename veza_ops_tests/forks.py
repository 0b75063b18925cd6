"""Processes that have loaded all they need when they start: forked from one that did."""

import multiprocessing
from multiprocessing.context import ForkServerContext

_loaded = ["dagster._core.storage.runs.in_memory", "dagster._core.storage.event_log.in_memory"]
"""What an ephemeral instance would load as it is made, half a second of work, and then whatever runs in such processes:
there is one to fork from, for all."""


def forks(module: str) -> ForkServerContext:
    """Processes that run a function of `module`."""
    context = multiprocessing.get_context("forkserver")
    _loaded.append(module)
    context.set_forkserver_preload(_loaded)
    return context
