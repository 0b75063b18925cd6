"""Storms of configuration: the disk is fine, but the job looks in the wrong place."""

from pathlib import Path

import dagster as dg

from veza_ops_tests.library import Library, Schema, counts
from veza_ops_tests.storms.scene import Scene


def container_scene(database_url: str, folder: Path, instance: dg.DagsterInstance) -> Scene:
    """A scene whose rows hold absolute paths as the API's container has them; this machine has them elsewhere."""
    library = Library(database_url, folder, Schema())
    scene = Scene(library, instance)
    library.execute("UPDATE tracks SET file_path = '/srv/api/data/' || file_path")
    scene.remember()
    return scene


def test_a_wrong_root_is_refused(scene: Scene, tmp_path: Path) -> None:
    other = tmp_path / "another library"
    (other / "uploads").mkdir(parents=True)
    (other / "uploads" / "somebody-elses.flac").write_bytes(b"music")
    scene.assert_refused(scene.run(storage={"root": str(other)}), str(other), "only 0 of the 3", "VEZA_STORAGE_ROOT")
    scene.assert_next_run_finishes()


def test_a_root_that_is_one_folder_too_high_or_too_deep_is_refused(scene: Scene) -> None:
    root = scene.library.root
    for wrong in (root.parent, root / "playable", root / "uploads"):
        scene.assert_refused(scene.run(storage={"root": str(wrong)}), str(wrong), "only 0 of the 3")
    scene.assert_next_run_finishes()


def test_a_root_that_is_a_file_or_relative_is_refused(scene: Scene) -> None:
    file = scene.library.root / "playable" / "0.flac"
    scene.assert_refused(scene.run(storage={"root": str(file)}), str(file), "ENOTDIR")
    scene.assert_refused(scene.run(storage={"root": "files"}), "'files'", "absolute")
    scene.assert_next_run_finishes()


def test_with_no_root_at_all_relative_paths_prove_nothing(scene: Scene) -> None:
    scene.assert_refused(scene.run(storage={"root": ""}), "no root", "only 0 of the 3", "no storage root is configured")
    scene.assert_next_run_finishes()


def test_a_wrong_container_prefix_is_refused(database_url: str, tmp_path: Path, instance: dg.DagsterInstance) -> None:
    scene = container_scene(database_url, tmp_path / "files", instance)
    for path_map in ({}, {"/srv/api": str(tmp_path / "files")}, {"/srv/api/dat": str(tmp_path / "files")}):
        scene.assert_refused(scene.run(storage={"root": "", "path_map": path_map}), "only 0 of the 3", "path_map")
    scene.assert_next_run_finishes(storage={"root": "", "path_map": {"/srv/api/data": str(tmp_path / "files")}})
    scene.library.engine.dispose()


def test_a_path_map_that_holds_for_a_part_of_the_tracks_fails_none_of_the_others(scene: Scene) -> None:
    """`/mnt/movies` is not `/mnt/movies2`: what the map doesn't speak of is looked for where it says it is."""
    library = scene.library
    library.execute("UPDATE tracks SET file_path = '/mnt/music/' || file_path")
    elsewhere = library.root.with_name("music2")
    elsewhere.mkdir()
    (elsewhere / "slow.flac").write_bytes(b"music")
    library.add(f"{elsewhere}/slow.flac")
    scene.remember()
    path_map = {"/mnt/music": str(library.root), str(elsewhere)[:-1]: "/nowhere"}
    result = scene.run(storage={"root": "", "path_map": path_map})
    assert counts(result)["present"] == 3
    scene.assert_all_is_well()
