"""A live original is never told of as a file of nobody's, however its row is written, and however it is reached."""

import errno
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
    claims = Claims(files, knows_links=knows_links)
    claims.add([str(path) for path in paths])
    return claims


def meet(claims: Claims, *file_paths: str | None) -> None:
    claims.meet(Track(str(number), path, "", None) for number, path in enumerate(file_paths))
    claims.settle()


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


@pytest.mark.parametrize("way", ["root", "parent", "target"])
def test_what_is_configured_may_be_reached_by_a_link(tmp_path: Path, way: str) -> None:
    """More rows have the name than may claim it by itself, and each goes through the link of a folder."""
    real = tmp_path / "disk/files"
    names = [f"blobs/{number}/original.flac" for number in range(12)]
    *live, leaked, album = write(real, *names, "blobs/leaked/original.flac", "hls/v2/1.ts")
    (real / "t").mkdir()
    for number in range(12):
        (real / f"t/u{number}").symlink_to(real / f"blobs/{number}")
    (real / "album").symlink_to(real / "hls/v2")
    (tmp_path / "linked").symlink_to(tmp_path / "disk" if way == "parent" else real)
    top = tmp_path / ("linked/files" if way == "parent" else "linked")
    layout, prefix = (Layout("", {"/app": str(top)}), "/app/") if way == "target" else (Layout(str(top)), "")
    seen = [top / file.relative_to(real) for file in (*live, leaked, album)]
    claims = claims_of(Files(layout), seen)
    claims.meet_links([*(str(top / f"t/u{number}") for number in range(12)), str(top / "album")])
    meet(claims, *(f"{prefix}t/u{number}/original.flac" for number in range(12)), f"{prefix}album")
    assert [claims.is_taken(str(file)) for file in seen] == [True] * 12 + [False, True]


def test_a_row_of_a_folder_that_is_mapped_as_well_means_what_is_in_it(tmp_path: Path) -> None:
    inside, beside = write(tmp_path, "albums/one/hls/1.ts", "albums/two/hls/1.ts")
    claims = claims_of(Files(Layout(str(tmp_path), {"/app/one": str(tmp_path / "albums/one")})), [inside])
    meet(claims, "albums/one")
    assert [claims.is_taken(str(file)) for file in (inside, beside)] == [True, False]


def mount(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path, point: Path) -> None:
    """Say that a folder is mounted at a second point: to do it takes rights that a test hasn't got."""
    mounts = tmp_path / "mounts"
    bound = str(folder).replace("p", "\\160")
    mounts.write_text(f"1 0 8:1 / / rw - ext4 disk rw\n2 1 8:1 {bound} {point} rw - ext4 disk rw\n")
    monkeypatch.setattr(ways, "MOUNTS", mounts)


@pytest.mark.parametrize("points", [("b", "z"), ("z", "b"), ("deep/er/z", "b"), ("b", "deep/er/z")], ids=str)
@pytest.mark.parametrize("inside", ["", "up/"])
def test_a_folder_that_is_mounted_twice_is_one_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, points: tuple[str, str], inside: str
) -> None:
    root, mounted = (tmp_path / point for point in points)
    live, other = write(root, f"{inside}live.flac", f"{inside}other.flac")
    mount(monkeypatch, tmp_path, root / inside, mounted)
    claims = claims_of(Files(Layout(str(root), {"/app": str(mounted)})), [live, other])
    meet(claims, "/app/live.flac")
    assert [claims.is_taken(str(file)) for file in (live, other)] == [True, False]


def test_a_folder_that_is_mounted_in_another_one_of_the_root_is_one_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "files"
    live, other = write(root, "a/live.flac", "a/other.flac")
    mount(monkeypatch, tmp_path, root / "a", root / "b")
    claims = claims_of(Files(Layout(str(root))), [live, other])
    meet(claims, "b/live.flac")
    assert [claims.is_taken(str(file)) for file in (live, other)] == [True, False]


@pytest.mark.parametrize(
    ("row", "link", "target"),
    [
        ("song.flac", "song.flac", "/app/storage/blobs/0123.flac"),
        ("pub/0123.flac", "pub", "/app/storage/blobs"),
        ("/app/storage/pub/0123.flac", "pub", "/app/storage/blobs"),
    ],
)
def test_a_link_may_lead_to_where_another_machine_has_the_files(
    tmp_path: Path, row: str, link: str, target: str
) -> None:
    root = tmp_path / "files"
    blob, other = write(root, "blobs/0123.flac", "blobs/4567.flac")
    (root / link).symlink_to(target)
    claims = claims_of(Files(Layout(str(root), {"/app/storage": str(root)})), [blob, other])
    claims.meet_links([str(root / link)])
    meet(claims, row)
    assert [claims.is_taken(str(file)) for file in (blob, other)] == [True, False]


def test_a_link_of_a_folder_elsewhere_may_lead_back(tmp_path: Path) -> None:
    root, outside = tmp_path / "files", tmp_path / "outside"
    blob, other = write(root, "blobs/0123.flac", "blobs/4567.flac")
    outside.mkdir()
    (outside / "song.flac").symlink_to(blob)
    (root / "pub").symlink_to(outside)
    claims = claims_of(Files(Layout(str(root))), [blob, other])
    claims.meet_links([str(root / "pub")])
    meet(claims, "pub/song.flac")
    assert [claims.is_taken(str(file)) for file in (blob, other)] == [True, False]


@pytest.mark.parametrize("row", ["Beyonce\u0301", "BEYONC\u00c9", "Beyonc%C3%A9", "Beyonc\u00e9 "])
def test_a_row_may_spell_a_link_in_another_way(tmp_path: Path, row: str) -> None:
    live, other = write(tmp_path, "blobs/live.flac", "blobs/other.flac")
    link = tmp_path / "Beyonc\u00e9"
    link.symlink_to(tmp_path / "blobs")
    claims = claims_of(Files(Layout(str(tmp_path))), [live, other])
    claims.meet_links([str(link)])
    meet(claims, f"{row}/live.flac")
    assert [claims.is_taken(str(file)) for file in (live, other)] == [True, False]


def test_a_row_of_a_folder_means_what_links_in_it_lead_to(tmp_path: Path) -> None:
    first, second, other = write(tmp_path, "blobs/d1/1.ts", "blobs/d2/2.ts", "blobs/d3/3.ts")
    (tmp_path / "albums/one").mkdir(parents=True)
    links = [tmp_path / "albums/one/disc1", tmp_path / "blobs/d1/more"]
    for link, target in zip(links, ("d1", "d2"), strict=True):
        link.symlink_to(tmp_path / "blobs" / target)
    claims = claims_of(Files(Layout(str(tmp_path))), [first, second, other])
    claims.meet_links(map(str, links))
    meet(claims, "albums/one")
    assert [claims.is_taken(str(file)) for file in (first, second, other)] == [True, True, False]


def test_a_link_that_leads_round_in_a_ring_is_followed_for_a_while(tmp_path: Path) -> None:
    (leaked,) = write(tmp_path, "up/leaked.flac")
    (tmp_path / "all").symlink_to(tmp_path)
    claims = claims_of(Files(Layout(str(tmp_path))), [leaked])
    claims.meet_links([str(tmp_path / "all")])
    meet(claims, "all/all/all/up/other.flac")
    assert not claims.is_taken(str(leaked))
    meet(claims, "all/all/all/up/leaked.flac")
    assert claims.is_taken(str(leaked))


def test_more_links_than_the_system_follows_lead_nowhere(tmp_path: Path) -> None:
    (leaked,) = write(tmp_path, "0")
    for number in range(1500):
        (tmp_path / f"{number + 1}").symlink_to(tmp_path / f"{number}")
    claims = claims_of(Files(Layout(str(tmp_path))), [leaked])
    claims.meet_links([str(tmp_path / "1500")])
    assert claims.is_sure
    assert not claims.is_taken(str(leaked))


def test_an_error_of_storage_is_no_answer_as_to_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (leaked,) = write(tmp_path, "leaked.flac")
    claims = claims_of(Files(Layout(str(tmp_path))), [leaked])

    def fail(path: str, *, strict: bool = False) -> str:
        raise OSError(errno.EIO, f"{path} {strict}")

    monkeypatch.setattr(os.path, "realpath", fail)
    claims.meet_links([str(tmp_path / "linked")])
    assert not claims.is_sure


def test_a_path_with_dots_means_what_the_system_finds_there(tmp_path: Path) -> None:
    live, other = write(tmp_path, "far/song.flac", "far/other.flac")
    write(tmp_path, "far/away/x")
    (tmp_path / "a").symlink_to(tmp_path / "far/away")
    claims = claims_of(Files(Layout(str(tmp_path))), [live, other])
    meet(claims, "a/../song.flac")
    assert [claims.is_taken(str(file)) for file in (live, other)] == [True, False]


def test_a_row_that_climbs_out_in_disguise_may_mean_any_file_of_its_name(tmp_path: Path) -> None:
    live, other = write(tmp_path, "up/song.flac", "up/other.flac")
    claims = claims_of(Files(Layout(str(tmp_path))), [live, other])
    meet(claims, "..\\..\\up\\song.flac", "x/..%2F..%2Fup%2Fsong.flac")
    assert not claims.is_taken(str(other))


@pytest.mark.parametrize("row", ["storage/files/up/song.flac", "Files/up/song.flac", "files/song.flac"])
def test_a_row_may_count_from_further_up_than_the_root(tmp_path: Path, row: str) -> None:
    root = tmp_path / "storage/files"
    live, other = write(root, "up/song.flac", "up/other.flac")
    claims = claims_of(Files(Layout(str(root))), [live, other])
    meet(claims, row)
    assert [claims.is_taken(str(file)) for file in (live, other)] == [True, False]


def test_a_row_may_count_from_further_up_than_a_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "nowhere")
    live, other = f"{BUCKET}/media/a/k.flac", f"{BUCKET}/media/a/other.flac"
    claims = claims_of(Files(Layout(f"{BUCKET}/media")), [live, other])
    meet(claims, "media/a/k.flac")
    assert [claims.is_taken(file) for file in (live, other)] == [True, False]


def test_nobody_knows_what_is_in_a_bucket_that_was_not_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "nowhere")
    song, other = write(tmp_path, "up/song.flac", "up/other.flac")
    claims = claims_of(Files(Layout(str(tmp_path))), [song, other, f"{BUCKET}/new/other.flac"])
    meet(claims, "s3://elsewhere/up/song.flac", f"{BUCKET}/up/other.flac")
    assert [claims.is_taken(str(file)) for file in (song, other)] == [True, False]


def test_a_folder_that_is_no_text_may_be_that_of_any_row_that_is_not_ascii(tmp_path: Path) -> None:
    odd, plain = write(tmp_path, "\udccb\udcc9\udcce\udccf/01.flac", "plain/01.flac")
    claims = claims_of(Files(Layout(str(tmp_path))), [odd, plain])
    assert not claims.is_taken(str(odd))
    meet(claims, "\u041a\u0438\u043d\u043e/02.flac")
    assert [claims.is_taken(str(file)) for file in (odd, plain)] == [True, False]


@pytest.mark.parametrize("row", ["/old/uploads/1/original.flac", "https://cdn.example.org/1/original.flac"])
def test_a_name_that_many_rows_have_says_nothing_without_its_folder(tmp_path: Path, row: str) -> None:
    files = write(tmp_path, "uploads/1/original.flac", "uploads/77/original.flac", "original.flac")
    claims = claims_of(Files(Layout(str(tmp_path))), files)
    meet(claims, *(f"uploads/{number}/original.flac" for number in range(100, 120)), row)
    assert [claims.is_taken(str(file)) for file in files] == [True, False, True]


@pytest.mark.parametrize("row", ["https://example.org/uploads", "/old/uploads", "C:\\77", "/old/77"])
def test_a_row_that_nobody_can_place_claims_no_whole_folder_by_one_name(tmp_path: Path, row: str) -> None:
    (leaked,) = write(tmp_path, "uploads/77/leaked.flac")
    claims = claims_of(Files(Layout(str(tmp_path))), [leaked])
    meet(claims, row)
    assert not claims.is_taken(str(leaked))


def test_such_a_row_claims_a_folder_by_two_names(tmp_path: Path) -> None:
    inside, beside = write(tmp_path, "hls/album/1.ts", "hls/other/1.ts")
    claims = claims_of(Files(Layout(str(tmp_path))), [inside, beside])
    meet(claims, "https://cdn.example.org/hls/album")
    assert [claims.is_taken(str(file)) for file in (inside, beside)] == [True, False]


def test_a_sharp_in_the_name_of_a_folder_does_not_cut_the_way_of_what_is_in_it(tmp_path: Path) -> None:
    root = tmp_path / "v1.flac#2/files"
    live, leaked, other = write(root, "AC.DC #1/live.flac", "AC.DC #1/leaked.flac", "AC.DC/leaked.flac")
    link = root / "linked.flac"
    link.symlink_to(live)
    claims = claims_of(Files(Layout(str(root))), [live, leaked, other])
    claims.meet_links([str(link)])
    meet(claims, "AC.DC #1/live.flac")
    assert [claims.is_taken(str(file)) for file in (live, leaked, other)] == [True, False, False]


def test_a_row_that_cannot_be_read_may_mean_any_file_whose_name_is_not_ascii(tmp_path: Path) -> None:
    odd, plain = write(tmp_path, "Beyonc\udc81.flac", "plain.flac")
    claims = claims_of(Files(Layout(str(tmp_path))), [odd, plain])
    meet(claims, None)
    assert [claims.is_taken(str(file)) for file in (odd, plain)] == [True, False]


def test_where_a_folder_really_is_that_gives_no_answer_makes_nothing_sure(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    leak(library, "leaked.flac")
    (library.root / "linked").symlink_to(library.root)
    real = os.path.realpath

    def hang(path: str, *, strict: bool = False) -> str:
        time.sleep(5 if path.endswith("/linked") else 0)
        return real(path, strict=strict)

    monkeypatch.setattr(os.path, "realpath", hang)
    asked: list[int] = []

    def naming(_: Table) -> Iterator[list[Track]]:
        for number in range(3):
            asked.append(number)
            yield [Track(str(number), f"{number}.flac", "", None)]

    monkeypatch.setattr(Table, "naming", naming)
    result = start(library, instance, storage={"look_timeout_seconds": 1})
    assert asked == [], "what follows can't make it sure, and may take as long"
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


def test_a_primary_is_never_behind(library: Library, instance: dg.DagsterInstance) -> None:
    leak(library, "leaked.flac")
    assert audit(library, instance, walk={"min_age_hours": 0})["unnamed"] == 1


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


def test_an_audit_knows_what_links_in_it_lead_to_of_a_folder_that_a_row_means(
    library: Library, instance: dg.DagsterInstance
) -> None:
    leak(library, "blobs/d1/1.ts")
    (library.root / "albums/one").mkdir(parents=True)
    (library.root / "albums/one/disc1").symlink_to(library.root / "blobs/d1")
    library.add("albums/one", status="ready")
    assert audit(library, instance)["unnamed"] == 0


def test_a_link_is_no_file_of_nobody_wherever_it_leads(library: Library, instance: dg.DagsterInstance) -> None:
    (library.root / "dangling.flac").symlink_to(library.root / "gone.flac")
    os.utime(library.root / "dangling.flac", (0, 0), follow_symlinks=False)
    told = audit(library, instance)
    assert (told["unnamed"], told["unnamed_unconfirmed"], told["unsure"]) == (0, 0, 0)


def test_a_run_of_another_table_is_not_looked_at_again(library: Library, instance: dg.DagsterInstance) -> None:
    """Its files may have their tracks there, and are files of nobody's here."""
    leak(library, "leaked.flac")
    first = audit(library, instance)
    library.execute("CREATE TABLE songs (LIKE tracks INCLUDING ALL)")
    result = start(library, instance, tracks={"recheck": first["run_id"]}, database={"tracks_table": "songs"})
    assert failure(result).startswith(f"Run {first['run_id']} audited another table")


def test_a_run_that_did_not_come_to_its_end_is_not_looked_at_again(
    library: Library, instance: dg.DagsterInstance
) -> None:
    library.add("playable/gone.flac", status="ready")
    first = audit(library, instance)
    records: Evidence = EvidenceStore().of_run(first["run_id"], instance)
    records.write(YET_UNNAMED, 0, [{"path": "/a", "size": 1}])
    said = failure(start(library, instance, tracks={"recheck": first["run_id"]}))
    assert said.startswith(f"Run {first['run_id']} didn't come to its end")
