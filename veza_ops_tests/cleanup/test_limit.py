"""Too many at once: beyond a limit, a run marks none, and says what to do."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run

from veza_ops.cleanup.asset import NO_ORPHAN_LEFT
from veza_ops.cleanup.limit import TooManyOrphansError, require_few, shared_out
from veza_ops.cleanup.rules import Checked, StaleBatch, Sweep
from veza_ops.definitions import build_defs
from veza_ops.errors import ConfigurationError
from veza_ops.runs import WRONG_SETTING
from veza_ops.storage.proof import Proof
from veza_ops.tracks.row import Batch, Judged, Key, Track
from veza_ops_tests.library import Library, counts, failure, run_config, run_job

SAYS = (
    "The files of {missing} tracks are missing, and mark_orphans_failed.max_orphans lets a run mark {most} failed: "
    "none was. Look through the table orphans of this run; a dry run lists them all. If they are right, launch the job "
    "once with a higher max_orphans, or with 0, which is no limit."
)


def limited(most: int, *, batch_size: int = 50_000, **more: Any) -> dict[str, Mapping[str, Any]]:
    return {"find_stale_tracks": {"batch_size": batch_size}, "mark_orphans_failed": {"max_orphans": most, **more}}


def metadata_of_failure(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (event,) = (event for event in result.all_events if event.is_step_failure)
    assert event.step_failure_data.user_failure_data
    return {name: value.value for name, value in event.step_failure_data.user_failure_data.metadata.items()}


@pytest.mark.parametrize("batch_size", [50_000, 2, 1])
def test_where_more_are_missing_than_a_run_may_mark_it_marks_none_and_fails_with_number_and_table(
    library: Library, instance: dg.DagsterInstance, batch_size: int
) -> None:
    for number in range(3):
        library.add_ghost(file_path=f"uploads/ghost-{number}.flac")
    before = library.rows()
    result = run_job(library, instance, ops=limited(2, batch_size=batch_size))
    assert not result.success
    assert failure(result) == SAYS.format(missing=3, most=2)
    assert library.rows() == before
    told = metadata_of_failure(result)
    assert (told["missing"], told["max_orphans"]) == (3, 2)
    assert [row.data["file_path"] for row in told["orphans"].records] == [f"uploads/ghost-{n}.flac" for n in range(3)]
    assert all(row.data["reason"] for row in told["orphans"].records)
    assert [event for event in result.all_events if event.is_step_up_for_retry] == []


@pytest.mark.parametrize("batch_size", [50_000, 2, 1])
@pytest.mark.parametrize("most", [0, 3, 4])
def test_as_many_as_a_run_may_mark_are_marked_whatever_the_batches(
    library: Library, instance: dg.DagsterInstance, batch_size: int, most: int
) -> None:
    for _ in range(3):
        library.add_ghost()
        library.add(content=b"music")
    assert counts(run_job(library, instance, ops=limited(most, batch_size=batch_size)))["marked_failed"] == 3


def test_a_dry_run_tells_of_all_however_many_there_are(library: Library, instance: dg.DagsterInstance) -> None:
    for _ in range(3):
        library.add_ghost()
    assert counts(run_job(library, instance, ops=limited(1, dry_run=True)))["missing"] == 3
    assert counts(run_job(library, instance, ops=limited(1, batch_size=2, dry_run=True)))["missing"] == 3


def take_away_after_the_count(monkeypatch: pytest.MonkeyPatch, files: Iterable[Path]) -> None:
    """Let files go once a run of several batches has counted what is missing."""

    def take_away(*arguments: Any) -> list[StaleBatch]:
        batches = list(shared_out(*arguments))
        for file in files:
            file.unlink()
        return batches

    monkeypatch.setattr("veza_ops.cleanup.ops.shared_out", take_away)


def test_what_goes_missing_after_the_count_is_not_marked_beyond_the_limit(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.add("uploads/kept.flac", status="ready", content=b"music")
    files = [library.write(f"uploads/{number}.flac") for number in range(4)]
    tracks = [library.add(file_path=f"uploads/{number}.flac") for number in range(4)]
    take_away_after_the_count(monkeypatch, files)
    result = run_job(library, instance, ops=limited(3, batch_size=2))
    assert not result.success
    assert failure(result).startswith(
        "The files of 2 tracks are missing, and mark_orphans_failed.max_orphans lets batch 1 mark 1 failed: none of it "
        "was, since more is missing than was counted."
    )
    assert [library.status(track) for track in tracks] == ["failed", "failed", "processing", "processing"]


def test_the_check_of_the_asset_says_so_too(library: Library, instance: dg.DagsterInstance) -> None:
    for _ in range(3):
        library.add_ghost()
    result = run_job(library, instance, ops=limited(2))
    kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION
    (entry,) = instance.all_logs(result.run_id, of_type=kind)
    assert entry.dagster_event
    told = entry.dagster_event.asset_check_evaluation_data
    assert (told.check_name, told.passed, told.severity) == (NO_ORPHAN_LEFT.name, False, dg.AssetCheckSeverity.ERROR)
    assert told.description == SAYS.format(missing=3, most=2)


def test_the_environment_sets_it_and_run_config_overrides_that(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        library.add_ghost()
    monkeypatch.setenv("VEZA_MAX_ORPHANS", "2")
    job = loaded_anew()
    result = job.execute_in_process(run_config=run_config(library), instance=instance, raise_on_error=False)
    assert failure(result) == SAYS.format(missing=3, most=2)
    config = run_config(library, ops={"mark_orphans_failed": {"max_orphans": 0}})
    assert counts(job.execute_in_process(run_config=config, instance=instance))["marked_failed"] == 3


@pytest.mark.parametrize("value", ["many", "-1", "1e3"])
def test_an_environment_that_sets_it_wrong_is_one_plain_error_and_nothing_is_marked(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    ghost = library.add_ghost()
    monkeypatch.setenv("VEZA_MAX_ORPHANS", value)
    job = loaded_anew()
    result = job.execute_in_process(run_config=run_config(library), instance=instance, raise_on_error=False)
    assert failure(result) == (
        "VEZA_MAX_ORPHANS holds no whole number from 0 on, up to 2147483647, such as 0. MarkConfig.max_orphans takes "
        "nothing else."
    )
    assert library.status(ghost) == "processing"


def test_the_process_that_runs_the_steps_goes_by_its_own_variables_too(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It loads the code anew, and need not have the variables of the code server, which created the run."""
    ghost = library.add_ghost()
    created = instance.create_run_for_job(loaded_anew(), run_config=run_config(library))
    monkeypatch.setenv("VEZA_MAX_ORPHANS", "many")
    result = execute_run(InMemoryJob(loaded_anew()), created, instance)
    (says,) = why_failed(instance, result.run_id)
    assert says.startswith("VEZA_MAX_ORPHANS holds no whole number")
    assert "launch a new one" not in says
    assert library.status(ghost) == "processing"


def test_a_run_that_was_created_while_a_variable_was_wrong_says_that_a_new_one_is_to_be_launched(
    library: Library, instance: dg.DagsterInstance
) -> None:
    ghost = library.add_ghost()
    tags = {WRONG_SETTING: "VEZA_MAX_ORPHANS holds no whole number."}
    result = loaded_anew().execute_in_process(
        run_config=run_config(library), instance=instance, raise_on_error=False, tags=tags
    )
    assert failure(result) == (
        "VEZA_MAX_ORPHANS holds no whole number. The run was created while that was so: launch a new one."
    )
    assert library.status(ghost) == "processing"


def why_failed(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """What the steps of a run say that failed."""
    events = [entry.dagster_event for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE)]
    told = [event.step_failure_data.user_failure_data for event in events if event]
    return [each.description or "" for each in told if each]


@pytest.fixture
def lasting(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """A Dagster instance that keeps what steps hand on, for a run that is executed anew."""
    (home := tmp_path / "home").mkdir()
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        yield instance


def loaded_anew() -> dg.JobDefinition:
    """The cleanup as a process has it that loads the code now."""
    return build_defs().resolve_job_def("cleanup_orphan_tracks")


def loaded_elsewhere() -> dg.JobDefinition:
    """The same in another process: Dagster keeps what a function gave once."""
    return loaded_anew()


def execute(
    library: Library,
    instance: dg.DagsterInstance,
    ops: Mapping[str, Mapping[str, Any]],
    again: dg.ReexecutionOptions | None = None,
    job: Callable[[], dg.JobDefinition] = loaded_anew,
) -> str:
    """A run of the cleanup as the web UI starts it, or executes it anew; its id."""
    config, found = run_config(library, ops=ops), dg.reconstructable(job)
    with dg.execute_job(found, instance, run_config=config, reexecution_options=again) as result:
        return result.run_id


@pytest.mark.parametrize(("batch_size", "batches"), [(50_000, 1), (2, 2)])
def test_what_a_dry_run_looked_for_is_not_marked_beyond_a_limit_that_it_never_counted_for(
    library: Library, lasting: dg.DagsterInstance, batch_size: int, batches: int
) -> None:
    ghosts = [library.add_ghost() for _ in range(3)]
    dry = execute(library, lasting, limited(2, batch_size=batch_size, dry_run=True))
    steps = [*(f"mark_orphans_failed[{number:05}]" for number in range(batches)), "report_cleanup"]
    again = execute(library, lasting, limited(2, batch_size=batch_size), dg.ReexecutionOptions(dry, steps))
    says = "mark_orphans_failed.max_orphans is 2, and the search that this step goes by had no limit"
    told = why_failed(lasting, again)
    assert told
    assert all(each.startswith(says) for each in told)
    assert {library.status(ghost) for ghost in ghosts} == {"processing"}
    unlimited = execute(library, lasting, limited(0, batch_size=batch_size), dg.ReexecutionOptions(dry, steps))
    assert why_failed(lasting, unlimited) == []
    assert {library.status(ghost) for ghost in ghosts} == {"failed"}


def test_nothing_is_marked_by_a_step_that_marks_in_a_process_with_a_wrong_variable(
    library: Library, lasting: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    ghost = library.add_ghost()
    dry = execute(library, lasting, {"mark_orphans_failed": {"dry_run": True}})
    monkeypatch.setenv("VEZA_MAX_ORPHANS", "many")
    steps = ["mark_orphans_failed[00000]", "report_cleanup"]
    again = execute(library, lasting, {}, dg.ReexecutionOptions(dry, steps), loaded_elsewhere)
    (says,) = why_failed(lasting, again)
    assert says.startswith("VEZA_MAX_ORPHANS holds no whole number")
    assert library.status(ghost) == "processing"


@pytest.mark.parametrize(("most", "status"), [(0, "failed"), (3, "failed"), (2, "processing")])
def test_a_run_that_was_refused_goes_by_the_limit_that_it_is_executed_anew_with(
    library: Library, lasting: dg.DagsterInstance, most: int, status: str
) -> None:
    ghosts = [library.add_ghost() for _ in range(3)]
    refused = execute(library, lasting, limited(1))
    again = dg.ReexecutionOptions.from_failure(refused, lasting)
    told = why_failed(lasting, execute(library, lasting, limited(most), again))
    assert told == ([] if status == "failed" else [SAYS.format(missing=3, most=2)])
    assert {library.status(ghost) for ghost in ghosts} == {status}


@pytest.mark.parametrize(("share", "most", "refused"), [(2, 9, True), (3, 5, False), (3, 9, False), (2, 0, False)])
def test_a_share_is_what_the_search_gave_the_batch(share: int, most: int, *, refused: bool) -> None:
    checked = replace(missing(3), most=share, share_of=5)
    with pytest.raises(TooManyOrphansError, match="lets batch 0 mark 2 failed") if refused else nullcontext():
        require_few(checked, most)


def test_a_limit_that_was_lowered_since_several_batches_shared_it_lets_none_be_marked() -> None:
    """Each of them may be within it, and all together beyond."""
    with pytest.raises(ConfigurationError, match="shared out 5 among several batches"):
        require_few(replace(missing(3), most=3, share_of=5), 4)


def test_a_run_that_is_ended_while_files_are_counted_looks_for_no_more(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        library.add_ghost()
    looked: list[int] = []

    def look_and_end(stale: StaleBatch, *_: Any) -> Checked:
        looked.append(stale.batch.number)
        (run,) = instance.get_runs()
        instance.report_run_canceled(run)
        return missing(1)

    monkeypatch.setattr("veza_ops.cleanup.ops.look_through", look_and_end)
    run_job(library, instance, ops=limited(5, batch_size=1))
    assert looked == [0]


def batch(number: int) -> StaleBatch:
    return StaleBatch(Sweep("now", "then", ""), Batch(number, None, Key("", ""), 10))


def missing(number: int) -> Checked:
    rows = tuple(Judged(Track(str(each), "a.flac", "2026-01-01", None), "") for each in range(number))
    return Checked(batch(0).sweep, batch(0).batch, Proof(1, 1), (), rows, ())


@pytest.mark.parametrize(
    ("most", "counted", "shares"),
    [(5, [3, 0, 2], [3, 0, 2]), (7, [3, 0, 2], [4, 1, 2]), (9, [0, 0], [5, 4]), (4, [1], [4]), (3, [], [])],
)
def test_each_batch_may_mark_its_own_and_a_share_of_the_rest_and_all_together_no_more_than_the_limit(
    most: int, counted: list[int], shares: list[int]
) -> None:
    batches = [batch(number) for number in range(len(counted))]
    out = list(shared_out(batches, most, lambda each: missing(counted[each.batch.number])))
    assert [each.most for each in out] == shares


def test_the_files_of_a_single_batch_are_not_looked_for_twice(tmp_path: Path) -> None:
    def refuse(_: StaleBatch) -> Checked:
        raise AssertionError(tmp_path)

    assert [each.most for each in shared_out([batch(0)], 5, refuse)] == [5]


def test_the_oldest_of_all_batches_are_shown() -> None:
    with pytest.raises(TooManyOrphansError) as error:
        list(shared_out([batch(0), batch(1)], 150, lambda _: missing(80)))
    assert (error.value.missing, error.value.most, len(error.value.some)) == (160, 150, 100)
