"""Steps in processes of their own, by the documented run config and the real command, when one of them is killed."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from veza_ops_tests.e2e.deployment import A_MINUTE_AND_THE_START, JOB, Deployment, open_deployment, wait_for
from veza_ops_tests.e2e.test_ends import PATIENT, held
from veza_ops_tests.engines.documentation import replaced, run_config
from veza_ops_tests.engines.run import Run
from veza_ops_tests.library import Library
from veza_ops_tests.storms.scene import Scene, record_writes, writes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture
def deployment(tmp_path: Path, library: Library) -> Iterator[Deployment]:
    """A Dagster home of the test's own, configured for the test's library."""
    yield from open_deployment(
        tmp_path / "home", {"VEZA_DATABASE_URL": library.url, "VEZA_STORAGE_ROOT": str(library.root)}
    )


def test_a_step_whose_process_is_killed_fails_the_run_and_the_next_one_finishes(
    deployment: Deployment, library: Library, instance: dg.DagsterInstance
) -> None:
    """As by the kernel when memory is short. The other of two batches is done."""
    scene = Scene(library, instance)
    record_writes(library)
    documented, own = deployment.home / "documented.yaml", deployment.home / "run.json"
    documented.write_text(replaced(run_config("multiprocess"), {"batch_size: 20000": "batch_size: 3"}))
    own.write_text(json.dumps({"resources": PATIENT}))
    configs = ("-c", str(documented), "-c", str(own))
    with held(library):
        process = deployment.start("dagster", "job", "execute", "-m", "veza_ops.definitions", "-j", JOB, *configs)
        waits = "wait_event_type = 'Lock'"
        wait_for("two writes", lambda: library.sessions(waits) == 2 or None, seconds=A_MINUTE_AND_THE_START)
        run = Run.newest(deployment)
        (step, victim), _ = run.at_work()
        os.kill(victim, signal.SIGKILL)
    assert process.wait(A_MINUTE_AND_THE_START) != 0
    assert run.status is dg.DagsterRunStatus.FAILURE
    assert [key for key, _ in run.at_work()] == [step]
    scene.assert_no_good_track_changed()
    done = sorted(writes(library))
    assert len(done) in {1, 2}
    assert sorted(run.evidence["marked"]) == done
    scene.assert_next_run_finishes()
    assert sorted(writes(library)) == sorted(map(str, scene.ghosts))
