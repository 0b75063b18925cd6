"""The witnesses that are asked are the newest ones, wherever their files are."""

from datetime import timedelta

from veza_ops.storage.layout import Layout
from veza_ops.tracks.preflight import preflight
from veza_ops.tracks.table import Tracks
from veza_ops.witnesses import draw
from veza_ops_tests.library import Library


def test_where_a_single_path_is_in_another_form_the_table_is_not_asked_by_how_paths_begin(library: Library) -> None:
    for path in ("a/1.flac", "./a/2.flac", "a/3.flac"):
        library.add(path, status="ready")
    with library.engine.begin() as connection:
        tracks = Tracks(preflight(connection, schema="public", name="tracks"), connection)
        assert not draw(tracks, Layout(str(library.root)), 20).is_tidy


def test_a_file_that_several_tracks_name_is_one_witness(library: Library) -> None:
    library.execute("DELETE FROM tracks")
    for path in ("a/1.flac", "a/1.flac", "a//1.flac", "a/2.flac"):
        library.add(path, status="ready")
    with library.engine.begin() as connection:
        tracks = Tracks(preflight(connection, schema="public", name="tracks"), connection)
        (of_area,) = draw(tracks, Layout(str(library.root)), 20).areas.values()
    assert len(of_area) == 2


def test_paths_below_a_folder_may_begin_with_a_dot() -> None:
    assert Layout("/music").prefixes_of("/music/a") == ["/music/a/", "a/", "./a/"]


def test_the_newest_of_the_whole_are_its_witnesses_in_whichever_areas_they_are(library: Library) -> None:
    library.execute("DELETE FROM tracks")
    for number in range(3):
        for area in ("a", "b"):
            age = timedelta(minutes=2 * number + (area == "b"))
            library.add(f"{area}/{number}.flac", status="ready", age=age)
    with library.engine.begin() as connection:
        tracks = Tracks(preflight(connection, schema="public", name="tracks"), connection)
        sample = draw(tracks, Layout(str(library.root)), 3)
    assert [known.file_path for known in sample.whole] == ["a/0.flac", "b/0.flac", "a/1.flac"]
    assert [len(known) for known in sample.areas.values()] == [3, 3]
