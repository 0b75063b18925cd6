"""What a whole run of the job does to the table: the promises, on every form that the table comes in."""

import contextlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from veza_ops import pace
from veza_ops.cleanup import rules
from veza_ops.evidence import MARKED, UNVERIFIABLE, WOULD_MARK, read
from veza_ops.resources import EvidenceStore
from veza_ops.storage.files import Files
from veza_ops_tests.library import SCHEMAS, Library, Schema, counts, failure, run_job


def evidence(result: dg.ExecuteInProcessResult, instance: dg.DagsterInstance, kind: str) -> list[dict[str, Any]]:
    """The rows of one kind that a run wrote down."""
    files = EvidenceStore().of_run(result.run_id, instance).files(kind)
    return [row for path in files for row in read(str(path))]


@pytest.fixture(params=SCHEMAS, ids=str)
def any_library(request: pytest.FixtureRequest, make_library: Callable[[Schema], Library]) -> Library:
    """A library on each schema, its server set to a time zone far from UTC."""
    library = make_library(request.param)
    library.execute("ALTER DATABASE current SET timezone = 'Pacific/Kiritimati'".replace("current", library.database))
    return library


def test_what_lies_in_one_folder_is_looked_for_side_by_side_and_the_oldest_orphans_are_shown(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "WRITTEN_AT_ONCE", 2)
    monkeypatch.setattr(rules, "LISTED", 3)
    for number in range(3):
        for folder in ("b", "a"):
            library.add_ghost(file_path=f"{folder}/{number}.flac", age=timedelta(hours=9 - number))
    folders: list[set[str]] = []
    real = rules.check_again

    def look(files: Files, checked: rules.Checked, *more: Any) -> rules.Checked:
        folders.append({(track.file_path or "").partition("/")[0] for track, _ in checked.missing})
        return real(files, checked, *more)

    monkeypatch.setattr(rules, "check_again", look)
    (told,) = [
        event.step_output_data
        for event in run_job(library, instance).all_node_events
        if event.is_successful_output and event.node_name == "report_cleanup"
    ]
    assert folders == [{"a"}, {"a", "b"}, {"b"}]
    shown: Any = told.metadata["orphans"].value
    assert [dict(row.data)["file_path"].partition("/")[2] for row in shown.records] == ["0.flac", "0.flac", "1.flac"]


def test_a_stuck_row_whose_file_is_missing_is_marked_failed(any_library: Library, instance: dg.DagsterInstance) -> None:
    ghost = any_library.add_ghost()
    before = any_library.row(ghost)
    assert counts(run_job(any_library, instance)) == {
        "stale": 1,
        "present": 0,
        "missing": 1,
        "unverifiable": 0,
        "raced": 0,
        "refused": 0,
        "marked_failed": 1,
        "growing": 0,
        "waiting": 0,
        "empty": 0,
    }
    after = any_library.row(ghost)
    assert after["status"] == "failed"
    assert after["status_message"] == "orphan cleanup: file missing on disk after >1h in processing"
    if any_library.schema.updated_at:
        assert after["updated_at"] - before["updated_at"] > timedelta(hours=1, minutes=59)
        assert after["updated_at"] - before["updated_at"] < timedelta(hours=2, minutes=1)
    written = {"status", "status_message", "updated_at"}
    assert {k: v for k, v in after.items() if k not in written} == {k: v for k, v in before.items() if k not in written}


def test_a_track_whose_file_is_there_is_left_alone(any_library: Library, instance: dg.DagsterInstance) -> None:
    any_library.add("slow.flac", content=b"")
    before = any_library.rows()
    assert counts(run_job(any_library, instance))["present"] == 1
    assert any_library.rows() == before


def test_a_recent_track_is_left_alone(any_library: Library, instance: dg.DagsterInstance) -> None:
    any_library.add(age=timedelta(minutes=59))
    before = any_library.rows()
    assert counts(run_job(any_library, instance))["stale"] == 0
    assert any_library.rows() == before


def test_tracks_in_any_other_state_are_left_alone_and_a_second_run_changes_nothing(
    any_library: Library, instance: dg.DagsterInstance
) -> None:
    for status in ("uploading", "ready", "failed"):
        any_library.add(status=status, status_message="as it was", content=b"music" if status == "ready" else None)
    any_library.add_ghost()
    assert counts(run_job(any_library, instance))["marked_failed"] == 1
    before = any_library.rows()
    assert counts(run_job(any_library, instance))["stale"] == 0
    assert any_library.rows() == before


def test_without_a_database_nothing_is_done_and_the_run_says_so(instance: dg.DagsterInstance) -> None:
    result = run_job(None, instance)
    assert set(counts(result).values()) == {0}


def test_a_dry_run_says_what_it_would_do_and_changes_nothing(library: Library, instance: dg.DagsterInstance) -> None:
    for _ in range(3):
        library.add_ghost()
    before = library.rows()
    result = run_job(library, instance, ops={"mark_orphans_failed": {"dry_run": True}})
    said = counts(result)
    assert (said["missing"], said["marked_failed"], said["raced"]) == (3, 0, 0)
    assert library.rows() == before
    assert len(evidence(result, instance, WOULD_MARK)) == 3


def test_every_changed_row_is_written_down_with_its_values_before_and_after(
    library: Library, instance: dg.DagsterInstance
) -> None:
    ghosts = {str(library.add_ghost(status_message="transcoding")) for _ in range(7)}
    unverifiable = str(library.add("s3://bucket/song.flac"))
    result = run_job(library, instance, ops={"find_stale_tracks": {"batch_size": 3}})
    rows = evidence(result, instance, MARKED)
    assert {row["id"] for row in rows} == ghosts
    for row in rows:
        assert row["why"] == f"no file at {library.root}/{row['file_path']}"
        assert (row["status_before"], row["status_message_before"]) == ("processing", "transcoding")
        assert (row["status_after"], row["status_message_after"]) == (
            "failed",
            "orphan cleanup: file missing on disk after >1h in processing",
        )
        assert row["updated_at_before"] < row["updated_at_after"]
    assert [row["id"] for row in evidence(result, instance, UNVERIFIABLE)] == [unverifiable]


def test_a_change_whose_evidence_cannot_be_kept_is_not_made(
    library: Library, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    library.add_ghost()
    before = library.rows()
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    result = run_job(library, instance, evidence={"folder": str(in_the_way)})
    assert "evidence of this run can't be written" in failure(result)
    assert library.rows() == before


def test_the_counts_add_up_over_many_batches(library: Library, instance: dg.DagsterInstance) -> None:
    for number in range(20):
        library.add_ghost()
        library.add(f"slow-{number}.flac", content=b"")
        library.add(f"ftp://host/{number}")
    said = counts(run_job(library, instance, ops={"find_stale_tracks": {"batch_size": 7}}))
    assert said == {
        "stale": 60,
        "present": 20,
        "missing": 20,
        "unverifiable": 20,
        "raced": 0,
        "refused": 0,
        "marked_failed": 20,
        "growing": 0,
        "waiting": 0,
        "empty": 20,
    }


def test_the_run_observes_the_tracks_asset_with_its_counts(library: Library, instance: dg.DagsterInstance) -> None:
    library.add_ghost()
    said = counts(run_job(library, instance))
    (observation,) = instance.fetch_observations(dg.AssetKey("tracks"), limit=10).records
    assert observation.asset_observation is not None
    metadata = observation.asset_observation.metadata
    assert {name: metadata[name].value for name in said} == said


@pytest.mark.parametrize("sample_size", [0, 20])
def test_a_run_without_a_sample_goes_on_and_says_so(
    sample_size: int, library: Library, instance: dg.DagsterInstance
) -> None:
    library.execute("DELETE FROM tracks")
    library.add_ghost()
    if sample_size == 0:
        library.add("gone.flac", status="ready")
    result = run_job(library, instance, storage={"sample_size": sample_size})
    assert counts(result)["marked_failed"] == 1
    (observation,) = instance.fetch_observations(dg.AssetKey("tracks"), limit=10).records
    assert "taken on trust" in str(observation.asset_observation)


def test_storage_that_is_not_the_one_described_fails_the_run_and_changes_nothing(
    library: Library, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    library.add_ghost()
    before = library.rows()
    empty = tmp_path / "empty"
    empty.mkdir()
    said = failure(run_job(library, instance, storage={"root": str(empty)}))
    assert f"with the root {empty}, the files of only 0 of the 3 newest playable tracks can be seen" in said
    assert library.rows() == before


def test_a_root_that_is_not_there_fails_even_an_hour_without_work(
    library: Library, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    assert "can't be used" in failure(run_job(library, instance, storage={"root": str(tmp_path / "nowhere")}))


def test_only_a_file_that_is_missing_at_both_looks_is_missing(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    ghost, late = library.add_ghost(), library.add_ghost(file_path="late.flac")
    real = rules.check_again

    def upload_finishes(*args: Any) -> rules.Checked:
        library.write("late.flac")
        return real(*args)

    monkeypatch.setattr(rules, "check_again", upload_finishes)
    said = counts(run_job(library, instance))
    assert (said["present"], said["missing"], said["marked_failed"]) == (1, 1, 1)
    assert (library.status(ghost), library.status(late)) == ("failed", "processing")


def test_a_disk_that_vanishes_after_the_checks_fails_the_run_before_the_write(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.add_ghost()
    before = library.rows()
    real = rules.check_again

    def vanishes(*args: Any) -> rules.Checked:
        library.root.rename(library.root.with_name("unmounted"))
        library.root.mkdir()
        return real(*args)

    monkeypatch.setattr(rules, "check_again", vanishes)
    assert "not the one that the database describes" in failure(run_job(library, instance))
    assert library.rows() == before


@pytest.mark.parametrize(
    "ops",
    [
        {"find_stale_tracks": {"age_threshold_minutes": 0}},
        {"find_stale_tracks": {"age_threshold_minutes": -60}},
        {"find_stale_tracks": {"batch_size": 0}},
        {"find_stale_tracks": {"batchsize": 10}},
        {"mark_orphans_failed": {"dry_run": "maybe"}},
    ],
)
def test_config_that_makes_no_sense_is_refused_before_the_run(
    ops: dict[str, dict[str, Any]], library: Library, instance: dg.DagsterInstance
) -> None:
    library.add_ghost()
    before = library.rows()
    with contextlib.suppress(dg.DagsterInvalidConfigError):
        assert not run_job(library, instance, ops=ops).success
    assert library.rows() == before
