"""A live original is never told of as a file of nobody's, however its row is written, and however it is reached."""

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import dagster as dg
import pytest

from veza_ops.audit import ways
from veza_ops.audit.asset import NO_FILE_UNNAMED
from veza_ops.audit.claims import Claims
from veza_ops.audit.ops import YET_UNNAMED
from veza_ops.audit.table import Table
from veza_ops.evidence import Evidence
from veza_ops.resources import EvidenceStore
from veza_ops.storage.files import Files
from veza_ops.storage.layout import Layout
from veza_ops.tracks.row import Track
from veza_ops_tests.audit.test_findings import audit, checks, leak, library, listed, observed, start
from veza_ops_tests.library import Library, failure
from veza_ops_tests.storms.test_areas import restrict

__all__ = ["library"]

BUCKET = "s3://songs"


def claims_of(files: Files, paths: Sequence[Path | str], *, knows_links: bool = True) -> Claims:
    claims = Claims(files, knows_links)
    claims.add([str(path) for path in paths])
    return claims


def meet(claims: Claims, *file_paths: str | None) -> None:
    claims.meet(Track(str(number), path, "", None) for number, path in enumerate(file_paths))


def write(root: Path, *paths: str) -> list[Path]:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"music")
    return [root / path for path in paths]


NOBODY_KNOWS_WHERE = [
    "/app/storage/uploads/up/song.flac",
    "/up/song.flac",
    "/uploads/../up/song.flac",
    "files/up/song.flac",
    "https://cdn.example.org/up/song.flac",
    "https://cdn.example.org/up/Song.FLAC?token=a/b",
    "s3://elsewhere/up/song.flac",
    "file://localhost{root}/up/song.flac",
    "C:\\up\\song.flac",
]


@pytest.mark.parametrize("row", NOBODY_KNOWS_WHERE)
def test_a_row_whose_place_nobody_knows_may_mean_any_file_of_its_name(tmp_path: Path, row: str) -> None:
    root = tmp_path / "files"
    song, other = write(root, "up/song.flac", "up/other.flac")
    claims = claims_of(Files(Layout(str(root))), [song, other])
    meet(claims, row.format(root=root))
    assert claims.is_taken(str(song))
    assert not claims.is_taken(str(other))


@pytest.mark.parametrize("row", ["https://songs.s3.amazonaws.com/a/k.flac", "s3a://songs/a/k.flac", "/songs/a/k.flac"])
def test_such_a_row_may_mean_an_object_too(tmp_path: Path, row: str) -> None:
    claims = claims_of(Files(Layout(str(tmp_path))), [f"{BUCKET}/a/k.flac", f"{BUCKET}/a/other.flac"])
    meet(claims, row)
    assert [claims.is_taken(f"{BUCKET}/a/{name}.flac") for name in ("k", "other")] == [True, False]


def test_a_row_whose_place_is_known_means_no_other_file_of_its_name(tmp_path: Path) -> None:
    root = tmp_path / "files"
    (moved,) = write(root, "new/song.flac")
    claims = claims_of(Files(Layout(str(root))), [moved])
    meet(claims, "old/song.flac", str(root / "older/song.flac"), "/a")
    assert not claims.is_taken(str(moved))


def test_a_folder_that_is_called_as_the_one_that_it_is_in_is_known_where_there_is_one(tmp_path: Path) -> None:
    root = tmp_path / "files"
    (moved, _) = write(root, "new/song.flac", "files/other.flac")
    claims = claims_of(Files(Layout(str(root))), [moved])
    meet(claims, "files/song.flac")
    assert not claims.is_taken(str(moved))


@pytest.mark.parametrize("row", ["q.flac?sig=a/b", "q.flac#t=1/2", "q.flac?next=/music/y.flac"])
def test_an_address_with_slashes_behind_the_name_means_its_file(tmp_path: Path, row: str) -> None:
    (file,) = write(tmp_path, "up/q.flac")
    claims = claims_of(Files(Layout(str(tmp_path))), [file])
    meet(claims, f"up/{row}")
    assert claims.is_taken(str(file))


@pytest.mark.parametrize("row", ["albums/one/.", "albums/one/x/..", "albums/./one//"])
def test_a_row_of_a_folder_means_all_that_is_in_it_however_it_ends(tmp_path: Path, row: str) -> None:
    inside, beside = write(tmp_path, "albums/one/1.ts", "albums/two/1.ts")
    claims = claims_of(Files(Layout(str(tmp_path))), [inside, beside])
    meet(claims, row)
    assert [claims.is_taken(str(file)) for file in (inside, beside)] == [True, False]


def test_a_row_of_a_link_to_a_folder_means_all_that_is_in_there(tmp_path: Path) -> None:
    named, other = write(tmp_path, "releases/v1/1.ts", "releases/v2/1.ts")
    (tmp_path / "hls").mkdir()
    for name, of in (("album", "v1"), ("unused", "v2")):
        (tmp_path / "hls" / name).symlink_to(tmp_path / "releases" / of)
    claims = claims_of(Files(Layout(str(tmp_path))), [named, other])
    claims.meet_links([str(tmp_path / "hls" / name) for name in ("album", "unused")])
    meet(claims, "hls/album")
    assert [claims.is_taken(str(file)) for file in (named, other)] == [True, False]


@pytest.mark.parametrize("is_elsewhere", [True, False], ids=["elsewhere", "below_the_root"])
def test_a_row_of_a_link_that_was_not_met_means_what_it_leads_to(tmp_path: Path, *, is_elsewhere: bool) -> None:
    root = tmp_path / "files"
    blob, other, album = write(root, "blobs/0123.flac", "blobs/4567.flac", "albums/one/1.ts")
    place = tmp_path / "old" if is_elsewhere else root / "public"
    place.mkdir()
    (place / "song.flac").symlink_to(blob)
    (place / "hits").symlink_to(album.parent)
    claims = claims_of(Files(Layout(str(root))), [blob, other, album], knows_links=is_elsewhere)
    meet(claims, str(place / "song.flac"), str(place / "hits"))
    assert [claims.is_taken(str(file)) for file in (blob, other, album)] == [True, False, True]


def test_a_folder_that_is_mounted_twice_is_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a bind mount makes it, which takes rights that a test hasn't got."""
    root, mounted = tmp_path / "files", tmp_path / "mounted"
    live, other = write(root, "up/live.flac", "up/other.flac")
    write(mounted, "live.flac")
    real = ways.identity
    monkeypatch.setattr(ways, "identity", lambda path: real(str(root / "up") if path == str(mounted) else path))
    files = Files(Layout(str(root), {"/app": str(mounted)}))
    claims = claims_of(files, [live, other])
    meet(claims, "/app/live.flac")
    assert [claims.is_taken(str(file)) for file in (live, other)] == [True, False]


def test_a_row_that_cannot_be_read_may_mean_any_file_whose_name_is_not_ascii(tmp_path: Path) -> None:
    odd, plain = write(tmp_path, "Beyonc\udc81.flac", "plain.flac")
    claims = claims_of(Files(Layout(str(tmp_path))), [odd, plain])
    meet(claims, None)
    assert [claims.is_taken(str(file)) for file in (odd, plain)] == [True, False]


def test_where_a_folder_really_is_that_gives_no_answer_makes_nothing_sure(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    leak(library, "music/leaked.flac")
    real = os.path.realpath

    def hang(path: str) -> str:
        time.sleep(5 if "/music" in path else 0)
        return real(path)

    monkeypatch.setattr(os.path, "realpath", hang)
    asked: list[int] = []

    def naming(_: Table) -> Iterator[list[Track]]:
        for number in range(3):
            asked.append(number)
            yield [Track(str(number), f"music/{number}/leaked.flac", "", None)]

    monkeypatch.setattr(Table, "naming", naming)
    result = start(library, instance, storage={"look_timeout_seconds": 1})
    assert asked == [0], "what follows can't make it sure, and takes as long"
    told = observed(instance)
    assert (told["unnamed"], told["unsure"]) == (0, 1)
    assert told["unsure_since"].startswith("Storage gave no answer")
    is_well, says = checks(result)[NO_FILE_UNNAMED.name]
    assert not is_well
    assert "1 more of which nobody could tell at the end" in says


def test_a_table_without_a_playable_track_makes_no_file_that_of_nobody(
    library: Library, instance: dg.DagsterInstance
) -> None:
    leak(library, "live.flac")
    library.execute("DELETE FROM tracks")
    told = audit(library, instance)
    assert (told["unnamed"], told["unsure"]) == (0, 1)
    assert told["unsure_since"].startswith("The table has no playable track")


def test_tracks_that_row_level_security_may_hide_may_have_any_file(
    library: Library, instance: dg.DagsterInstance
) -> None:
    leak(library, "live.flac")
    restrict(library, "file_path LIKE 'playable/%'")
    url = library.url.replace("postgres:@", "restricted:@")
    told = audit(library, instance, database={"url": url})
    assert (told["unnamed"], told["unsure"]) == (0, 1)
    assert told["unsure_since"].startswith("Row-level security")


@pytest.mark.parametrize("part", [{"folders": ["blobs"]}, {"max_files": 1, "folders": ["blobs", "public"]}], ids=str)
def test_a_walk_through_a_part_looks_for_links_at_the_paths_of_rows(
    library: Library, instance: dg.DagsterInstance, part: dict[str, object]
) -> None:
    blob = leak(library, "blobs/0123.flac")
    (library.root / "public").mkdir()
    (library.root / "public/song.flac").symlink_to(blob)
    library.add("public/song.flac", status="ready")
    told = audit(library, instance, walk=part)
    assert told["unnamed"] == 0
    assert listed(told, "unnamed") == []


def test_looking_again_knows_of_links_that_were_made_since(library: Library, instance: dg.DagsterInstance) -> None:
    blob = leak(library, "blobs/0123.flac")
    first = audit(library, instance)
    assert first["unnamed"] == 1
    (library.root / "song.flac").symlink_to(blob)
    library.add("song.flac", status="ready")
    assert audit(library, instance, tracks={"recheck": first["run_id"]})["unnamed"] == 0


def test_a_link_is_no_file_of_nobody_wherever_it_leads(library: Library, instance: dg.DagsterInstance) -> None:
    (library.root / "dangling.flac").symlink_to(library.root / "gone.flac")
    os.utime(library.root / "dangling.flac", (0, 0), follow_symlinks=False)
    told = audit(library, instance)
    assert (told["unnamed"], told["unnamed_unconfirmed"], told["unsure"]) == (0, 0, 0)


def test_a_run_that_did_not_come_to_its_end_is_not_looked_at_again(
    library: Library, instance: dg.DagsterInstance
) -> None:
    library.add("playable/gone.flac", status="ready")
    first = audit(library, instance)
    records: Evidence = EvidenceStore().of_run(first["run_id"], instance)
    records.write(YET_UNNAMED, 0, [{"path": "/a", "size": 1}])
    said = failure(start(library, instance, tracks={"recheck": first["run_id"]}))
    assert said.startswith(f"Run {first['run_id']} didn't come to its end")
