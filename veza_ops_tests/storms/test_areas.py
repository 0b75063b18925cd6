"""Storms on a part of the storage: each area is proven by its own files, and a disk that is away costs its own."""

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from veza_ops.findings import STORAGE_PROVEN
from veza_ops_tests.library import Id, Library, counts, failure, run_job
from veza_ops_tests.storms.mounts import Disk, disk, hung
from veza_ops_tests.storms.scene import (
    AFTER_LOOK,
    AFTER_SECOND_LOOK,
    BEFORE_COMMIT,
    BEFORE_LAST_LOOK,
    BEFORE_LOOK,
    BEFORE_PROOF,
    BEFORE_SECOND_LOOK,
    BEFORE_SECOND_PROOF,
    BEFORE_WRITE,
    Moment,
    Scene,
    unverifiable_reasons,
)


def playable(
    library: Library,
    folder: str,
    number: int,
    *,
    status: str = "ready",
    content: bytes | None = b"music",
    age: timedelta = timedelta(0),
) -> None:
    """So many playable tracks in a folder, with their files unless told otherwise."""
    for each in range(number):
        library.add(f"{folder}/{each}.flac", status=status, content=content, age=age + timedelta(minutes=each))


def proven(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    """What a run said of the storage."""
    (said,) = [each for each in result.get_asset_check_evaluations() if each.check_name == STORAGE_PROVEN.name]
    return said


def assert_left(scene: Scene, left: Id, result: dg.ExecuteInProcessResult, *words: str) -> None:
    """One ghost was left alone, its area named everywhere; all others are failed."""
    assert scene.library.status(left) == "processing"
    path = scene.library.row(left)["file_path"]
    for word in words:
        assert word in unverifiable_reasons(result)[path]
    scene.assert_all_is_well()


@pytest.fixture
def second(scene: Scene, tmp_path: Path) -> Iterator[Disk]:
    """A second disk under the root, in use, as is the folder that the ghosts are in."""
    playable(scene.library, "uploads/a", 11)
    with disk(tmp_path / "second", scene.library.root / "b") as it:
        playable(scene.library, "b", 9)
        yield it


@pytest.fixture
def left(scene: Scene, second: Disk) -> Id:  # noqa: ARG001 - it has to be there
    """A good track on the second disk: its file is there, though its upload was slow."""
    track = scene.library.add("b/slow.flac", content=b"music")
    scene.remember()
    return track


def test_a_second_disk_that_is_not_mounted_costs_its_own_tracks_alone(scene: Scene, second: Disk, left: Id) -> None:
    second.umount()
    result = scene.run()
    assert_left(scene, left, result, f"nothing proves {scene.library.root}/b", "only 0 of the 9")
    said = proven(result)
    assert (said.passed, said.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert f"{scene.library.root}/b" in (said.description or "")
    second.mount()
    scene.assert_next_run_finishes()
    assert scene.library.status(left) == "processing"


@pytest.mark.usefixtures("left")
@pytest.mark.parametrize("moment", BEFORE_COMMIT, ids=str)
def test_a_second_disk_that_goes_away_in_mid_run_takes_no_good_track_with_it(
    scene: Scene, second: Disk, moment: Moment, monkeypatch: pytest.MonkeyPatch
) -> None:
    ghost = scene.library.add_ghost(file_path="b/ghost.flac")
    moment.arrange(monkeypatch, second.umount)
    result = scene.run()
    scene.assert_no_good_track_changed()
    assert counts(result)["marked_failed"] >= len(scene.ghosts)
    if moment in BEFORE_LAST_LOOK:
        assert scene.library.status(ghost) == "processing"
    monkeypatch.undo()
    second.mount()
    scene.ghosts.append(ghost)
    scene.assert_next_run_finishes()


def test_tracks_without_a_date_prove_their_disk_too(scene: Scene, second: Disk, left: Id) -> None:
    scene.library.execute("ALTER TABLE tracks ALTER created_at DROP NOT NULL")
    scene.library.execute("UPDATE tracks SET created_at = NULL WHERE file_path LIKE 'b/%' AND status = 'ready'")
    scene.remember()
    second.umount()
    (second.place / "a-stray-file").touch()
    assert_left(scene, left, scene.run(), f"nothing proves {scene.library.root}/b", "only 0 of the 9")


@pytest.mark.parametrize("sample_size", [1, 20])
def test_an_empty_root_is_not_taken_on_trust_because_no_track_has_a_date(scene: Scene, sample_size: int) -> None:
    scene.library.execute("ALTER TABLE tracks ALTER created_at DROP NOT NULL")
    scene.library.execute("UPDATE tracks SET created_at = NULL WHERE status = 'ready'")
    scene.remember()
    aside = scene.library.root.rename(scene.library.root.with_name("aside"))
    scene.library.root.mkdir()
    storage = {"root": str(scene.library.root), "sample_size": sample_size}
    scene.assert_refused(scene.run(storage=storage), "This storage is not the one that the database describes")
    scene.library.root.rmdir()
    aside.rename(scene.library.root)
    scene.assert_next_run_finishes(storage=storage)


def test_a_second_disk_that_is_mounted_empty_costs_its_own_tracks_alone(
    scene: Scene, second: Disk, left: Id, tmp_path: Path
) -> None:
    second.umount()
    with disk(tmp_path / "empty", second.place):
        assert_left(scene, left, scene.run(), "only 0 of the 9")


@pytest.mark.parametrize(
    "moments",
    [
        (BEFORE_PROOF, AFTER_LOOK, BEFORE_SECOND_PROOF, AFTER_SECOND_LOOK),
        (BEFORE_LOOK, BEFORE_SECOND_PROOF, BEFORE_SECOND_LOOK, BEFORE_WRITE),
    ],
    ids=["before", "after"],
)
def test_a_folder_that_is_another_one_for_the_looks_alone_is_found_out_by_one_of_their_proofs(
    scene: Scene, moments: tuple[Moment, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another folder of the same disk, and not empty: nothing but the witnesses can tell."""
    playable(scene.library, "b", 9)
    playable(scene.library, "uploads/a", 9)
    slow = scene.library.add("b/slow.flac", content=b"music")
    scene.remember()
    here, aside, other = (scene.library.root / name for name in ("b", "b-aside", "b-other"))
    other.mkdir()
    (other / "somebody-elses.flac").touch()
    for moment, (first, second) in zip(
        moments, [((here, aside), (other, here)), ((here, other), (aside, here))] * 2, strict=True
    ):

        def swap(first: tuple[Path, Path] = first, second: tuple[Path, Path] = second) -> None:
            for before, after in (first, second):
                before.rename(after)

        moment.arrange(monkeypatch, swap)
    assert_left(scene, slow, scene.run(), "only 0 of the 9")


def test_what_was_left_in_the_folder_under_a_second_disk_proves_nothing(scene: Scene, second: Disk, left: Id) -> None:
    second.umount()
    scene.library.write("b/0.flac")  # written while the disk was away once before
    scene.library.write("b/other.flac")
    assert_left(scene, left, scene.run(), "only 1 of the 9")


def test_an_empty_disk_for_new_uploads_may_be_one_that_is_not_mounted(scene: Scene) -> None:
    """No playable track is on it, so only the whole could speak for it: an operator's marker tells."""
    ghost = scene.library.add_ghost(file_path="incoming/ghost.flac")
    (scene.library.root / "incoming").mkdir()
    assert_left(scene, ghost, scene.run(), "incoming is empty")
    (scene.library.root / "incoming" / ".veza").touch()
    scene.ghosts.append(ghost)
    scene.assert_next_run_finishes()


def test_another_file_system_is_proven_by_its_own_files_only(scene: Scene, tmp_path: Path) -> None:
    with disk(tmp_path / "incoming", scene.library.root / "incoming"):
        ghost = scene.library.add_ghost(file_path="incoming/ghost.flac")
        scene.library.write("incoming/.marker")
        assert_left(scene, ghost, scene.run(), "on a file system where no file of a playable track was seen")
        playable(scene.library, "incoming", 1)
        scene.ghosts.append(ghost)
        scene.remember()
        scene.assert_next_run_finishes()


def test_a_disk_mounted_below_the_first_level_is_noticed_too(scene: Scene, tmp_path: Path) -> None:
    """Its area is proven by other folders; where it should be is an empty folder that playable tracks speak of."""
    with disk(tmp_path / "deep", scene.library.root / "uploads" / "shard" / "7") as deep:
        playable(scene.library, "uploads/a", 60)
        playable(scene.library, "uploads/shard/7", 3, age=timedelta(days=90))
        slow = scene.library.add("uploads/shard/7/slow.flac", content=b"music")
        scene.remember()
        deep.umount()
        assert_left(scene, slow, scene.run(), "shard/7 is empty, where playable tracks should have their files")
        with disk(tmp_path / "other", deep.place):
            scene.library.write("uploads/shard/7/other.flac")
            assert_left(scene, slow, scene.run(), "shard/7 is on a file system where no file")
        deep.mount()
        scene.assert_next_run_finishes()


def test_an_empty_folder_of_the_uploader_holds_up_no_ghost(scene: Scene) -> None:
    """A folder for each upload, made before the file: no playable track speaks of it."""
    playable(scene.library, "uploads/of/others", 3)
    scene.remember()
    for number in range(10):
        scene.ghosts.append(scene.library.add_ghost(file_path=f"uploads/{number}-8c1f/audio.flac"))
        (scene.library.root / f"uploads/{number}-8c1f").mkdir()
    assert counts(scene.run())["marked_failed"] == 13
    scene.assert_all_is_well()


def test_twenty_tracks_of_one_file_are_one_witness(scene: Scene) -> None:
    for number in range(20):
        scene.library.add("playable/jingle.flac", status="ready", age=timedelta(minutes=number), content=b"music")
    for number in range(5):
        scene.library.add(f"b/{number}.flac", status="ready", age=timedelta(days=9))
        scene.library.add(f"uploads/a/{number}.flac", status="ready", age=timedelta(days=9), content=b"music")
    (scene.library.root / "b").mkdir()
    ghost = scene.library.add("b/slow.flac")
    scene.remember()
    assert_left(scene, ghost, scene.run(), "only 0 of the 5")


def test_one_file_of_many_tracks_does_not_outvote_those_that_are_lost(scene: Scene) -> None:
    for number in range(20):
        scene.library.add("uploads/jingle.flac", status="ready", age=timedelta(minutes=number), content=b"music")
    playable(scene.library, "uploads/a", 5, content=None, age=timedelta(days=9))
    scene.remember()
    assert "only 1 of the 6" in failure(scene.run())
    scene.assert_nothing_changed()


@pytest.mark.parametrize("file_path", [".", "uploads", "playable/"])
def test_a_folder_is_no_witness(scene: Scene, file_path: str) -> None:
    scene.library.execute("UPDATE tracks SET file_path = :path WHERE status = 'ready'", path=file_path)
    scene.remember()
    result = scene.run()
    assert not result.success
    assert "no regular file" in failure(result)
    scene.assert_nothing_changed()


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_one_in_ten_of_the_sample_may_be_lost(scene: Scene, lost: int) -> None:
    playable(scene.library, "uploads/a", 20 - lost)
    playable(scene.library, "uploads/lost", lost, content=None)
    scene.remember()
    result = scene.run()
    if lost <= 2:
        assert counts(result)["marked_failed"] == len(scene.ghosts)
        assert (proven(result).passed, proven(result).severity) == (False, dg.AssetCheckSeverity.WARN)
        scene.assert_all_is_well()
    else:
        assert f"only {20 - lost} of the 20" in failure(result)
        scene.assert_nothing_changed()


@pytest.mark.parametrize("status", ["cancelled", "FAILED", "Deleted", "draft", "qUEued"])
def test_tracks_that_need_have_no_file_are_not_asked_for_one(scene: Scene, status: str) -> None:
    playable(scene.library, "uploads", 25, content=None, status=status)
    scene.library.execute("UPDATE tracks SET status = 'completed' WHERE status = 'ready'")
    scene.remember()
    assert counts(scene.run())["marked_failed"] == len(scene.ghosts)
    scene.assert_all_is_well()


def test_a_refusal_names_the_statuses_of_what_was_not_seen_and_the_setting_that_leaves_them_out(scene: Scene) -> None:
    playable(scene.library, "uploads", 25, content=None, status="Vorgemerkt")
    scene.remember()
    result = scene.run()
    assert "status 'Vorgemerkt'" in failure(result)
    assert "database.not_playable" in failure(result)
    scene.assert_nothing_changed()
    words = ["uploading", "processing", "failed", "vorgemerkt"]
    assert counts(scene.run(database={"not_playable": words}))["marked_failed"] == len(scene.ghosts)


def test_a_target_of_the_path_map_that_is_not_there_costs_its_own_tracks(scene: Scene, tmp_path: Path) -> None:
    mapped = scene.library.add("/app/uploads/slow.flac")
    scene.remember()
    path_map = {"/app/uploads": str(tmp_path / "nowhere")}
    result = scene.run(storage={"path_map": path_map})
    assert_left(scene, mapped, result, f"there is no such folder: '{tmp_path}/nowhere'")
    assert f"{tmp_path}/nowhere of storage.path_map can't be used" in (proven(result).description or "")


@pytest.mark.parametrize("written", ["/app//uploads/s.flac", "/app/./uploads/s.flac", "/app/x/../uploads/s.flac"])
@pytest.mark.parametrize("prefix", ["/app/uploads", "/app//uploads/", "/app/./uploads"])
def test_a_prefix_of_the_path_map_is_found_however_it_is_written(scene: Scene, written: str, prefix: str) -> None:
    scene.library.write("uploads/s.flac")
    scene.library.add(written)
    scene.remember()
    result = scene.run(storage={"path_map": {prefix: str(scene.library.root / "uploads")}})
    assert counts(result)["present"] == 3
    scene.assert_all_is_well()


def test_a_path_of_the_apis_own_is_proven_by_nothing(scene: Scene) -> None:
    elsewhere = scene.library.add("/tmp/veza-upload-8c1f/blob.mp3")
    result = scene.run()
    assert_left(scene, elsewhere, result, "nothing proves /tmp", "neither below the storage root nor in")
    for ghost in scene.ghosts:
        scene.library.execute("DELETE FROM tracks WHERE id = :id", id=ghost)
    scene.ghosts = []
    assert counts(scene.run())["unverifiable"] == 1


def test_absolute_paths_are_proven_by_tracks_beside_them(scene: Scene) -> None:
    """As on a platform that keeps absolute paths, and has no root configured."""
    scene.library.execute(f"UPDATE tracks SET file_path = '{scene.library.root}/' || file_path")
    scene.remember()
    assert counts(scene.run(storage={"root": ""}))["marked_failed"] == len(scene.ghosts)
    scene.assert_all_is_well()


def test_on_a_new_platform_only_what_is_configured_is_taken_on_trust(scene: Scene) -> None:
    scene.library.execute("DELETE FROM tracks WHERE status = 'ready'")
    elsewhere = scene.library.add("/tmp/veza-upload-8c1f/blob.mp3")
    scene.remember()
    result = scene.run()
    assert scene.library.status(elsewhere) == "processing"
    assert "taken on trust" in (proven(result).description or "")
    scene.assert_all_is_well()


@pytest.mark.parametrize("written", ["uploads//shard/7", "./uploads/shard/7", "uploads/x/../shard/./7"])
def test_tracks_that_are_written_in_another_form_speak_for_their_folder_too(scene: Scene, written: str) -> None:
    playable(scene.library, "uploads/a", 30)
    playable(scene.library, written, 3, content=None, age=timedelta(days=90))
    (scene.library.root / "uploads/shard/7").mkdir(parents=True)
    slow = scene.library.add(f"{written}/slow.flac")
    scene.remember()
    assert_left(scene, slow, scene.run(), "shard/7 is empty, where playable tracks")


@pytest.mark.parametrize("areas", [1, 6], ids=["few", "many"])
def test_in_a_large_table_they_do_so_as_well(scene: Scene, areas: int) -> None:
    """More newer tracks than are read of all, so that the database has to search for those of an area."""
    playable(scene.library, "uploads//a", 60)
    for area in range(areas):
        playable(scene.library, f"area{area}//old", 3, content=None, age=timedelta(days=90))
        scene.library.write(f"area{area}/left-over.flac")
        scene.library.add(f"area{area}/slow.flac")
    scene.remember()
    result = scene.run(storage={"sample_size": 1})
    assert counts(result)["unverifiable"] == areas
    scene.assert_all_is_well()


def test_tracks_of_a_folder_of_the_path_map_do_not_speak_for_the_area_around_it(scene: Scene) -> None:
    playable(scene.library, "uploads/inner", 60)
    playable(scene.library, "b/inner", 60)
    playable(scene.library, "b/old", 3, content=None, age=timedelta(days=90))
    playable(scene.library, "uploads/old", 3, age=timedelta(days=90))
    scene.library.write("b/old/left-over.flac")
    slow = scene.library.add("b/old/slow.flac")
    scene.remember()
    path_map = {f"/app/{name}": str(scene.library.root / name / "inner") for name in ("uploads", "b")}
    result = scene.run(storage={"sample_size": 1, "path_map": path_map})
    assert_left(scene, slow, result, "only 0 of the 1")


def test_where_the_newest_tracks_are_all_in_an_object_store_older_ones_prove_the_disk(scene: Scene) -> None:
    for number in range(60):
        scene.library.add(f"s3://bucket/{number}", status="ready", age=timedelta(minutes=number))
    scene.remember()
    assert counts(scene.run(storage={"sample_size": 1}))["marked_failed"] == len(scene.ghosts)
    scene.assert_all_is_well()


@pytest.mark.parametrize("written", ["/app/Uploads/slow.flac", "/app/uploads%20/slow.flac", "/APP/uploads/slow.flac"])
def test_a_path_that_is_like_one_of_the_path_map_is_not_proven_by_its_neighbours(scene: Scene, written: str) -> None:
    elsewhere = scene.library.root / "elsewhere"
    for number in range(3):
        scene.library.add(f"{elsewhere}/{number}.flac", status="ready", content=b"music")
    slow = scene.library.add(written)
    scene.remember()
    result = scene.run(storage={"path_map": {"/app/uploads": str(scene.library.root)}})
    assert_left(scene, slow, result, "may mean to be")


def test_a_row_that_nobody_can_make_sense_of_costs_itself_alone(scene: Scene) -> None:
    for path in (
        "uploads/&#" + "9" * 5000 + ";.mp3",
        "uploads/" + "e\u0301" * 9000,
        "a/" * 9000,
        "?" * 9000,
        '"   "',
        "/%2e%2e/x.mp3",
    ):
        scene.library.add(path)
    scene.remember()
    assert counts(scene.run())["unverifiable"] == 6
    scene.assert_all_is_well()


def test_areas_that_nothing_proves_are_named_though_nothing_is_wrong_with_them(scene: Scene) -> None:
    scene.library.add("/tmp/veza-upload-8c1f/blob.mp3")
    result = scene.run()
    said = proven(result)
    assert (said.passed, said.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "Left alone: in /tmp" in (said.description or "")


def restrict(library: Library, condition: str) -> None:
    """From now on, veza-ops sees no other rows."""
    library.execute("DROP ROLE IF EXISTS restricted")
    library.execute("CREATE ROLE restricted LOGIN")
    library.execute("GRANT SELECT, UPDATE ON tracks TO restricted")
    library.execute("ALTER TABLE tracks ENABLE ROW LEVEL SECURITY")
    library.execute(f"CREATE POLICY visible_rows ON tracks USING ({condition})")


@pytest.mark.parametrize("through_a_view", [False, True], ids=["table", "view"])
def test_where_row_level_security_may_hide_the_playable_tracks_nothing_is_taken_on_trust(
    scene: Scene,
    through_a_view: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    restrict(scene.library, "status = 'processing'")
    config: dict[str, Any] = {"url": scene.library.url.replace("postgres:@", "restricted:@")}
    if through_a_view:
        scene.library.execute("CREATE VIEW visible WITH (security_invoker) AS SELECT * FROM tracks")
        scene.library.execute("GRANT SELECT, UPDATE ON visible TO restricted")
        config["tracks_table"] = "visible"
    result = scene.run(database=config)
    assert "row-level security may hide the playable tracks" in failure(result)
    scene.assert_nothing_changed()


def test_an_area_whose_tracks_may_be_hidden_is_not_covered_by_the_whole(scene: Scene) -> None:
    playable(scene.library, "uploads/a", 5)
    playable(scene.library, "b", 5, content=None)
    scene.library.write("b/left-over.flac")
    restrict(scene.library, "status IN ('processing', 'failed') OR file_path ~ '^uploads/a'")
    slow = scene.library.add("b/slow.flac")
    scene.remember()
    url = scene.library.url.replace("postgres:@", "restricted:@")
    assert_left(scene, slow, scene.run(database={"url": url}), "row-level security may hide")


def test_a_view_that_shows_no_playable_track_makes_no_new_platform(scene: Scene) -> None:
    scene.library.execute("CREATE VIEW stuck AS SELECT * FROM tracks WHERE status IN ('processing', 'failed')")
    result = scene.run(database={"tracks_table": "stuck"})
    assert "the view that is read leaves them out" in failure(result)
    scene.assert_nothing_changed()


def test_an_empty_folder_that_hidden_tracks_may_speak_of_is_left_alone(scene: Scene) -> None:
    playable(scene.library, "uploads/a", 5)
    restrict(scene.library, "status IN ('processing', 'failed') OR file_path ~ '^uploads/a'")
    ghost = scene.library.add_ghost(file_path="uploads/shard/ghost.flac")
    (scene.library.root / "uploads/shard").mkdir()
    scene.remember()
    url = scene.library.url.replace("postgres:@", "restricted:@")
    assert_left(scene, ghost, scene.run(database={"url": url}), "shard is empty")


def test_one_track_on_a_hung_disk_costs_itself_alone(scene: Scene) -> None:
    with hung(scene.library.root / "hung"):
        waiting = scene.library.add("hung/song.flac")
        scene.ghosts += [scene.library.add_ghost(file_path=f"uploads/{number}-ghost.flac") for number in range(40)]
        scene.remember()
        result = scene.run(storage={"look_timeout_seconds": 6})
        assert counts(result)["unverifiable"] == 1
        assert_left(scene, waiting, result, "no answer within 6 s")


def test_a_link_to_a_hung_disk_costs_itself_alone(scene: Scene, tmp_path: Path) -> None:
    with hung(tmp_path / "hung"):
        link = scene.library.root / "uploads" / "link.flac"
        os.symlink(tmp_path / "hung" / "song.flac", link)
        waiting = scene.library.add("uploads/link.flac")
        scene.remember()
        result = scene.run(storage={"look_timeout_seconds": 6})
        assert counts(result)["unverifiable"] == 1
        assert_left(scene, waiting, result, "no answer within 6 s")


def test_the_undo_leaves_what_a_disk_that_is_away_says_nothing_of(scene: Scene, second: Disk) -> None:
    scene.library.add_ghost(file_path="b/ghost.flac")
    assert counts(scene.run())["marked_failed"] == 4
    second.umount()
    scene.library.write("uploads/1.flac")
    result = run_job(scene.library, scene.instance, job="restore_orphan_tracks")
    assert result.success, failure(result)
    said = result.output_for_node("report_restore")
    assert said["unverifiable"] >= 1


def test_an_undo_that_finds_no_file_on_a_storage_that_proves_nothing_says_so(scene: Scene) -> None:
    assert counts(scene.run())["marked_failed"] == 3
    (scene.library.root.parent / "elsewhere").mkdir()
    away = {"root": str(scene.library.root.parent / "elsewhere")}
    result = run_job(scene.library, scene.instance, job="restore_orphan_tracks", storage=away)
    assert "only 0 of the 3 newest playable tracks" in failure(result)


def test_the_audit_leaves_what_a_disk_that_is_away_says_nothing_of(scene: Scene, second: Disk) -> None:
    second.umount()
    result = run_job(scene.library, scene.instance, job="audit_track_files")
    assert result.success, failure(result)
    said = result.output_for_node("report_audit")
    assert (said["missing"], said["unverifiable"], said["present"]) == (0, 9, 14)
    assert not proven(result).passed
