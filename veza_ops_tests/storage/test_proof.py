"""Storage is believed where the files of tracks known to be good are seen on it, area by area."""

import os
import threading
from collections.abc import Iterable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from veza_ops.errors import StorageNotProvenError
from veza_ops.storage.backend import Regular
from veza_ops.storage.files import Files
from veza_ops.storage.layout import Layout
from veza_ops.storage.look import Area, Gone, Nearest
from veza_ops.storage.proof import NAMED, Known, Proof, Sample, Standing, Witnesses
from veza_ops_tests.storage.conftest import make

HERE, ELSEWHERE = 1, 2
"""Two file systems."""


# -- how much of a sample must be seen ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sampled", "seen", "is_proven"),
    [
        (0, 0, False),
        (1, 1, True),
        (1, 0, False),
        (2, 2, True),
        (2, 1, False),
        (3, 2, True),
        (3, 1, False),
        (4, 3, True),
        (4, 2, False),
        (9, 8, True),
        (9, 7, False),
        (10, 9, True),
        (10, 8, False),
        (19, 18, True),
        (19, 17, False),
        (20, 20, True),
        (20, 18, True),
        (20, 17, False),
        (20, 11, False),
        (20, 0, False),
        (29, 27, True),
        (29, 26, False),
        (100, 90, True),
        (100, 89, False),
    ],
)
def test_one_in_ten_may_be_unseen_never_fewer_than_one_and_never_half(
    sampled: int, seen: int, *, is_proven: bool
) -> None:
    assert Standing(sampled, seen).is_proven is is_proven


def found(seen: Iterable[Any], unseen: int = 0, status: str = "ready") -> list[tuple[Known, Regular | str]]:
    """The looks at a sample: some files by their identity, and some that aren't there."""
    there: list[Regular | str] = [Regular((HERE, file), HERE) for file in seen]
    return [(Known(f"{at}", status), look) for at, look in enumerate([*there, *["no file at /x"] * unseen])]


def test_one_file_under_many_names_counts_once() -> None:
    standing = Standing.of(found([7] * 20))
    assert (standing.sampled, standing.seen) == (1, 1)
    assert not Standing.of(found([7] * 20, unseen=1)).is_proven
    assert Standing.of(found([7, 8, 9] * 10, unseen=1)).is_proven


def test_files_of_the_same_number_on_two_file_systems_are_two() -> None:
    both: list[tuple[Known, Regular | str]] = [
        (Known("a", "ready"), Regular((HERE, 7), HERE)),
        (Known("b", "ready"), Regular((ELSEWHERE, 7), ELSEWHERE)),
    ]
    assert Standing.of(both).seen == 2
    assert Standing.of(both).devices == {HERE, ELSEWHERE}


def test_a_refusal_names_the_first_reason_and_the_statuses_of_what_was_not_seen() -> None:
    said = str(Standing.of([*found([1, 2], unseen=1, status="encoded"), *found([], unseen=3, status="completed")]))
    assert "only 2 of the 6 newest playable tracks" in said
    assert "the first: no file at /x" in said
    assert "status 'completed' or 'encoded'" in said


def test_a_refusal_names_three_statuses_at_most_or_none() -> None:
    said = str(Standing(9, 0, unseen="no file at /x", statuses=("a", "b", "c", "d")))
    assert said == (
        "the files of only 0 of the 9 newest playable tracks can be seen "
        "(the first: no file at /x, status 'a' or 'b' or 'c')"
    )
    assert str(Standing(9, 0, unseen="no file at /x")).endswith(" can be seen (the first: no file at /x)")
    assert str(Standing(9, 0)).endswith(" can be seen")


def test_what_is_seen_now_is_proven_only_if_it_was_proven_before() -> None:
    """Whatever the two looks at one sample come to: what didn't hold at one of them doesn't hold."""
    standings = [Standing(sampled, seen) for sampled in range(8) for seen in range(sampled + 1)]
    standings += [Standing(3, 3, refused="the root is gone"), Standing(refused="the root is gone")]
    for before, after in product(standings, standings):
        assert before.and_later(after).is_proven <= (before.is_proven and after.is_proven), (before, after)


def test_only_file_systems_that_were_seen_at_both_times_are_proven() -> None:
    before, after = Standing(2, 2, frozenset({HERE, ELSEWHERE})), Standing(2, 2, frozenset({HERE}))
    assert before.and_later(after).devices == {HERE}
    assert after.and_later(before).devices == {HERE}


# -- real files as witnesses ----------------------------------------------------------------------------------------


class Library:
    """Files of playable tracks below a root, and proofs by them."""

    def __init__(self, root: Path, path_map: dict[str, str] | None = None) -> None:
        self.root, self.layout = root, Layout(str(root), path_map or {})
        self.files = Files(self.layout)
        self.known: list[Known] = []

    def playable(self, *file_paths: str, is_there: bool = True) -> None:
        for file_path in file_paths:
            self.known.append(Known(file_path, "ready"))
            if is_there:
                path = self.layout.resolve(file_path)
                assert isinstance(path, str)
                make(Path(path))

    def sample(self, *file_paths: str) -> Sample:
        areas = self.files.rows([*file_paths, *(known.file_path for known in self.known)]).areas
        of_area = {area: tuple(each for each in self.known if self.area(each.file_path) == area) for area in areas}
        whole = tuple(each for each in self.known if self.area(each.file_path).covered)
        return Sample(20, whole[:20], of_area, is_all=True)

    def area(self, file_path: str) -> Area:
        (area,) = self.files.rows([file_path]).areas
        return area

    def witnesses(self, *file_paths: str) -> Witnesses:
        """The proof for stale rows of these paths."""
        return self.files.prove(self.sample(*file_paths), self.files.rows(file_paths).areas)

    def why_not(self, *file_paths: str) -> list[str]:
        """Why each of the files may not be called missing, or nothing."""
        witnesses = self.witnesses(*file_paths)
        looks = self.files.look(file_paths)
        return [witnesses.why_not(look.gone) if look.gone else look.reason for look in looks]


@pytest.fixture
def library(root: Path) -> Library:
    return Library(root)


def test_a_file_is_missing_where_witnesses_are_seen(library: Library) -> None:
    library.playable("a/1.flac", "a/2.flac")
    assert library.why_not("a/none.flac", "a/cd1/none.flac") == ["", ""]
    assert str(library.witnesses("a/none.flac").proof()) == (
        "storage proven: the files of 2 of the 2 newest playable tracks are there"
    )


def test_an_area_whose_disk_is_away_is_left_and_the_others_are_done(library: Library) -> None:
    library.playable(*(f"a/{number}.flac" for number in range(11)))
    library.playable(*(f"b/{number}.flac" for number in range(9)), is_there=False)
    (library.root / "b").mkdir()
    a, b = library.why_not("a/none.flac", "b/none.flac")
    assert a == ""
    assert f"nothing proves {library.root}/b: the files of only 0 of the 9" in b
    proof = library.witnesses("a/none.flac", "b/none.flac").proof()
    assert not proof.is_refused
    proof.require(library.layout)
    assert proof.proven == {f"{library.root}/a"}
    assert list(proof.refused) == [f"{library.root}/b"]
    assert str(proof).startswith(
        "storage only proven in part: the files of 11 of the 20 newest playable tracks are there. "
        f"Left alone: in {library.root}/b, "
    )


def test_an_area_with_a_few_losses_is_proven(library: Library) -> None:
    library.playable(*(f"a/{number}.flac" for number in range(18)))
    library.playable("a/lost.flac", "a/lost too.flac", is_there=False)
    assert library.why_not("a/none.flac") == [""]
    proof = library.witnesses("a/none.flac").proof()
    assert (proof.sampled, proof.seen) == (20, 18)


def test_folders_and_pipes_are_no_witnesses(library: Library) -> None:
    (library.root / "a" / "folder").mkdir(parents=True)
    os.mkfifo(library.root / "a" / "pipe")
    library.playable(".", "a", "a/folder", "a/pipe", "a/..", is_there=False)
    assert library.witnesses("a/none.flac").seen == 0
    assert "no regular file" in library.why_not("a/none.flac")[0]


def test_a_link_to_a_file_is_a_witness_and_a_link_to_nowhere_is_none(library: Library) -> None:
    library.playable("a/link.flac", is_there=False)
    (library.root / "a").mkdir()
    (library.root / "a" / "link.flac").symlink_to(library.root / "album" / "song.flac")
    assert library.why_not("a/none.flac") == [""]
    (library.root / "album" / "song.flac").unlink()
    assert "only 0 of the 1" in library.why_not("a/none.flac")[0]


def test_hard_links_to_one_file_are_one_witness(library: Library) -> None:
    library.playable("a/1.flac", *(f"a/lost-{number}.flac" for number in range(2)), is_there=False)
    make(library.root / "a" / "1.flac")
    for number in range(17):
        library.playable(f"a/same-{number}.flac", is_there=False)
        os.link(library.root / "a" / "1.flac", library.root / "a" / f"same-{number}.flac")
    assert (library.witnesses("a/x").sampled, library.witnesses("a/x").seen) == (3, 1)
    assert library.why_not("a/none.flac") != [""]


@pytest.mark.parametrize("file_path", ["s3://bucket/a.flac", "../a.flac", ""])
def test_files_that_cannot_be_looked_at_prove_nothing(library: Library, file_path: str) -> None:
    sample = Sample(20, (Known(file_path, "ready"),) * 3, {library.area("a/x"): ()})
    proof = library.files.prove(sample, [library.area("a/x")]).proof()
    assert proof.is_refused
    with pytest.raises(StorageNotProvenError, match="files of only 0 of the"):
        proof.require(library.layout)


def test_a_witness_under_another_spelling_is_none(library: Library) -> None:
    library.playable("a/1.flac")
    (library.root / "a" / "1.flac").rename(library.root / "a" / "1.FLAC")
    assert "only 0 of the 1" in library.why_not("a/none.flac")[0]


def test_witnesses_that_hang_cost_their_own_area(
    library: Library, monkeypatch: pytest.MonkeyPatch, released: threading.Event
) -> None:
    library.playable("a/1.flac", "a/2.flac", "b/1.flac", "b/2.flac", "b/3.flac")
    real = os.stat

    def stat(path: Any, *arguments: Any, **options: Any) -> Any:
        if path == f"{library.root}/a/2.flac":
            released.wait()
        return real(path, *arguments, **options)

    monkeypatch.setattr("veza_ops.storage.disk.os.stat", stat)
    library.files = Files(library.layout, look_timeout_seconds=2)
    a, b = library.why_not("a/none.flac", "b/none.flac")
    assert "no answer within 2 s" in a
    assert b == ""


# -- areas without witnesses of their own ---------------------------------------------------------------------------


def test_an_area_without_playable_tracks_is_covered_by_the_whole(library: Library) -> None:
    library.playable("a/1.flac")
    make(library.root / "new" / "anything")
    assert library.why_not("new/none.flac", "none.flac") == ["", ""]


def test_an_area_without_playable_tracks_is_not_covered_by_a_whole_that_is_not_proven(library: Library) -> None:
    library.playable("a/1.flac", "b/1.flac", is_there=False)
    make(library.root / "new" / "anything")
    assert "only 0 of the 2" in library.why_not("new/none.flac")[0]


def test_an_empty_area_without_playable_tracks_may_be_a_disk_that_is_not_mounted(library: Library) -> None:
    library.playable("a/1.flac")
    (library.root / "new").mkdir()
    assert "may be the place of a disk that isn't mounted" in library.why_not("new/none.flac")[0]
    assert "may be the place of a disk that isn't mounted" in library.why_not("new/cd1/none.flac")[0]


def test_any_file_in_an_empty_area_says_that_it_is_no_place_of_a_disk(library: Library) -> None:
    library.playable("a/1.flac")
    make(library.root / "new" / ".keep")
    assert library.why_not("new/none.flac") == [""]


def test_an_empty_folder_with_witnesses_further_down_in_its_area_is_no_mount_point(library: Library) -> None:
    library.playable("a/1.flac")
    (library.root / "a" / "empty").mkdir()
    assert library.why_not("a/empty/none.flac") == [""]


def test_an_area_that_is_not_there_at_all_is_no_mount_point(library: Library) -> None:
    library.playable("a/1.flac")
    assert library.why_not("nowhere/none.flac", "nowhere/cd1/none.flac") == ["", ""]


def test_files_right_below_the_root_have_an_area_of_their_own(library: Library) -> None:
    library.playable("1.flac", "2.flac", is_there=False)
    library.playable(*(f"a/{number}.flac" for number in range(30)))
    itself, a = library.why_not("none.flac", "a/none.flac")
    assert f"nothing proves {library.root} itself: the files of only 0 of the 2" in itself
    assert a == ""


def test_an_absolute_path_outside_is_proven_by_its_own_area_or_not_at_all(library: Library, tmp_path: Path) -> None:
    library.playable("a/1.flac", "a/2.flac")
    outside = tmp_path / "outside"
    make(outside / "other.flac")
    stale = str(outside / "none.flac")
    (why,) = library.why_not(stale)
    assert f"nothing proves /{tmp_path.parts[1]}: " in why
    assert "neither below the storage root nor in storage.path_map" in why
    library.playable(str(outside / "1.flac"))
    assert library.why_not(stale) == [""]


def test_witnesses_outside_do_not_speak_for_the_root(library: Library, tmp_path: Path) -> None:
    library.playable(str(tmp_path / "outside" / "1.flac"))
    (why,) = library.why_not("album/none.flac")
    assert "no playable track has its file below the storage root or in storage.path_map" in why


def test_rows_that_nothing_proves_leave_the_others_as_they_are(library: Library) -> None:
    library.playable("a/1.flac")
    proof = library.witnesses("a/none.flac", "/outside/none.flac").proof()
    assert proof.proven == {f"{library.root}/a"}
    assert not proof.refused
    proof.require(library.layout)


def test_a_mapped_folder_is_an_area_of_its_own(root: Path, tmp_path: Path) -> None:
    library = Library(root, {"/app": str(tmp_path / "mapped")})
    library.playable("a/1.flac", "a/2.flac", "a/3.flac")
    library.playable("/app/1.flac", is_there=False)
    make(tmp_path / "mapped" / "anything")
    a, mapped = library.why_not("a/none.flac", "/app/b/none.flac")
    assert a == ""
    assert f"nothing proves {tmp_path}/mapped: the files of only 0 of the 1" in mapped


def test_a_mapped_folder_that_is_not_there_is_said(root: Path, tmp_path: Path) -> None:
    library = Library(root, {"/app": str(tmp_path / "gone")})
    library.playable("a/1.flac")
    witnesses = library.witnesses("/app/none.flac", "a/none.flac")
    (refused,) = witnesses.proof().refused.values()
    assert refused == f"the folder {tmp_path}/gone of storage.path_map can't be used: there is no such folder"
    assert library.files.look(["/app/none.flac"])[0].verdict == "unverifiable"
    assert library.why_not("a/none.flac") == [""]


# -- file systems ---------------------------------------------------------------------------------------------------

ROOT = "/srv"
A, NEW, OUTSIDE = Area("/srv/a"), Area("/srv/new"), Area("/tmp", covered=False)
SEEN_HERE = Standing(3, 3, frozenset({HERE}))


def by_hand(areas: dict[Area, Standing], whole: Standing = SEEN_HERE, **sample: Any) -> Witnesses:
    """Witnesses of areas with standings made by hand."""
    some = (Known("a/1.flac", "ready"),)
    drawn = Sample(20, some, {area: some if each.sampled else () for area, each in areas.items()})
    return Witnesses(replace(drawn, **sample), whole, areas, 3, 3)


def gone(area: Area, device: int = HERE, path: str = "", *, is_empty: bool = False) -> Gone:
    return Gone(area, Nearest(path or area.folder, device, is_empty))


def test_on_a_file_system_without_witnesses_nothing_is_missing() -> None:
    witnesses = by_hand({A: SEEN_HERE, NEW: Standing(), OUTSIDE: SEEN_HERE})
    for area in (A, NEW, OUTSIDE):
        assert witnesses.why_not(gone(area)) == ""
        assert "on a file system where no file of a playable track was seen" in witnesses.why_not(gone(area, ELSEWHERE))


def test_witnesses_of_another_area_do_not_speak_for_a_disk_inside_a_proven_area() -> None:
    witnesses = by_hand({A: SEEN_HERE, NEW: Standing(3, 3, frozenset({ELSEWHERE}))})
    inside = gone(A, ELSEWHERE, "/srv/a/disk")
    assert "/srv/a/disk is on a file system" in witnesses.why_not(inside)


def test_an_area_without_playable_tracks_may_be_on_any_file_system_with_witnesses() -> None:
    witnesses = by_hand({A: Standing(3, 3, frozenset({ELSEWHERE})), NEW: Standing()})
    assert witnesses.why_not(gone(NEW)) == ""
    assert witnesses.why_not(gone(NEW, ELSEWHERE)) == ""
    assert "file system" in witnesses.why_not(gone(NEW, 3))


def test_a_file_system_whose_witnesses_were_refused_proves_nothing() -> None:
    witnesses = by_hand({A: Standing(10, 1, frozenset({ELSEWHERE})), NEW: Standing()})
    assert "file system" in witnesses.why_not(gone(NEW, ELSEWHERE))


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="there is no second file system here")
def test_a_linked_disk_is_proven_by_witnesses_on_it_alone(library: Library, tmp_path: Path) -> None:
    disk = Path("/dev/shm") / f"veza-ops-{os.getpid()}-{tmp_path.name}"
    (disk / "new").mkdir(parents=True)
    try:
        if disk.stat().st_dev == library.root.stat().st_dev:
            pytest.skip("there is no second file system here")
        make(disk / "anything")
        (library.root / "disk").symlink_to(disk)
        library.playable("a/1.flac")
        assert "file system" in library.why_not("disk/none.flac")[0]
        library.playable("disk/1.flac")
        assert library.why_not("disk/none.flac") == [""]
    finally:
        for path in sorted(disk.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        disk.rmdir()


def test_a_sample_that_is_small_for_being_among_many_is_not_kept_for_others() -> None:
    one, none, all_of_them = (Known("a/1.flac", "ready"),), (), (Known("b/1.flac", "ready"), Known("b/2.flac", "ready"))
    sample = Sample(2, areas={A: one, NEW: none, Area("/srv/b"): all_of_them})
    assert sample.in_full == {NEW: none, Area("/srv/b"): all_of_them}


# -- on trust, without proof, and hidden ----------------------------------------------------------------------------


def test_a_new_platform_is_taken_on_trust_and_said_so(library: Library) -> None:
    (library.root / "empty").mkdir()
    witnesses = library.files.prove(Sample(20), library.files.rows(["a/x", "empty/x"]).areas)
    proof = witnesses.proof()
    assert "taken on trust" in str(proof)
    proof.require(library.layout)
    assert witnesses.why_not(gone(library.area("a/x"), ELSEWHERE)) == ""
    assert witnesses.why_not(gone(library.area("empty/x"), is_empty=True)) == ""


def test_without_a_sample_there_is_no_proof_and_every_run_says_so(library: Library) -> None:
    area = library.area("a/x")
    witnesses = library.files.prove(Sample(), [area])
    assert witnesses.why_not(gone(area, ELSEWHERE)) == ""
    assert "taken on trust" in str(witnesses.proof())


@pytest.mark.parametrize("sample", [Sample(), Sample(20)], ids=["without proof", "on trust"])
@pytest.mark.parametrize("broken", ["nowhere", "album/song.flac", "dangling"])
def test_a_root_that_is_not_a_folder_is_refused_even_without_a_sample(root: Path, sample: Sample, broken: str) -> None:
    (root / "dangling").symlink_to(root / "unmounted")
    files = Files(Layout(str(root / broken)))
    areas = files.rows(["a/none.flac"]).areas
    proof = files.prove(sample, areas).proof()
    with pytest.raises(StorageNotProvenError, match="can't be used"):
        proof.require(files.layout)
    with pytest.raises(StorageNotProvenError, match="can't be used"):
        files.require_root()
    assert str(root / broken) in str(proof)


def test_a_root_that_hangs_is_refused(
    library: Library, monkeypatch: pytest.MonkeyPatch, released: threading.Event
) -> None:
    monkeypatch.setattr("veza_ops.storage.disk.os.lstat", lambda _: released.wait())
    with pytest.raises(StorageNotProvenError, match=r"no answer within 0\.3 s"):
        Files(library.layout, look_timeout_seconds=0.3).require_root()


def test_a_root_that_is_a_folder_is_none_to_refuse(library: Library) -> None:
    library.files.require_root()
    Files(Layout()).require_root()


def test_where_row_level_security_may_hide_playable_tracks_nothing_is_taken_on_trust(library: Library) -> None:
    area = library.area("a/x")
    witnesses = library.files.prove(Sample(20, may_hide=True), [area])
    assert "row-level security may hide" in witnesses.why_not(gone(area))
    with pytest.raises(StorageNotProvenError, match="row-level security may hide"):
        witnesses.proof().require(library.layout)


def test_where_no_newest_track_is_on_this_storage_nothing_is_taken_on_trust(library: Library) -> None:
    area = library.area("a/x")
    witnesses = library.files.prove(Sample(20, is_all=False), [area])
    assert "no playable track has its file below the storage root" in witnesses.why_not(gone(area))
    assert witnesses.proof().is_refused


# -- at two times ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("goes", ["before", "after"])
def test_a_disk_must_be_there_before_and_after_the_looks(library: Library, goes: str) -> None:
    library.playable("a/1.flac", "a/2.flac", "b/1.flac", "b/2.flac", "b/3.flac")
    there = library.witnesses("a/x", "b/x")
    (library.root / "a").rename(library.root / "away")
    (library.root / "a").mkdir()
    away = library.witnesses("a/x", "b/x")
    both = away.and_later(there) if goes == "before" else there.and_later(away)
    device = library.root.stat().st_dev
    assert "only 0 of the 2" in both.why_not(gone(library.area("a/x"), device))
    assert both.why_not(gone(library.area("b/x"), device)) == ""
    assert (both.sampled, both.seen) == (5, 3)


# -- of parts and rounds --------------------------------------------------------------------------------------------


def test_what_any_part_was_refused_is_not_proven() -> None:
    one = Proof(20, 20, frozenset({"/srv/a", "/srv/b"}))
    other = Proof(20, 15, frozenset({"/srv/b"}), {"/srv/a": "gone"}, 1)
    for both in (one | other, other | one):
        assert both.proven == {"/srv/b"}
        assert both.refused == {"/srv/a": "gone"}
        assert both.refused_areas == 1
        assert (both.sampled, both.seen) == (20, 15)


def test_nothing_is_added_by_a_part_without_looks() -> None:
    one = Proof(20, 19, frozenset({"/srv/a"}), {"/srv/b": "gone"}, 1)
    assert one | Proof(0, 0) == Proof(0, 0) | one == one


def test_of_several_parts_not_all_is_seen_if_in_one_of_them_it_was_not() -> None:
    """Or the check of the storage would be green although a witness is away."""
    one, other = Proof(20, 20, frozenset({"/srv/a"})), Proof(10, 9, frozenset({"/srv/b"}))
    for both in (one | other, other | one):
        assert both.seen < both.sampled


def test_what_is_proven_after_the_second_look_was_proven_at_both() -> None:
    first = Proof(20, 20, frozenset({"/srv/a", "/srv/b"}))
    second = Proof(20, 20, frozenset({"/srv/a"}), {"/srv/b": "gone"}, 1)
    both = first.and_later(second)
    assert both.proven == {"/srv/a"}
    assert both.refused == {"/srv/b": "gone"}


def test_thousands_of_areas_are_counted_and_the_first_are_named() -> None:
    areas = {Area(f"/srv/{number:04}"): Standing(3, 0, unseen="no file at /x") for number in range(3000)}
    proof = by_hand(areas).proof()
    assert len(proof.refused) == NAMED
    assert proof.refused_areas == 3000
    assert f"and in {3000 - NAMED} more" in str(proof)


def test_areas_that_are_proven_each_time_are_proven_however_many_there_are() -> None:
    """The second look is at fewer rows than the first one: those whose files weren't there."""
    areas = [Area(f"/srv/{number:02}") for number in range(60)]
    bad = Area("/srv/bad")
    first = by_hand({bad: Standing(3, 0), **dict.fromkeys(areas, SEEN_HERE)}).proof()
    second = by_hand({bad: Standing(3, 0), **dict.fromkeys(areas[40:], SEEN_HERE)}).proof()
    both = first.and_later(second)
    assert both.refused_areas == 1
    assert not both.is_refused


def test_of_thousands_of_proven_areas_a_thousand_are_remembered() -> None:
    proof = by_hand({Area(f"/srv/{number}"): SEEN_HERE for number in range(1_100)}).proof()
    others = by_hand({Area(f"/mnt/{number}"): SEEN_HERE for number in range(1_100)}).proof()
    assert len(proof.proven) == len((proof | others).proven) == 1_000


# -- refusing -------------------------------------------------------------------------------------------------------


def test_a_run_is_refused_only_where_nothing_was_proven() -> None:
    refused = {"/srv/a": "the files are gone"}
    assert Proof(2, 0, frozenset(), refused, 1).is_refused
    assert Proof(0, 0, whole="nothing is there").is_refused
    assert not Proof(2, 1, frozenset({"/srv/b"}), refused, 1).is_refused
    assert not Proof(2, 2, frozenset({"/srv/b"})).is_refused
    assert not Proof(0, 0).is_refused


@pytest.mark.parametrize(
    ("proof", "proven", "refused"),
    [
        (Proof(3, 3, frozenset({"/a", "/b"})), {"/a", "/b", "*"}, set()),
        (Proof(3, 2, frozenset({"/a"}), {"/b": "gone"}, 1), {"/a"}, {"/b"}),
        (Proof(6, 3, frozenset({"/a"}), whole="only 3 of 6"), {"/a"}, set()),
        (Proof(6, 3, frozenset(), {"/b": "gone"}, 1, whole="only 3 of 6"), set(), {"/b", "*"}),
        (Proof(3, 3, frozenset({"/a", "/b"}), left={"/b": "it is empty"}), {"/a", "*"}, set()),
        (Proof(3, 1, frozenset({"/a"}), {"/b": "gone"}, 2), {"/a"}, {"*"}),
        (Proof(3, 0, frozenset(), {"/b": "gone"}, 1), set(), {"*"}),
        (Proof(0, 0, frozenset(), whole="nothing to prove it with"), set(), {"*"}),
        (Proof(0, 0, frozenset({"/a"})), set(), set()),
    ],
    ids=["proven", "in part", "not the whole", "a disk and the whole", "left alone", "more than are named",
         "nothing seen", "nothing to see", "on trust"],
)  # fmt: skip
def test_a_proof_names_the_areas_that_it_speaks_for(proof: Proof, proven: set[str], refused: set[str]) -> None:
    assert proof.areas_proven == proven
    assert proof.areas_refused == refused


def test_a_refusal_carries_the_areas(root: Path) -> None:
    with pytest.raises(StorageNotProvenError) as caught:
        Proof(3, 1, frozenset(), {"/srv/a": "gone"}, 1).require(Layout(str(root)))
    assert caught.value.areas == {"/srv/a"}


def test_a_refusal_says_with_which_settings_why_and_what_to_do(root: Path) -> None:
    layout = Layout(str(root), {"/app": "/mnt/app"})
    proof = Proof(9, 0, frozenset(), {"/srv/a": "it is empty", "/srv/b": "it is empty", "/srv/c": "it hangs"}, 3)
    with pytest.raises(StorageNotProvenError) as caught:
        proof.require(layout)
    said = str(caught.value)
    assert f"with the root {root}, /app mapped to /mnt/app" in said
    assert "in /srv/a, /srv/b, it is empty; in /srv/c, it hangs" in said
    for setting in ("VEZA_STORAGE_ROOT", "storage.path_map", "database.not_playable", "storage.sample_size"):
        assert setting in said


def test_a_reason_that_all_areas_share_is_said_once(root: Path) -> None:
    proof = Proof(2, 0, frozenset(), {"/srv/a": "only 0 of 2", "/srv/b": "only 0 of 2"}, 2, whole="only 0 of 2")
    with pytest.raises(StorageNotProvenError) as caught:
        proof.require(Layout(str(root)))
    assert str(caught.value).count("only 0 of 2") == 1


def test_what_was_proven_in_part_says_so() -> None:
    said = str(Proof(20, 11, frozenset({"/srv/a"}), {"/srv/b": "it is empty"}, 1))
    assert said == (
        "storage only proven in part: the files of 11 of the 20 newest playable tracks are there. "
        "Left alone: in /srv/b, it is empty"
    )


def test_a_whole_that_is_not_proven_is_not_called_so_though_no_area_was_refused() -> None:
    assert str(Proof(0, 0, whole="no playable track is there")) == "storage not proven: no playable track is there"
    assert str(Proof(0, 0, left={"/a": "it is empty"})).startswith("storage taken on trust")


@pytest.mark.parametrize("name", ["a\n2026-01-01 ERROR all is lost", "\x1b[2Ja", "a\r", "a\u2028b", "a\u202eb"])
def test_a_refusal_shows_names_with_control_characters_escaped(library: Library, name: str) -> None:
    """Or a file's name could forge a line of a log."""
    library.playable(f"a/{name}", is_there=False)
    proof = library.witnesses("a/none.flac").proof()
    with pytest.raises(StorageNotProvenError) as caught:
        proof.require(library.layout)
    assert str(caught.value).isprintable()
    assert str(proof).isprintable()
