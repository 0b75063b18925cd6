"""Storms of other people's writes: the track changes between find, check and write."""

import pytest
import sqlalchemy as sa

from veza_ops_tests.library import Id, Library, counts, run_job
from veza_ops_tests.storms.scene import (
    AFTER_LAST_PROOF,
    AFTER_LOOK,
    AFTER_SECOND_LOOK,
    BEFORE_COMMIT,
    BEFORE_LAST_LOOK,
    BEFORE_WRITE,
    Moment,
    Scene,
)

COMPLETE = "UPDATE tracks SET status = 'ready', updated_at = now() WHERE id = :id AND status = 'processing'"
"""The statement by which Veza's API completes an upload."""


def complete(library: Library, identity: Id) -> bool:
    """Complete a track as its uploader does; whether it was still there to be completed."""
    with library.engine.begin() as connection:
        return connection.execute(sa.text(COMPLETE), {"id": identity}).rowcount == 1


@pytest.fixture
def upload(scene: Scene) -> Id:
    """A stale track whose file hasn't come yet."""
    identity = scene.library.add("uploads/last-minute.flac")
    scene.remember()
    del scene.good[identity]
    return identity


@pytest.mark.parametrize("moment", BEFORE_COMMIT, ids=str)
def test_an_upload_that_finishes_in_mid_run_is_never_failed(
    scene: Scene, upload: Id, moment: Moment, monkeypatch: pytest.MonkeyPatch
) -> None:
    completed: list[bool] = []

    def finish() -> None:
        scene.library.write("uploads/last-minute.flac")
        completed.append(complete(scene.library, upload))

    moment.arrange(monkeypatch, finish)
    result = scene.run()
    assert completed == [True]
    assert scene.library.status(upload) == "ready"
    if moment in (AFTER_SECOND_LOOK, AFTER_LAST_PROOF, BEFORE_WRITE):
        assert counts(result)["raced"] == 1
    assert counts(result)["marked_failed"] == len(scene.ghosts)
    scene.assert_all_is_well()


@pytest.mark.parametrize("moment", BEFORE_LAST_LOOK, ids=str)
def test_a_file_that_comes_before_the_last_look_keeps_its_track(
    scene: Scene, upload: Id, moment: Moment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is written, and the row will be completed only later."""
    moment.arrange(monkeypatch, lambda: scene.library.write("uploads/last-minute.flac"))
    assert counts(scene.run())["present"] == 3
    assert scene.library.status(upload) == "processing"
    assert complete(scene.library, upload)
    scene.assert_all_is_well()


def test_an_upload_that_is_overtaken_by_the_write_is_told_so_and_can_be_brought_back(
    scene: Scene, upload: Id, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file came in the instant between the last look and the write, more than an hour late.

    No look can be taken in the same instant as a write. The uploader's own guarded statement says that it came too
    late, and the undo brings the track back as it was.
    """
    BEFORE_WRITE.arrange(monkeypatch, lambda: scene.library.write("uploads/last-minute.flac"))
    result = scene.run()
    assert scene.library.status(upload) == "failed"
    assert not complete(scene.library, upload)
    monkeypatch.undo()
    undo = run_job(
        scene.library,
        scene.instance,
        job="restore_orphan_tracks",
        ops={"find_marked_tracks": {"run_id": result.run_id}, "restore_tracks": {"dry_run": False}},
    )
    assert undo.success
    assert complete(scene.library, upload)
    scene.assert_all_is_well()


CHANGES: dict[str, str] = {
    "its file_path is rewritten": "UPDATE tracks SET file_path = 'uploads/slow.flac' WHERE id = :id",
    "it is soft-deleted": "UPDATE tracks SET deleted_at = now() WHERE id = :id",
    "it is begun anew": "UPDATE tracks SET created_at = now(), updated_at = now() WHERE id = :id",
    "it is begun anew without a trace": "UPDATE tracks SET created_at = now() WHERE id = :id",
    "its uploader gives a sign of life": "UPDATE tracks SET updated_at = now() WHERE id = :id",
    "it fails for another reason": "UPDATE tracks SET status = 'failed', status_message = 'no codec' WHERE id = :id",
    "it goes back to uploading": "UPDATE tracks SET status = 'uploading' WHERE id = :id",
}


@pytest.mark.parametrize("moment", [AFTER_LOOK, BEFORE_WRITE], ids=str)
@pytest.mark.parametrize("change", CHANGES.values(), ids=[words.replace(" ", "_") for words in CHANGES])
def test_a_track_that_changes_after_it_was_checked_is_left_as_it_was_changed(
    scene: Scene, upload: Id, change: str, moment: Moment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def act() -> None:
        scene.library.execute(change, id=upload)
        scene.good[upload] = scene.library.row(upload)

    moment.arrange(monkeypatch, act)
    after = counts(scene.run())
    assert after["raced"] == 1
    assert after["marked_failed"] == len(scene.ghosts)
    scene.assert_all_is_well()


@pytest.mark.parametrize("moment", BEFORE_COMMIT, ids=str)
def test_a_row_that_is_deleted_in_mid_run_is_not_missed(
    scene: Scene, upload: Id, moment: Moment, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment.arrange(monkeypatch, lambda: scene.library.execute("DELETE FROM tracks WHERE id = :id", id=upload))
    assert counts(scene.run())["marked_failed"] == len(scene.ghosts)
    assert upload not in scene.library.rows()
    scene.assert_all_is_well()


@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_a_row_that_the_api_has_locked_is_left_to_it(
    scene: Scene, upload: Id, ends: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API is in the middle of completing the track when the write comes."""
    with scene.library.engine.connect() as connection:
        transaction = connection.begin()

        def begin_to_complete() -> None:
            connection.execute(sa.text(COMPLETE), {"id": upload})

        BEFORE_WRITE.arrange(monkeypatch, begin_to_complete)
        after = counts(scene.run())
        assert (after["raced"], after["marked_failed"]) == (1, len(scene.ghosts))
        getattr(transaction, ends)()
    monkeypatch.undo()
    if ends == "rollback":  # the uploader died after all
        scene.ghosts.append(upload)
    else:
        scene.library.write(scene.library.row(upload)["file_path"])
    scene.assert_next_run_finishes()
    assert scene.library.status(upload) == ("ready" if ends == "commit" else "failed")


def test_a_row_that_somebody_refers_to_can_still_be_marked(scene: Scene) -> None:
    """A new comment on a track holds a lock on the track's key, which our write doesn't touch."""
    scene.library.execute("CREATE TABLE comments (track uuid REFERENCES tracks)")
    with scene.library.engine.begin() as connection:
        connection.execute(sa.text("INSERT INTO comments VALUES (:id)"), {"id": scene.ghosts[0]})
        assert counts(scene.run())["marked_failed"] == len(scene.ghosts)
    scene.assert_all_is_well()


@pytest.fixture
def library_of_old_rows(scene: Scene) -> Library:
    """A table that was restored from a backup: thousands of rows are stale all of a sudden."""
    scene.library.execute(
        "INSERT INTO tracks (id, status, file_path, created_at, updated_at) "
        "SELECT gen_random_uuid(), 'processing', 'restored/' || n || '.flac', now() - interval '40 days' "
        "+ n * interval '1 minute', now() - interval '40 days' FROM generate_series(1, 5000) n"
    )
    return scene.library


def test_a_table_from_an_old_backup_loses_no_track_whose_file_is_there(
    scene: Scene, library_of_old_rows: Library
) -> None:
    for number in range(1, 5001):
        library_of_old_rows.write(f"restored/{number}.flac", b"")
    scene.remember()
    after = counts(scene.run(ops={"find_stale_tracks": {"batch_size": 2000}}))
    assert after["present"] == 5002
    scene.assert_all_is_well()


def test_a_table_from_an_old_backup_without_any_file_is_cleaned_if_the_storage_is_proven(
    scene: Scene, library_of_old_rows: Library
) -> None:
    after = counts(scene.run(ops={"find_stale_tracks": {"batch_size": 2000}}))
    assert after["marked_failed"] == 5000 + len(scene.ghosts)
    assert {row["status"] for row in library_of_old_rows.rows().values() if "restored" in row["file_path"]} == {
        "failed"
    }
    assert {identity: library_of_old_rows.row(identity) for identity in list(scene.good)[:7]} == dict(
        list(scene.good.items())[:7]
    )


def test_a_table_from_an_old_backup_on_a_new_disk_is_refused(scene: Scene, library_of_old_rows: Library) -> None:
    """Restored in another place, where none of the files has come yet."""
    elsewhere = library_of_old_rows.root.with_name("new-disk")
    elsewhere.mkdir()
    scene.assert_refused(scene.run(storage={"root": str(elsewhere)}), "only 0 of the 3 newest playable tracks")
