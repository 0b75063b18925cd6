"""Where the time of one run goes: in its process, by Python's profiler, and in the server, by the server's own."""

import os
import pstats
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import Table
from benchmarks.server import Statement

Function = tuple[str, str, str]
"""The last folder of a function's file, the file, and the function's own name."""

PARTS: Mapping[str, Sequence[Function]] = {
    "finding: the layout of the batches, the sample": [("cleanup", "rules.py", "find_stale")],
    "reading the rows": [("tracks", "table.py", "read")],
    "looking at the files, both times, with the proofs": [
        ("cleanup", "rules.py", "check"),
        ("cleanup", "rules.py", "check_again"),
    ],
    "the guarded write": [("tracks", "writing.py", "write")],
    "the evidence": [("veza_ops", "places.py", "write_new")],
    "handing rows from step to step": [
        ("storage", "upath_io_manager.py", "handle_output"),
        ("storage", "upath_io_manager.py", "load_input"),
    ],
    "Dagster's events": [("methods", "event_methods.py", "handle_new_event")],
}
"""What a run's time is spent on, as the functions that do it. None of them may call another one of them.

Only what the main thread does is seen: where it waits for another thread, the function that waits is what has the time.
"""

KINDS: Mapping[str, str] = {
    "the layout of the batches": r"\blead\(",
    "the guarded write": r"^\s*WITH .*\bUPDATE\b",
    "reading the rows": r"\(\S*created_at, \S*id\) <=",
    "the sample of playable tracks": r"^\s*SELECT\b.*\bLIMIT\b",
}
"""The kinds of statements that are worth a line of their own, by a pattern that no other has."""


def of_process(path: Path, stale: int) -> Table:
    """The table of what cProfile has written to `path`."""
    parts = parts_of(pstats.Stats(str(path)).stats)  # type: ignore[attr-defined]  # not in the stubs
    total = sum(seconds for _, seconds in parts)
    return Table(
        f"Where the time of a run over {stale:,} stale tracks goes, in the main thread of its process:",
        ("Part", "Seconds", "Share"),
        [(part, f"{seconds:.2f}", f"{seconds / total:.0%}") for part, seconds in parts],
    )


def parts_of(functions: Mapping[tuple[str, int, str], tuple[int, int, float, float, Any]]) -> list[tuple[str, float]]:
    """Seconds of each of `PARTS`, and of all else.

    `functions` are the profiler's: file, line and name, with the calls, the seconds of their own, and those of all that
    they called.
    """
    spent = {
        (os.path.basename(os.path.dirname(file)), os.path.basename(file), name): cumulative
        for (file, _, name), (_, _, _, cumulative, _) in functions.items()
    }
    total = sum(own for _, _, own, _, _ in functions.values())
    parts = {part: sum(spent.get(each, 0.0) for each in names) for part, names in PARTS.items()}
    return [*parts.items(), ("starting up, and Dagster's other work", total - sum(parts.values()))]


def of_server(statements: Iterable[Statement], log_waits: tuple[int, float], stale: int) -> Table:
    """The table of what a server did meanwhile, and how often and how many seconds it waited for its log."""
    waits, seconds = log_waits
    return Table(
        f"What the server did in a run over {stale:,} stale tracks:",
        ("Statement", "Calls", "Seconds"),
        [
            *((kind, f"{calls:,}", f"{seconds:.2f}") for kind, calls, seconds in by_kind(statements)),
            ("waiting for its log to be on disk, as every commit does", f"{waits:,}", f"{seconds:.2f}"),
        ],
    )


def by_kind(statements: Iterable[Statement]) -> list[tuple[str, int, float]]:
    """Calls and seconds of each of `KINDS`, and of all other statements."""
    sums = dict.fromkeys((*KINDS, "all others"), (0, 0.0))
    for sql, more_calls, more_seconds in statements:
        kind = kind_of(sql)
        calls, seconds = sums[kind]
        sums[kind] = calls + more_calls, seconds + more_seconds
    return [(kind, calls, seconds) for kind, (calls, seconds) in sums.items()]


def kind_of(sql: str) -> str:
    """Which of `KINDS` a statement is of."""
    found = (kind for kind, pattern in KINDS.items() if re.search(pattern, sql, re.IGNORECASE | re.DOTALL))
    return next(found, "all others")
