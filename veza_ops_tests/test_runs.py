"""Which of an instance's runs are ours."""

import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.events import AssetObservationData
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)

from veza_ops.definitions import defs
from veza_ops.findings import STORAGE_PROVEN, TRACK_FILES, TRACKS
from veza_ops.runs import CHECKS, CHECKS_JOB, FINISHED, OURS, UNFINISHED, Location, is_ours, stands_for, told_by_ours

HERE = Location("__repository__@production")
THEIRS = dg.AssetKey("theirs")
PROVEN = STORAGE_PROVEN.key


def test_our_checks_are_those_of_the_inventory() -> None:
    assert defs.resolve_asset_graph().asset_check_keys == CHECKS


def started_in(location: str, job: str) -> RemoteJobOrigin:
    """How Dagster notes the code location that a run was started from."""
    return RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(location), "__repository__"), job)


@pytest.mark.parametrize(
    ("location", "tags", "ours"),
    [
        ("production", OURS, True),
        ("production", {}, False),
        ("production", {"team": "veza-ops"}, False),
        ("staging", OURS, False),
        (None, OURS, True),
        (None, {}, False),
    ],
)
def test_ours_are_the_runs_of_our_jobs_in_this_code_location_and_those_from_the_command_line(
    location: str | None, tags: dict[str, str], *, ours: bool
) -> None:
    origin = started_in(location, "a_job") if location else None
    assert is_ours(dg.DagsterRun("a_job", tags=tags, remote_job_origin=origin), HERE) is ours


@pytest.mark.parametrize(
    ("location", "checks", "ours"),
    [
        ("production", [PROVEN], True),
        ("production", [dg.AssetCheckKey(TRACK_FILES, "no_file_missing"), PROVEN], True),
        ("production", [dg.AssetCheckKey(THEIRS, "storage_proven")], False),
        ("production", [dg.AssetCheckKey(TRACKS, "a_check_of_theirs")], False),
        ("production", [PROVEN, dg.AssetCheckKey(TRACKS, "a_check_of_theirs")], False),
        ("staging", [PROVEN], False),
    ],
)
def test_a_run_of_checks_that_somebody_asked_for_is_ours_if_all_are_ours(
    location: str, checks: list[dg.AssetCheckKey], *, ours: bool
) -> None:
    run = dg.DagsterRun(
        CHECKS_JOB,
        remote_job_origin=started_in(location, CHECKS_JOB),
        asset_check_selection=frozenset(checks),
    )
    assert is_ours(run, HERE) is ours


def test_a_run_that_makes_somebodys_asset_is_not_ours_whatever_it_checks() -> None:
    run = dg.DagsterRun(
        CHECKS_JOB,
        remote_job_origin=started_in("production", CHECKS_JOB),
        asset_selection=frozenset({THEIRS}),
        asset_check_selection=frozenset({PROVEN}),
    )
    assert not is_ours(run, HERE)


def test_a_run_from_the_command_line_claims_none_of_a_code_location() -> None:
    assert not is_ours(dg.DagsterRun("a_job", tags=OURS, remote_job_origin=started_in("a", "a_job")), Location())


def from_the_command_line(module: str) -> dg.DagsterRun:
    """A run of a job that the command line found in a module."""
    code = RepositoryPythonOrigin("python", ModuleCodePointer(module, "defs", None))
    return dg.DagsterRun("a_job", tags=OURS, job_code_origin=JobPythonOrigin("a_job", code))


def test_a_run_from_the_command_line_belongs_to_the_code_location_that_loads_the_same_module() -> None:
    run = from_the_command_line("veza_eu")
    assert is_ours(run, HERE._replace(module="veza_eu"))
    assert not is_ours(run, HERE._replace(module="veza_us"))
    assert is_ours(run, HERE), "of which nobody knows what it loads"
    assert is_ours(run, Location.of_run(from_the_command_line("veza_eu")))
    assert not is_ours(run, Location.of_run(from_the_command_line("veza_us")))


def test_whatever_is_not_finished_is_unfinished() -> None:
    assert {*FINISHED, *UNFINISHED} == set(dg.DagsterRunStatus)
    assert all(status.name in ("SUCCESS", "FAILURE", "CANCELED") for status in FINISHED)


def test_what_stands_for_a_table_tells_nobody_its_address_and_does_not_change_with_the_password() -> None:
    url = "postgresql://veza:{}@db.example/veza"
    assert stands_for(url.format("one"), "public", "tracks") == stands_for(url.format("two"), "public", "tracks")
    assert stands_for(url.format("one"), "public", "tracks") != stands_for(url.format("one"), "public", "songs")
    assert len(stands_for(url, "public", "tracks")) * 4 == 16  # bits


def observe(instance: dg.DagsterInstance, run: dg.DagsterRun | None, asset: dg.AssetKey, **metadata: Any) -> None:
    """Have a run, or somebody by hand, observe an asset."""
    observation = dg.AssetObservation(asset, metadata=metadata)
    if run is None:
        instance.report_runless_asset_event(observation)
        return
    if instance.get_run_by_id(run.run_id) is None:
        instance.add_run(run)
    data = AssetObservationData(observation)
    event = dg.DagsterEvent(
        dg.DagsterEventType.ASSET_OBSERVATION.value, run.job_name, event_specific_data=data, message="seen"
    )
    instance.report_dagster_event(event, run.run_id)


def test_only_what_our_own_runs_observed_is_read_back_however_much_lies_on_top(instance: dg.DagsterInstance) -> None:
    here, there = (
        dg.DagsterRun("a_job", tags=OURS, remote_job_origin=started_in(name, "a_job")) for name in ("production", "us")
    )
    observe(instance, here, TRACKS, number=1)
    observe(instance, here, TRACKS, number=2)
    observe(instance, dg.DagsterRun("a_job", remote_job_origin=started_in("production", "a_job")), TRACKS, number=3)
    for number in range(120):
        observe(instance, None, TRACKS, number=number)
        observe(instance, there, TRACKS, number=number)
    assert [told["number"] for told in told_by_ours(instance, TRACKS, HERE)] == [2, 1]
    assert list(told_by_ours(instance, TRACK_FILES, HERE)) == []


def test_a_schedule_knows_its_code_location_where_the_daemon_started_its_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        context = dg.build_schedule_context(instance, repository_def=defs.get_repository_def())
        assert Location.of_schedule(context) == Location()
        monkeypatch.setattr(sys, "argv", ["dagster", "api", "grpc", "--location-name", "production", "-m", "a"])
        assert Location.of_schedule(context) == HERE
