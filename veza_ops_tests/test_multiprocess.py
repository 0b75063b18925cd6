"""Many processes by run config alone: the same job under the multiprocess executor, batches side by side."""

from pathlib import Path

import dagster as dg
import pytest

from veza_ops.definitions import defs
from veza_ops_tests.library import Library, run_config


def cleanup_job() -> dg.JobDefinition:
    """The job, as each process of the run finds it again."""
    return defs.resolve_job_def("cleanup_orphan_tracks")


@pytest.mark.slow
def test_batches_run_side_by_side_in_processes_of_their_own_and_the_counts_are_right(
    library: Library, tmp_path: Path
) -> None:
    ghosts = [library.add_ghost() for _ in range(7)]
    slow = [library.add(f"slow/{number}.flac", content=b"half") for number in range(4)]
    unnamed = library.add("")
    config = run_config(library, ops={"find_stale_tracks": {"batch_size": 6}})
    home = tmp_path / "home"
    home.mkdir()
    config["execution"] = {"config": {"multiprocess": {"max_concurrent": 2, "start_method": {"forkserver": {}}}}}
    with (
        dg.DagsterInstance.local_temp(str(home)) as instance,
        dg.execute_job(dg.reconstructable(cleanup_job), instance, run_config=config) as result,
    ):
        assert result.success
        processes = {
            event.step_key: event.pid
            for event in result.all_events
            if event.is_step_start and event.step_key is not None
        }
        assert len(set(processes.values())) == len(processes) == 1 + 2 + 2 + 1
        assert result.output_for_node("report_cleanup") == {
            "stale": 12,
            "present": 4,
            "missing": 7,
            "unverifiable": 1,
            "raced": 0,
            "refused": 0,
            "marked_failed": 7,
            "growing": 0,
            "waiting": 4,
            "empty": 0,
        }
    assert {library.status(ghost) for ghost in ghosts} == {"failed"}
    assert {library.status(track) for track in (*slow, unnamed)} == {"processing"}
