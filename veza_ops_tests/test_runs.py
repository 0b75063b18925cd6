"""Which of an instance's runs are ours."""

import dagster as dg
import pytest
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)

from veza_ops.definitions import defs
from veza_ops.findings import STORAGE_PROVEN, TRACK_FILES, TRACKS
from veza_ops.runs import CHECKS, CHECKS_JOB, OURS, is_ours

HERE = "__repository__@production"
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
    assert not is_ours(dg.DagsterRun("a_job", tags=OURS, remote_job_origin=started_in("a", "a_job")), None)
