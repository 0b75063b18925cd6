"""Folders that can't be read as others can: too slow, hung, leading nowhere, or full of names in old bytes."""

import gc
import os
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from veza_ops.storage import disk, search
from veza_ops.storage.disk import OpenFolder
from veza_ops.storage.files import Files
from veza_ops.storage.layout import Layout
from veza_ops.storage.look import Verdict
from veza_ops.storage.spelling import spellings
from veza_ops_tests.storage.conftest import Listing, OnListing, OnOpen, make, verdict, verdicts

AT_ONCE = 2.0
"""Seconds that an answer may take here."""


def singly(root: Path, *file_paths: str, folders: tuple[str, ...] = ("album",)) -> list[str]:
    """The verdicts where some folders are known to be too much to be read."""
    known = {str(root / folder) for folder in folders}
    looks = Files(Layout(str(root))).search(file_paths, singly=known)
    assert known == {str(root / folder) for folder in folders}
    return [look.verdict.value for look in looks]


def test_on_a_disk_nobody_asks_for_a_file_that_its_folder_tells_of(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A question for each row takes far longer than one list for all of them."""
    asked: list[str] = []
    monkeypatch.setattr(disk, "answer", asked.append)
    assert verdicts(root, "album/song.flac", "album/none.flac") == ["present", "missing"]
    assert asked == []


def test_no_spelling_that_is_thought_of_is_a_path_or_no_name_at_all() -> None:
    for name in ("a%2Fb.flac", "a%00b.flac", "' '", "?", "%2E", "%2E%2E", "a.flac"):
        assert {each for each in spellings(name) if "/" in each or "\0" in each} == set()
        assert spellings(name).isdisjoint({"", ".", "..", name})


def test_the_ending_of_a_name_may_be_in_the_other_letter_case_by_itself() -> None:
    assert "Song.flac" in spellings("Song.FLAC")
    assert "Song.FLAC" in spellings("Song.flac")


# -- a folder that takes too long to be read ------------------------------------------------------------------------


@pytest.fixture
def large_album(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An album whose entries come one by one."""
    monkeypatch.setattr(disk, "_READ_AT_ONCE", 1)  # or a test needs thousands of entries
    for number in range(40):
        make(root / "album" / f"{number:03}.flac")
    return root / "album"


@pytest.mark.usefixtures("late_answers")
def test_a_folder_that_takes_too_long_is_asked_for_single_names(root: Path, large_album: Path) -> None:
    make(large_album / "my song.flac")
    make(large_album / "Upload.flac.part", changed_ago=60)
    paths = ["album/song.flac", "album/Song.FLAC", "album/my%20song.flac", "album/my+song.flac", "album/song.flac "]
    paths += ["album/none.flac", "album/Upload.flac", "none.flac"]
    known: set[str] = set()
    looks = Files(Layout(str(root)), look_timeout_seconds=30).search(paths, singly=known)
    assert [look.verdict.value for look in looks] == [
        "present",
        *["unverifiable"] * 4,
        "missing",
        "unverifiable",
        "missing",
    ]
    assert known == {str(large_album)}


@pytest.mark.usefixtures("large_album", "late_answers")
def test_a_folder_that_is_slow_but_within_its_time_is_read(root: Path) -> None:
    known: set[str] = set()
    looks = Files(Layout(str(root)), look_timeout_seconds=600).search(["album/s\u200bong.flac"], singly=known)
    assert looks[0].verdict == "unverifiable"
    assert not known


def test_a_folder_that_was_too_slow_is_not_read_again(root: Path, on_listing: OnListing) -> None:
    on_listing(root / "album", lambda _: pytest.fail("it was read"))
    assert singly(root, "album/song.flac", "album/Song.flac", "album/none.flac") == [
        "present",
        "unverifiable",
        "missing",
    ]


def test_how_long_a_folder_took_is_known(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = OpenFolder.__iter__

    def read(folder: OpenFolder) -> Any:
        if folder.path.endswith("album"):
            time.sleep(0.2)
        return real(folder)

    monkeypatch.setattr(OpenFolder, "__iter__", read)
    seconds: dict[str, float] = {}
    Files(Layout(str(root))).search(["album/none.flac"], seconds=seconds)
    assert seconds[str(root / "album")] >= 0.2


def test_below_a_folder_that_is_asked_singly_folders_are_read(root: Path) -> None:
    make(root / "album" / "CD 1" / "My Song.flac")
    paths = "album/CD 1/My Song.flac", "album/CD 1/m&#121; song.flac", "album/CD 1/none.flac", "album/CD 2/none.flac"
    assert singly(root, *paths) == ["present", "unverifiable", "missing", "missing"]


def test_below_a_folder_that_is_asked_singly_a_folder_may_be_written_otherwise(root: Path) -> None:
    make(root / "album" / "CD 1" / "song.flac")
    for folder in ("cd 1", "CD%201", "CD+1", " CD 1"):
        assert singly(root, f"album/{folder}/song.flac", f"album/{folder}/none.flac") == ["unverifiable", "missing"]


def test_a_folder_that_is_asked_singly_may_be_written_otherwise_itself(root: Path) -> None:
    assert singly(root, "ALBUM/song.flac", "ALBUM/none.flac") == ["unverifiable", "missing"]


NAMEABLE = [
    ("letter case", "Song One.flac"),
    ("upper case", "SONG ONE.FLAC"),
    ("percent-encoded", "song%20one.flac"),
    ("percent-encoded, lower case", "song%20%6fne.flac"),
    ("plus", "song+one.flac"),
    ("space in front", " song one.flac"),
    ("line end", "song one.flac\n"),
    ("byte order mark", "\ufeffsong one.flac"),
    ("zero-width space", "song\u200b one.flac"),
    ("no-break space", "song\u00a0one.flac"),
    ("full width", "\uff53ong one.flac"),
    ("HTML", "song&#32;one.flac"),
    ("quotes", '"song one.flac"'),
    ("typographic quotes", "“song one.flac”"),
    ("file:", "file:song one.flac"),
    ("query", "song one.flac?token=abc"),
    ("empty query", "song one.flac?"),
    ("percent-encoded and a query", "Song%20one.flac?token=abc"),
]


@pytest.mark.parametrize("written", [pytest.param(name, id=kind) for kind, name in NAMEABLE])
def test_a_spelling_that_can_be_named_is_asked_for(root: Path, written: str) -> None:
    make(root / "album" / "song one.flac")
    assert singly(root, f"album/{written}") == ["unverifiable"]


@pytest.mark.parametrize("written", [pytest.param(name, id=kind) for kind, name in NAMEABLE])
def test_a_spelling_of_a_folder_that_can_be_named_is_asked_for(root: Path, written: str) -> None:
    make(root / "album" / "song one.flac" / "1.flac")
    assert singly(root, f"album/{written}/1.flac") == ["unverifiable"]


@pytest.mark.parametrize(
    "written",
    ["album\\song.flac", "album%2Fsong.flac", ".\\album\\song.flac", "file:album/song.flac", '"album/song.flac"'],
)
@pytest.mark.parametrize("folders", [("album",), ("",), ("", "album")], ids=str)
def test_a_path_that_is_one_written_otherwise_is_asked_for(root: Path, written: str, folders: tuple[str, ...]) -> None:
    looks = Files(Layout(str(root))).search(
        [written], singly={str(root / folder) if folder else str(root) for folder in folders}
    )
    assert looks[0].verdict == "unverifiable"


def test_a_link_to_nowhere_is_found_by_a_single_look(root: Path) -> None:
    (root / "album" / "link.flac").symlink_to(root / "nowhere")
    assert singly(root, "album/link.flac") == ["unverifiable"]


def test_a_name_in_old_bytes_is_found_by_a_single_look(root: Path) -> None:
    make(root / "album" / os.fsdecode("été.flac".encode("latin-1")))
    assert singly(root, "album/été.flac") == ["unverifiable"]


def test_an_empty_folder_that_is_asked_singly_is_not_called_empty(root: Path) -> None:
    (root / "empty").mkdir()
    (look,) = Files(Layout(str(root))).search(["empty/none.flac"], singly={str(root / "empty")})
    assert look.gone is not None
    assert not look.gone.nearest.is_empty


# -- a folder that hangs, or leads nowhere --------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["open", "listing"])
def test_a_folder_that_hangs_costs_its_own_rows_and_what_is_below(
    root: Path, when: str, on_open: OnOpen, on_listing: OnListing, released: threading.Event
) -> None:
    make(root / "hung" / "below" / "song.flac")
    if when == "open":
        on_open(root / "hung", released.wait)
    else:
        on_listing(root / "hung", lambda _: released.wait())
    files = Files(Layout(str(root)), max_threads=3, look_timeout_seconds=AT_ONCE)
    paths = [
        "hung/none.flac",
        "hung/below/none.flac",
        "Hung/none.flac",
        "album/none.flac",
        "album/song.flac",
        "none.flac",
    ]
    looks = files.look(paths)
    assert [look.verdict.value for look in looks] == [*["unverifiable"] * 3, "missing", "present", "missing"]
    assert all("no answer within" in look.reason for look in looks[:3])


def test_a_folder_like_the_rows_that_hangs_leaves_the_row_unverifiable(
    root: Path, on_open: OnOpen, released: threading.Event
) -> None:
    (root / "Hung").mkdir()
    on_open(root / "Hung", released.wait)
    files = Files(Layout(str(root)), max_threads=3, look_timeout_seconds=AT_ONCE)
    looks = files.look(["hung/none.flac", "album/none.flac"])
    assert [look.verdict.value for look in looks] == ["unverifiable", "missing"]


def test_names_that_each_take_their_time_are_asked_for_to_the_end(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.lstat

    def ask(path: Any, *arguments: Any, **options: Any) -> Any:
        if "slow" in str(path):
            time.sleep(AT_ONCE / 5)
        return real(path, *arguments, **options)

    monkeypatch.setattr("veza_ops.storage.disk.os.lstat", ask)
    files = Files(Layout(str(root)), max_threads=1, look_timeout_seconds=AT_ONCE)
    looks = files.search([f"album/slow{number}.flac" for number in range(8)], asks_again=True)
    assert {look.verdict.value for look in looks} == {"missing"}


@pytest.mark.parametrize("call", ["lstat", "stat"])
def test_a_name_that_hangs_costs_its_own_row(
    root: Path, call: str, monkeypatch: pytest.MonkeyPatch, released: threading.Event
) -> None:
    (root / "album" / "hung.flac").symlink_to(root / "album" / "song.flac")
    (root / "album" / "link.flac").symlink_to(root / "album" / "song.flac")
    real = getattr(os, call)

    def ask(path: Any, *arguments: Any, **options: Any) -> Any:
        if path == f"{root}/album/hung.flac":
            released.wait()
        return real(path, *arguments, **options)

    monkeypatch.setattr(f"veza_ops.storage.disk.os.{call}", ask)
    files = Files(Layout(str(root)), max_threads=3, look_timeout_seconds=AT_ONCE)
    looks = files.look(["album/hung.flac", "album/link.flac", "album/song.flac", "album/none.flac"])
    assert [look.verdict.value for look in looks] == ["unverifiable", "present", "present", "missing"]


@pytest.mark.parametrize(
    "written", ["shard/a.flac", "Shard/a.flac", "shard/b/a.flac", "sh%61rd/a.flac", "shard\\a.flac"]
)
def test_a_folder_that_is_a_link_to_nowhere_leaves_the_row_unverifiable(root: Path, written: str) -> None:
    (root / "shard").symlink_to(root.parent / "unmounted")
    said = verdict(root, written)
    assert said[0] == "unverifiable"
    assert "link to nowhere" in said[1]
    assert verdict(root, "none.flac")[0] == "missing"


def test_a_linked_folder_is_looked_into(root: Path) -> None:
    make(root.parent / "elsewhere" / "song.flac")
    (root / "shard").symlink_to(root.parent / "elsewhere")
    assert verdicts(root, "shard/song.flac", "Shard/song.flac", "shard/none.flac") == [
        "present",
        "unverifiable",
        "missing",
    ]


def test_folders_that_lead_into_each_other_have_an_end(root: Path) -> None:
    (root / "album" / "album").symlink_to(root / "album")
    assert verdicts(root, "ALBUM/album/Album/none.flac", "album/album/album/song.flac") == ["missing", "present"]


# -- names that aren't UTF-8 ----------------------------------------------------------------------------------------


def old(text: str, encoding: str) -> str:
    return os.fsdecode(text.encode(encoding))


@pytest.mark.parametrize(
    ("written", "on_disk"),
    [
        ("été.flac", old("été.flac", "latin-1")),
        ("Été.flac", old("été.flac", "latin-1")),
        ("e\u0301te\u0301.flac", old("été.flac", "latin-1")),
        ("“été”.flac", old("“été”.flac", "cp1252")),
        ("音楽.flac", old("音楽.flac", "shift_jis")),
        ("песня.flac", old("песня.flac", "koi8_r")),
        ("été.flac", old("été.flac", "cp437")),
        ("%E9t%E9.flac", old("été.flac", "latin-1")),
    ],
)
def test_a_name_in_old_bytes_may_be_the_rows(root: Path, written: str, on_disk: str) -> None:
    make(root / "old" / on_disk)
    make(root / on_disk / "song.flac")
    assert verdict(root, f"old/{written}")[0] == "unverifiable"
    assert verdict(root, f"{written}/song.flac")[0] == "unverifiable"


def test_beside_names_in_old_bytes_only_ascii_names_are_missing(root: Path) -> None:
    make(root / "album" / old("über.flac", "latin-1"))
    paths = "album/none.flac", "album/été.flac", "album/song.flac", "none.flac", "été.flac"
    assert verdicts(root, *paths) == ["missing", "unverifiable", "present", "missing", "missing"]


def test_beside_a_folder_in_old_bytes_only_ascii_folders_are_missing(root: Path) -> None:
    make(root / "album" / old("über", "latin-1") / "song.flac")
    paths = "album/cd1/none.flac", "album/été/none.flac", "album/été/cd1/none.flac", "été/none.flac"
    assert verdicts(root, *paths) == ["missing", "unverifiable", "unverifiable", "missing"]


def test_a_row_may_name_old_bytes_exactly(root: Path) -> None:
    name = old("été.flac", "latin-1")
    make(root / "album" / name)
    assert verdicts(root, f"album/{name}", "album/none.flac") == ["present", "missing"]


# -- asking again ---------------------------------------------------------------------------------------------------


@pytest.fixture
def hide(root: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have the album not list one of its names, though the system knows it, as network file systems may for a while."""

    def prepare(hidden: str) -> None:
        real, itself = os.scandir, (root / "album").stat()

        class Hiding(Listing):
            def __next__(self) -> "os.DirEntry[str]":
                entry = super().__next__()
                return super().__next__() if entry.name == hidden else entry

        def listing(path: Any = ".") -> Any:
            entries = real(path)
            is_it = isinstance(path, int) and os.path.samestat(os.fstat(path), itself)
            return Hiding(entries, lambda _: None) if is_it else entries

        monkeypatch.setattr("veza_ops.storage.search.os.scandir", listing)

    return prepare


def test_nobody_takes_the_time_to_compare_a_name_that_is_too_long_for_any_system(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folded: list[str] = []
    monkeypatch.setattr(search, "readings_of", folded.append)
    (look,) = Files(Layout(str(root))).look(["album/" + "\ufdfa" * 100 + ".flac"])
    assert (look.verdict, folded) == (Verdict.UNVERIFIABLE, [])
    assert "ENAMETOOLONG" in look.reason


def test_asking_again_sees_what_a_listing_does_not_show(root: Path, hide: Callable[[str], None]) -> None:
    hide("song.flac")
    files = Files(Layout(str(root)))
    paths = ["album/song.flac", "album/none.flac"]
    assert [look.verdict.value for look in files.search(paths)] == ["missing", "missing"]
    assert [look.verdict.value for look in files.search(paths, asks_again=True)] == ["present", "missing"]


def test_asking_again_in_no_folder_is_asking_all_the_same(root: Path) -> None:
    files = Files(Layout(str(root)))
    paths = ["none/none.flac", "none.flac", "album/song.flac"]
    looks = files.search(paths, asks_again=True)
    assert [look.verdict.value for look in looks] == ["missing", "missing", "present"]


def test_a_name_that_is_the_same_to_the_system_is_present(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a disk that cares for no letter case."""
    real = os.lstat

    def lstat(path: Any, *arguments: Any, **options: Any) -> Any:
        with suppress(FileNotFoundError):
            return real(path, *arguments, **options)
        return real(f"{root}/album/song.flac" if path.lower() == f"{root}/album/song.flac" else path)

    monkeypatch.setattr("veza_ops.storage.disk.os.lstat", lstat)
    monkeypatch.setattr("veza_ops.storage.disk.os.path.lexists", lambda _: pytest.fail("it swallows errors"))
    assert verdicts(root, "album/SONG.flac", "album/none.flac") == ["present", "missing"]


def test_many_looks_come_back_in_order(root: Path) -> None:
    paths = ["album/song.flac" if number % 3 else f"none-{number}.flac" for number in range(1000)]
    looks = Files(Layout(str(root)), max_threads=8).look(paths)
    assert [look.verdict is Verdict.PRESENT for look in looks] == [number % 3 != 0 for number in range(1000)]


def test_a_folder_that_hangs_costs_the_rows_in_it_and_no_others(
    root: Path, on_open: OnOpen, released: threading.Event
) -> None:
    (root / "hung" / "below").mkdir(parents=True)
    on_open(root / "hung", released.wait)
    paths = [f"album/none-{number}.flac" for number in range(40)]
    paths += ["album/song.flac", "hung/song.flac", "hung/below/song.flac", "other/none.flac"]
    looks = Files(Layout(str(root)), max_threads=4, look_timeout_seconds=AT_ONCE).look(paths)
    assert [look.verdict.value for look in looks] == [
        *(["missing"] * 40),
        "present",
        "unverifiable",
        "unverifiable",
        "missing",
    ]
    assert f"no answer within {AT_ONCE:g} s" in looks[41].reason


def test_what_was_looked_for_is_held_by_nobody_once_it_was_found(tmp_path: Path) -> None:
    """Folders and names of a batch are many, and the garbage collector comes by late."""
    (tmp_path / "album").mkdir()
    rows = Files(Layout(str(tmp_path))).rows(["album/none.flac"])
    (wanted,) = map(weakref.ref, rows.folders.values())
    gc.disable()
    try:
        looks = Files(Layout(str(tmp_path))).search(rows)
        del rows
        assert wanted() is None
        assert looks[0].verdict is Verdict.MISSING
    finally:
        gc.enable()


def test_a_path_of_a_thousand_folders_is_looked_for(tmp_path: Path) -> None:
    (look,) = Files(Layout(str(tmp_path))).search(["a/" * 1_500 + "song.flac"])
    assert look.verdict is Verdict.MISSING
