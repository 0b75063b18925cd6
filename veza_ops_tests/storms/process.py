"""One cleanup in a process of its own, which may come to a bad end: ``python -m veza_ops_tests.storms.process PLAN``.

The plan is JSON: the run config, at which moment of the run the process is killed (if at all), and as which user it
runs (if not as the one who starts it). On standard output: the run's counts, or what the run said as it failed.
"""

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import dagster as dg

from veza_ops.cleanup import rules
from veza_ops.definitions import defs
from veza_ops.evidence import Evidence
from veza_ops.storage.files import Files
from veza_ops.tracks.table import Tracks
from veza_ops_tests.e2e.deployment import wait_for
from veza_ops_tests.forks import forks
from veza_ops_tests.library import QUIET, Library, counts, failure, run_config

DEATHS: dict[str, tuple[object, str, bool]] = {
    "in the search": (rules, "find_stale", True),
    "before the check": (Tracks, "read", False),
    "in the check": (Files, "search", True),
    "before the write": (rules, "check_again", True),
    "before the evidence": (Evidence, "write", False),
    "between evidence and write": (Evidence, "write", True),
    "in the write": (Tracks, "mark_failed", False),
    "between write and commit": (Tracks, "mark_failed", True),
    "between commit and confirmation": (Evidence, "confirm", False),
    "right after the confirmation": (Evidence, "confirm", True),
    "after the part": (rules, "outcome", False),
    "in the report": (rules, "total", False),
}
"""Where a process can die: the function, and whether after its work is done (otherwise before)."""

SECONDS = 200
"""A process that isn't over by then hangs."""

_forks = forks(__name__)


def start(library: Library, **plan: Any) -> subprocess.Popen[str]:
    """A cleanup of `library`, or another `job`, in a process of its own."""
    command = [sys.executable, "-m", "veza_ops_tests.storms.process", json.dumps(_whole(library, plan))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kill(library: Library, **plan: Any) -> None:
    """The same, where the plan is that it is killed: forked from one that has loaded everything before."""
    whole = _whole(library, plan)
    whole["run_config"] |= QUIET  # nobody reads what it logs
    process = _forks.Process(target=main, args=(whole, dict(os.environ)))
    process.start()
    try:
        process.join(SECONDS)
        end = process.exitcode
    finally:
        process.kill()  # or it would stay for ever
        process.join()
    assert end == -signal.SIGKILL, end
    # Until the server has noticed, it holds the rows that were being written.
    wait_for("the server to let go", lambda: not library.sessions() or None, seconds=60)


def _whole(library: Library, plan: dict[str, Any]) -> dict[str, Any]:
    ops = plan.pop("ops", {})
    if batch_size := plan.pop("batch_size", None):
        ops = {"find_stale_tracks": {"batch_size": batch_size}}
    resources = {name: plan.pop(name, {}) for name in ("database", "storage")}
    evidence = plan.pop("evidence", "")
    if isinstance(evidence, str):
        evidence = {"folder": evidence}
    config = run_config(library, ops=ops, evidence=evidence, **resources)
    return {"run_config": config} | plan


def said(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What the process said at its end."""
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    output: dict[str, Any] = json.loads(out.splitlines()[-1])
    return output


def die_at(death: str, call: int) -> None:
    """Let this process be killed at the given call of a function, as by the kernel when memory is short."""
    owner, name, after = DEATHS[death]
    real = getattr(owner, name)
    numbers = itertools.count(1)

    def deadly(*args: Any, **kwargs: Any) -> Any:
        is_it = next(numbers) == call
        if is_it and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*args, **kwargs)
        if is_it:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, deadly)


def main(plan: dict[str, Any], environment: Mapping[str, str] | None = None) -> None:
    """Run the cleanup as planned."""
    os.environ.update(environment or {})
    job = defs.resolve_job_def(plan.get("job", "cleanup_orphan_tracks"))
    if user := plan.get("user"):
        # Everything that is imported late is imported now: the user may not be able to read the interpreter's files.
        job.execute_in_process(
            run_config=plan["run_config"] | {"ops": {"mark_orphans_failed": {"config": {"dry_run": True}}}},
            raise_on_error=False,
        )
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    if death := plan.get("death"):
        die_at(death, plan.get("call", 1))
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(run_config=plan["run_config"], instance=instance, raise_on_error=False)
        tries = [event for event in result.all_events if event.event_type is dg.DagsterEventType.STEP_UP_FOR_RETRY]
        told = {"run_id": result.run_id, "tries_again": len(tries)}
        if not result.success:
            told["failure"] = failure(result)
        elif result.job_def.name == "cleanup_orphan_tracks":
            told["counts"] = counts(result)
        elif result.job_def.name == "audit_track_files":
            told["walk"] = asdict(result.output_for_node("find_unnamed_files"))
        print(json.dumps(told))
        if death:
            sys.exit(f"This process wasn't killed {death}, but came to its end: {told}")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
