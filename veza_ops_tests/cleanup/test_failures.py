"""A cleanup that fails shows on the asset's page: it isn't well, since when, why, and how to undo what was marked."""

import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from veza_ops.cleanup.rules import Checked
from veza_ops.errors import ConfigurationError, DatabaseUnavailableError
from veza_ops.evidence import Evidence
from veza_ops.findings import TRACKS
from veza_ops_tests.cleanup.test_limit import take_away_after_the_count
from veza_ops_tests.library import Library, failure, run_job

FAILED = "needs attention: the cleanup failed"
LIMITED = {"mark_orphans_failed": {"max_orphans": 1}}


def observed(instance: dg.DagsterInstance) -> list[dict[str, Any]]:
    """All that the asset was told, the newest first."""
    records = instance.fetch_observations(TRACKS, limit=100).records
    assert all(record.asset_observation for record in records)
    return [
        {name: value.value for name, value in record.asset_observation.metadata.items()}
        for record in records
        if record.asset_observation
    ]


def refuse(error: Exception) -> Any:
    def refuse(*_: Any, **__: Any) -> Any:
        raise error

    return refuse


def test_a_cleanup_that_is_refused_says_so_on_the_page_and_nothing_by_which_it_seems_done(
    library: Library, instance: dg.DagsterInstance
) -> None:
    run_job(library, instance)
    result = run_job(library, instance, storage={"root": str(library.root.parent / "nowhere")})
    told, before = observed(instance)
    assert before["health"] == "well"
    assert (told["health"], told["failure"]) == (FAILED, failure(result))
    assert told.keys() == {"health", "health_since", "week", "failure"}
    (day,) = told["week"].records
    assert (day.data["cleanups"], day.data["marked_failed"]) == (1, 0)


def test_it_needs_attention_since_the_first_of_several_failures_and_is_well_anew_after_them(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        library.add_ghost(file_path="playable/ghost.flac")
    run_job(library, instance, ops=LIMITED)
    (first,) = observed(instance)
    since = datetime.strptime(first["health_since"], "%Y-%m-%d %H:%M UTC").replace(tzinfo=UTC)
    assert timedelta(0) <= datetime.now(UTC) - since < timedelta(minutes=2)
    assert "max_orphans" in first["failure"]
    with monkeypatch.context() as patched:
        patched.setattr("veza_ops.cleanup.page._AT_FIRST", 1)
        patched.setattr("veza_ops.cleanup.ops.search", refuse(ConfigurationError("It is wrong.")))
        run_job(library, instance)
    assert observed(instance)[0]["failure"] == "It is wrong."
    assert observed(instance)[0]["health_since"] == first["health_since"]
    run_job(library, instance)
    assert observed(instance)[0]["health"] == "well"


@pytest.mark.parametrize(
    "at", ["search", "look_through", "require_few", "keep_once"], ids=["find", "check", "mark", "report"]
)
def test_whichever_step_fails_the_asset_is_told_once_of_each(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    library.add_ghost(file_path="playable/ghost.flac")
    monkeypatch.setattr(f"veza_ops.cleanup.ops.{at}", refuse(ConfigurationError("It is wrong.")))
    assert not run_job(library, instance).success
    assert [told["failure"] for told in observed(instance)] == ["It is wrong."]


def test_a_failure_that_is_no_error_of_ours_is_told_by_its_name_alone(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its text may hold anything."""
    monkeypatch.setattr("veza_ops.cleanup.ops.search", refuse(RuntimeError("hunter2")))
    assert not run_job(library, instance).success
    assert [told["failure"] for told in observed(instance)] == ["RuntimeError"]


def test_a_run_that_has_no_evidence_has_no_undo_of_what_another_one_marked(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that was begun anew from its report on."""
    library.add_ghost(file_path="playable/ghost.flac")
    monkeypatch.setattr("veza_ops.cleanup.page.has_marked", lambda _: False)
    assert run_job(library, instance).success
    (told,) = observed(instance)
    assert (told["marked_failed"], "undo" in told) == (1, False)


def test_what_is_tried_again_is_told_of_only_when_it_fails_for_good(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("veza_ops.steps._AGAIN", dg.RetryPolicy(max_retries=2, delay=0.01))
    monkeypatch.setattr("veza_ops.cleanup.ops.search", refuse(DatabaseUnavailableError("The database is away.")))
    result = run_job(library, instance)
    assert len([event for event in result.all_events if event.is_step_restarted]) == 2
    assert [told["failure"] for told in observed(instance)] == ["The database is away."]


def test_a_run_that_failed_after_it_had_marked_some_can_be_undone_from_the_page(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.add("uploads/kept.flac", status="ready", content=b"music")
    files = [library.write(f"uploads/{number}.flac") for number in range(4)]
    for number in range(4):
        library.add(file_path=f"uploads/{number}.flac")
    take_away_after_the_count(monkeypatch, files)
    ops = {"find_stale_tracks": {"batch_size": 2}, "mark_orphans_failed": {"max_orphans": 3}}
    result = run_job(library, instance, ops=ops)
    (told,) = observed(instance)
    assert "lets batch 1 mark 1 failed" in told["failure"]
    assert result.run_id in told["undo"]
    assert result.run_id in told["full_lists"]


@pytest.mark.parametrize(
    ("evidence", "files"), [({"folder": "relative"}, None), ({}, refuse(ConfigurationError("It can't be read.")))]
)
def test_evidence_that_cannot_be_read_keeps_no_failure_from_being_told(
    library: Library,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    evidence: Mapping[str, str],
    files: Any,
) -> None:
    library.add_ghost(file_path="playable/ghost.flac")
    if files:
        monkeypatch.setattr(Evidence, "files", files)
    assert not run_job(library, instance, evidence=evidence).success
    (told,) = observed(instance)
    assert told["health"] == FAILED
    assert "undo" not in told


def test_a_dry_run_that_fails_says_nothing_of_health(library: Library, instance: dg.DagsterInstance) -> None:
    root = {"root": str(library.root.parent / "nowhere")}
    assert not run_job(library, instance, ops={"mark_orphans_failed": {"dry_run": True}}, storage=root).success
    assert observed(instance) == []


def test_a_run_that_somebody_ended_has_not_failed(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.add_ghost()

    def end(checked: Checked, _: int) -> None:
        assert checked.missing
        (run,) = instance.get_runs()
        instance.report_run_canceled(run)

    monkeypatch.setattr("veza_ops.cleanup.ops.require_few", end)
    assert not run_job(library, instance).success
    assert observed(instance) == []


def test_what_goes_wrong_while_a_failure_is_told_hides_nothing_of_it(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("veza_ops.cleanup.page.of_failure", refuse(ZeroDivisionError()))
    result = run_job(library, instance, storage={"root": str(library.root.parent / "nowhere")})
    assert "can't be used: there is no such folder" in failure(result)
    said = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert "The asset can't be told of the failure: ZeroDivisionError" in said


def test_what_was_told_earlier_is_not_waited_for_without_end(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, released: threading.Event
) -> None:
    ghost = library.add_ghost(file_path="playable/ghost.flac")
    monkeypatch.setattr("veza_ops.cleanup.page.ANSWER_SECONDS", 0.3)
    began = time.monotonic()
    with monkeypatch.context() as patched:
        patched.setattr(instance, "fetch_observations", lambda *_, **__: released.wait(20))
        assert run_job(library, instance).success
    assert time.monotonic() - began < 15
    assert library.status(ghost) == "failed"
