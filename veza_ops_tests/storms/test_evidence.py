"""Storms on the evidence: no change without it, none of it is lost, and nobody waits for it."""

import errno
import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
import sqlalchemy as sa
import upath

from veza_ops import places
from veza_ops.evidence import MARKED, MARKING, UNVERIFIABLE, WOULD_MARK, Evidence, read
from veza_ops.findings import TRACKS
from veza_ops.resources import EvidenceStore
from veza_ops_tests.library import counts, failure
from veza_ops_tests.storms.scene import (
    AFTER_COMMIT,
    AFTER_CONFIRMATION,
    AFTER_EVIDENCE,
    AFTER_LOOK,
    AFTER_SECOND_LOOK,
    BEFORE_EVIDENCE,
    Moment,
    Scene,
    arrange,
    record_writes,
    writes,
)


def evidence_of(scene: Scene, result: dg.ExecuteInProcessResult) -> Evidence:
    return EvidenceStore().of_run(result.run_id, scene.instance)


def rows_of(records: Evidence, kind: str) -> list[dict[str, Any]]:
    return [row for path in records.files(kind) for row in read(str(path))]


def disk_is_full(monkeypatch: pytest.MonkeyPatch, what: Callable[[int], bool], *, call: int = 1) -> None:
    """From the given time on that something is to be on disk for good, there is no room."""
    real = os.fsync
    calls: list[int] = []

    def fsync(descriptor: int) -> None:
        if what(os.fstat(descriptor).st_mode):
            calls.append(descriptor)
            if len(calls) >= call:
                raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("what", [stat.S_ISREG, stat.S_ISDIR], ids=["the_file", "its_folder"])
def test_without_evidence_on_disk_nothing_is_changed(
    what: Callable[[int], bool], scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_writes(scene.library)
    disk_is_full(monkeypatch, what)
    result = scene.run()
    scene.assert_refused(result, "evidence", "No space left on device", "nothing is changed")
    assert writes(scene.library) == []
    assert list(evidence_of(scene, result).of_run.glob("*.jsonl")) == []
    monkeypatch.undo()
    scene.assert_next_run_finishes()


def test_a_disk_that_is_full_at_the_confirmation_leaves_the_plan_to_go_by(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One row was changed by somebody else, so that the plan doesn't say what came of it."""
    raced, *others = scene.ghosts
    touch = "UPDATE tracks SET updated_at = now() WHERE id = :id"
    AFTER_EVIDENCE.arrange(monkeypatch, lambda: scene.library.execute(touch, id=raced))
    disk_is_full(monkeypatch, stat.S_ISREG, call=2)
    result = scene.run()
    assert "The confirmation of what this run has just changed can't be written" in failure(result)
    assert "listed there as what was to be changed" in failure(result)
    scene.assert_no_good_track_changed()
    assert [scene.library.status(each) for each in others] == ["failed"] * len(others)
    records = evidence_of(scene, result)
    assert rows_of(records, MARKED) == []
    assert {row["id"] for row in rows_of(records, MARKING)} == set(map(str, scene.ghosts))


def test_what_is_to_be_changed_is_on_disk_while_nothing_is_changed_yet(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    arrange(monkeypatch, Evidence, "write", after=lambda: seen.extend(map(scene.library.status, scene.ghosts)))
    result = scene.run()
    assert seen == ["processing"] * len(scene.ghosts)
    scene.assert_all_is_well()
    # Once it is confirmed, the plan has nothing more to say.
    records = evidence_of(scene, result)
    assert rows_of(records, MARKING) == []
    assert {row["id"] for row in rows_of(records, MARKED)} == set(map(str, scene.ghosts))


@pytest.mark.parametrize(
    "moment",
    [AFTER_LOOK, AFTER_SECOND_LOOK, BEFORE_EVIDENCE, AFTER_EVIDENCE, AFTER_COMMIT, AFTER_CONFIRMATION],
    ids=str,
)
def test_nobody_waits_for_a_row_and_no_transaction_is_open_while_storage_or_evidence_stalls(
    scene: Scene, moment: Moment, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_open = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'veza-ops' AND xact_start IS NOT NULL"
    opened: list[int] = []

    def touch() -> None:
        with scene.library.engine.begin() as api:
            opened.append(api.scalar(sa.text(f"{is_open} AND datname = current_database()")) or 0)
            api.execute(sa.text("SET LOCAL lock_timeout = '50ms'"))
            api.execute(sa.text("UPDATE tracks SET title = 'touched' WHERE id = :id"), {"id": scene.ghosts[0]})

    moment.arrange(monkeypatch, touch)
    assert counts(scene.run())["marked_failed"] == len(scene.ghosts)
    assert opened == [0]


def test_a_commit_that_was_answered_with_nonsense_leaves_the_plan(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = sa.Connection._commit_impl  # noqa: SLF001 - where a commit is answered

    def garbled(connection: sa.Connection) -> None:
        real(connection)
        is_ours = connection.dialect.driver == "psycopg" and connection.engine is not scene.library.engine
        if is_ours and scene.library.status(scene.ghosts[0]) == "failed":
            raise psycopg.InternalError("unexpected message from the server")

    monkeypatch.setattr(sa.Connection, "_commit_impl", garbled)
    result = scene.run()
    assert not result.success
    monkeypatch.undo()
    scene.assert_all_is_well()
    assert len(rows_of(evidence_of(scene, result), MARKING)) == len(scene.ghosts)


def test_evidence_names_the_database_and_the_table_that_it_is_of(scene: Scene) -> None:
    (row, *_) = rows_of(evidence_of(scene, scene.run()), MARKED)
    assert "public.tracks" in row["table"]
    assert scene.library.database in row["table"]


@pytest.mark.parametrize("folder", ["memory://evidence", "evidence", "gs://bucket/evidence"])
def test_a_place_that_cannot_keep_evidence_is_refused_at_the_start_and_not_tried_again(
    scene: Scene, folder: str
) -> None:
    result = scene.run(evidence={"folder": folder})
    scene.assert_refused(result, "evidence.folder")
    assert result.all_events[-1].job_name
    assert not [event for event in result.all_events if event.event_type_value == "STEP_UP_FOR_RETRY"]
    assert [event.step_key for event in result.all_events if event.is_step_failure] == ["find_stale_tracks"]


def test_evidence_goes_to_the_home_folder_that_a_tilde_stands_for(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    result = scene.run(evidence={"folder": "~/evidence"})
    assert result.success
    assert list((tmp_path / "evidence" / result.run_id / "veza_ops").glob("marked-*.jsonl"))


# -- the list of what nobody could look for -------------------------------------------------------------------------


def observed(scene: Scene) -> dict[str, Any]:
    (record,) = scene.instance.fetch_observations(TRACKS, limit=1).records
    assert record.asset_observation
    return {name: getattr(value, "value", value) for name, value in record.asset_observation.metadata.items()}


def test_a_list_that_stays_the_same_is_kept_once_and_the_page_says_where(scene: Scene) -> None:
    odd = scene.library.add("s3://bucket/song.flac")
    first = scene.run()
    scene.library.add_ghost()
    second = scene.run(ops={"find_stale_tracks": {"batch_size": 1}})
    assert [row["id"] for row in rows_of(evidence_of(scene, first), UNVERIFIABLE)] == [str(odd)]
    assert rows_of(evidence_of(scene, second), UNVERIFIABLE) == []
    assert observed(scene)["unverifiable_list"] == str(evidence_of(scene, first).of_run)
    third = scene.run()
    assert rows_of(evidence_of(scene, third), UNVERIFIABLE) == []
    another = scene.library.add("s3://bucket/other.flac")
    fourth = scene.run()
    assert {row["id"] for row in rows_of(evidence_of(scene, fourth), UNVERIFIABLE)} == {str(odd), str(another)}


def test_a_run_without_such_a_list_asks_once_for_a_few_earlier_runs_and_for_no_lists(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    real = dg.DagsterInstance.fetch_observations

    def ask(self: dg.DagsterInstance, *arguments: Any, **more: Any) -> Any:
        asked.append(more["limit"])
        return real(self, *arguments, **more)

    with monkeypatch.context() as patched:
        patched.setattr(dg.DagsterInstance, "fetch_observations", ask)
        assert scene.run().success
    assert asked == [10]
    scene.assert_all_is_well()


def test_any_number_of_dry_runs_between_two_that_list_the_same_hides_no_list(scene: Scene) -> None:
    scene.library.add("s3://bucket/song.flac")
    first = scene.run()
    none_is_old_enough = {"find_stale_tracks": {"age_threshold_minutes": 999}}
    for _ in range(11):
        scene.run(ops={**none_is_old_enough, "mark_orphans_failed": {"dry_run": True}})
    second = scene.run()
    assert rows_of(evidence_of(scene, second), UNVERIFIABLE) == []
    assert observed(scene)["unverifiable_list"] == str(evidence_of(scene, first).of_run)


def test_a_list_whose_run_was_forgotten_is_kept_anew(scene: Scene) -> None:
    scene.library.add("s3://bucket/song.flac")
    evidence_of(scene, scene.run()).remove()
    assert len(rows_of(evidence_of(scene, scene.run()), UNVERIFIABLE)) == 1


@pytest.mark.parametrize("run_id", ["../../etc", 7, None, "", "no-such-run"])
def test_whatever_somebody_reports_by_hand_the_list_is_kept(scene: Scene, run_id: object) -> None:
    scene.library.add("s3://bucket/song.flac")
    first = scene.run()
    told = observed(scene)["unverifiable_list_digest"]
    forged = {"unverifiable_list_run": run_id, "unverifiable_list_digest": told}
    metadata = {name: value for name, value in forged.items() if value is not None}
    for _ in range(12):
        scene.instance.report_runless_asset_event(dg.AssetObservation(TRACKS, metadata=metadata))
    second = scene.run()
    assert rows_of(evidence_of(scene, second), UNVERIFIABLE) == []
    assert len(rows_of(evidence_of(scene, first), UNVERIFIABLE)) == 1
    assert observed(scene)["unverifiable_list"] == str(evidence_of(scene, first).of_run)


def test_a_list_of_which_a_part_is_gone_is_kept_anew(scene: Scene) -> None:
    for number in range(3):
        scene.library.add(f"s3://bucket/{number}.flac")
    first = scene.run(ops={"find_stale_tracks": {"batch_size": 2}})
    evidence_of(scene, first).files(UNVERIFIABLE)[0].unlink()
    second = scene.run(ops={"find_stale_tracks": {"batch_size": 2}})
    assert len(rows_of(evidence_of(scene, second), UNVERIFIABLE)) == 3
    assert observed(scene)["unverifiable_list"] == str(evidence_of(scene, second).of_run)


def test_two_that_share_an_instance_keep_a_list_each(scene: Scene) -> None:
    scene.library.execute("CREATE TABLE others (LIKE tracks INCLUDING ALL)")
    scene.library.execute("INSERT INTO others SELECT * FROM tracks")
    scene.library.add("s3://bucket/song.flac")
    scene.library.execute("INSERT INTO others SELECT * FROM tracks ON CONFLICT DO NOTHING")
    scene.library.execute("UPDATE others SET id = gen_random_uuid() WHERE file_path LIKE 's3:%'")
    results = [scene.run(database={"tracks_table": name}) for name in ("tracks", "others") * 3]
    assert [len(rows_of(evidence_of(scene, each), UNVERIFIABLE)) for each in results] == [1, 1, 0, 0, 0, 0]


def test_a_path_of_twenty_megabytes_is_whole_in_the_evidence_and_brief_on_every_page(scene: Scene) -> None:
    path = "uploads/" + "x" * 20_000_000
    odd = scene.library.add(path)
    first, second = scene.run(), scene.run()
    (row,) = rows_of(evidence_of(scene, first), UNVERIFIABLE)
    assert (row["id"], row["file_path"] == path) == (str(odd), True)
    assert json.dumps(row).count("xxxx" * 1000) < 6000
    assert rows_of(evidence_of(scene, second), UNVERIFIABLE) == []
    for result in (first, second):
        events = [str(entry) for entry in scene.instance.all_logs(result.run_id)]
        assert max(map(len, events)) < 100_000


def test_a_dry_run_lists_what_it_would_do_and_plans_nothing(scene: Scene) -> None:
    records = evidence_of(scene, scene.run(ops={"mark_orphans_failed": {"dry_run": True}}))
    assert len(rows_of(records, WOULD_MARK)) == len(scene.ghosts)
    assert rows_of(records, MARKING) == rows_of(records, MARKED) == []


def test_a_list_that_nobody_can_read_any_more_is_kept_anew(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs no run that has done its work."""
    scene.library.add("s3://bucket/song.flac")
    first = scene.run()
    real = places._lines_of  # noqa: SLF001 - where a disk's error comes from

    def lines_of(path: upath.UPath) -> Iterator[bytes]:
        if first.run_id in str(path):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(path)

    monkeypatch.setattr(places, "_lines_of", lines_of)
    second = scene.run()
    assert counts(second)["unverifiable"] == 1
    assert len(rows_of(evidence_of(scene, second), UNVERIFIABLE)) == 1
