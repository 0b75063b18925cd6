"""From a path to a verdict: couldn't look is never missing."""

import os
import threading
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from veza_ops.errors import ConfigurationError, StorageNotProvenError
from veza_ops.storage import Files, Layout, Verdict, look_at_all


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The storage root, with one album in it."""
    folder = tmp_path / "files"
    (folder / "album").mkdir(parents=True)
    (folder / "album" / "song.flac").write_bytes(b"music")
    return folder


def verdict(root: Path | str, file_path: str | None, path_map: Mapping[str, str] | None = None) -> tuple[str, str]:
    """The verdict on a `file_path`, and its reason."""
    (look,) = Files(Layout(str(root), path_map or {})).look([file_path])
    return look.verdict.value, look.reason


# -- present --------------------------------------------------------------------------------------------------------


def test_a_file_of_any_size_is_present(root: Path) -> None:
    (root / "empty.flac").touch()
    assert verdict(root, "album/song.flac") == ("present", "")
    assert verdict(root, "empty.flac") == ("present", "")


def test_a_folder_is_present(root: Path) -> None:
    assert verdict(root, "album")[0] == "present"


def test_a_link_to_a_file_is_present(root: Path) -> None:
    (root / "link").symlink_to(root / "album" / "song.flac")
    assert verdict(root, "link")[0] == "present"


def test_an_absolute_path_is_used_as_it_stands(root: Path) -> None:
    assert verdict("", str(root / "album" / "song.flac"))[0] == "present"
    assert verdict("", str(root / "album" / "none.flac")) == ("missing", f"no file at {root}/album/none.flac")


# -- missing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file_path", ["none.flac", "album/none.flac", "no/such/folder/none.flac", "./none.flac"])
def test_a_path_where_nothing_is_and_never_was_is_missing(root: Path, file_path: str) -> None:
    assert verdict(root, file_path)[0] == "missing"


# -- unverifiable ---------------------------------------------------------------------------------------------------


def dangling(root: Path) -> str:
    (root / "link").symlink_to(root / "nowhere")
    return "link"


def through_a_dangling_folder(root: Path) -> str:
    (root / "shard").symlink_to(root.parent / "unmounted")
    return "shard/a/b/song.flac"


def link_loop(root: Path) -> str:
    (root / "loop").symlink_to(root / "loop")
    return "loop/song.flac"


def through_a_file(_: Path) -> str:
    return "album/song.flac/cover.jpg"


def name_too_long(_: Path) -> str:
    return "n" * 300


def nul(_: Path) -> str:
    return "album/so\0ng.flac"


def undecodable(_: Path) -> str:
    return "album/\ud800.flac"


def other_normal_form(root: Path) -> str:
    (root / unicodedata.normalize("NFD", "é.flac")).touch()
    return unicodedata.normalize("NFC", "é.flac")


def other_normal_form_of_the_file_alone(root: Path) -> str:
    folder = root / unicodedata.normalize("NFC", "Björk")
    folder.mkdir()
    (folder / unicodedata.normalize("NFD", "é.flac")).touch()
    return unicodedata.normalize("NFC", "Björk/é.flac")


def cleaned_path(_: Path) -> str:
    return "none/../album/song.flac"


def white_space_around(_: Path) -> str:
    return "album/song.flac\n"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (dangling, "link to nowhere"),
        (through_a_dangling_folder, "shard is a link to nowhere"),
        (link_loop, "ELOOP"),
        (through_a_file, "ENOTDIR"),
        (name_too_long, "ENAMETOOLONG"),
        (nul, "no file can have this name"),
        (undecodable, "no file can have this name"),
        (other_normal_form, "another spelling"),
        (other_normal_form_of_the_file_alone, "another spelling"),
        (cleaned_path, "another spelling"),
        (white_space_around, "another spelling"),
        (lambda _: " album/song.flac", "another spelling"),
        (lambda _: "album /song.flac", "another spelling"),
        (lambda root: f" {root}/album/none.flac", "begins with white space"),
        (lambda _: None, "no file_path"),
        (lambda _: "", "no file_path"),
        (lambda _: "s3://bucket/song.flac", "s3:// addresses"),
        (lambda _: "https://cdn/song.flac", "https:// addresses"),
        (lambda _: "../files/album/song.flac", "climbs out"),
        (lambda _: "album/../../files/none.flac", "climbs out"),
    ],
)
def test_what_nobody_can_look_at_is_unverifiable_with_a_reason(
    root: Path, make: Callable[[Path], str | None], reason: str
) -> None:
    said = verdict(root, make(root))
    assert said[0] == "unverifiable"
    assert reason in said[1]


def test_a_relative_path_without_a_root_is_unverifiable() -> None:
    assert verdict("", "none.flac") == ("unverifiable", "the path is relative and no storage root is configured")


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied"), OSError(5, "I/O error"), OSError(116, "Stale")]
)
def test_any_other_answer_of_the_system_is_unverifiable(
    root: Path, error: OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_lstat = os.lstat

    def lstat(path: str) -> os.stat_result:
        if path.endswith("none.flac"):
            raise error
        return real_lstat(path)

    monkeypatch.setattr(os, "lstat", lstat)
    assert verdict(root, "none.flac")[0] == "unverifiable"


def test_a_folder_on_the_way_that_cannot_be_looked_at_is_unverifiable(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_lstat = os.lstat

    def lstat(path: str) -> os.stat_result:
        if not path.endswith("none.flac"):
            raise PermissionError(13, "Permission denied")
        return real_lstat(path)

    monkeypatch.setattr(os, "lstat", lstat)
    assert verdict(root, "none.flac")[0] == "unverifiable"


# -- path_map -------------------------------------------------------------------------------------------------------


def test_an_absolute_path_is_mapped_by_its_longest_prefix(root: Path) -> None:
    path_map = {"/api": "/nowhere", "/api/data": str(root)}
    assert verdict("", "/api/data/album/song.flac", path_map=path_map)[0] == "present"
    assert verdict("", "/api/other.flac", path_map=path_map)[1] == "no file at /nowhere/other.flac"


@pytest.mark.parametrize("prefix", ["/mnt/movies", "/mnt/movies/"])
def test_a_prefix_matches_whole_path_components_only(root: Path, prefix: str) -> None:
    layout = Layout("", {prefix: str(root)})
    assert layout.resolve("/mnt/movies/a") == f"{root}/a"
    assert layout.resolve("/mnt/movies") == f"{root}/"
    assert layout.resolve("/mnt/movies2/a") == "/mnt/movies2/a"


def test_a_mapped_path_that_climbs_out_of_its_prefix_is_unverifiable(root: Path) -> None:
    path_map = {"/api": str(root)}
    assert verdict("", "/api/../else.flac", path_map=path_map)[0] == "unverifiable"


def test_the_path_map_does_not_touch_relative_paths(root: Path) -> None:
    assert Layout(str(root), {"/album": "/x"}).resolve("album/song.flac") == f"{root}/album/song.flac"


@pytest.mark.parametrize("layout", [("uploads", {}), ("", {"api": "/x"}), ("", {"/api": "x"})])
def test_a_path_in_the_configuration_that_is_not_absolute_is_named(layout: tuple[str, dict[str, str]]) -> None:
    with pytest.raises(ConfigurationError, match="relative"):
        Layout(*layout)


# -- many looks -----------------------------------------------------------------------------------------------------


def test_many_looks_come_back_in_order(root: Path) -> None:
    paths = ["album/song.flac" if number % 3 else f"none-{number}.flac" for number in range(1000)]
    looks = Files(Layout(str(root)), max_threads=8).look(paths)
    assert [look.verdict is Verdict.PRESENT for look in looks] == [number % 3 != 0 for number in range(1000)]


def test_a_look_that_hangs_is_given_up_and_only_its_slice_is_unverifiable(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    real_lstat = os.lstat

    def lstat(path: str) -> os.stat_result:
        if path.endswith("hung.flac"):
            released.wait()
        return real_lstat(path)

    monkeypatch.setattr(os, "lstat", lstat)
    paths = ["album/song.flac"] * 500
    paths[100] = "hung.flac"
    try:
        looks = Files(Layout(str(root)), max_threads=4, look_timeout_seconds=0.3).look(paths)
    finally:
        released.set()
    assert looks[100].verdict is Verdict.UNVERIFIABLE
    assert "no answer within 0.3 s" in looks[100].reason
    assert sum(look.verdict is Verdict.PRESENT for look in looks) >= 500 - 64


def test_when_every_look_hangs_the_rest_is_unverifiable(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(os, "lstat", lambda _: released.wait())
    try:
        looks = Files(Layout(str(root)), max_threads=2, look_timeout_seconds=0.1).look(["a"] * 1000)
    finally:
        released.set()
    assert {look.verdict for look in looks} == {Verdict.UNVERIFIABLE}


def test_a_slow_storage_is_looked_at_by_many_threads_and_no_more_than_configured(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once, most, lock, pause = 0, 0, threading.Lock(), threading.Event()
    real_lstat = os.lstat

    def lstat(path: str) -> os.stat_result:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        pause.wait(0.002)
        with lock:
            at_once -= 1
        return real_lstat(path)

    monkeypatch.setattr(os, "lstat", lstat)
    Files(Layout(str(root)), max_threads=5).look(["album/song.flac"] * 1000)
    assert 1 < most <= 5


def test_a_mistake_of_ours_in_a_thread_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def lstat(_: str) -> os.stat_result:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(os, "lstat", lstat)
    with pytest.raises(RuntimeError, match="a mistake"):
        look_at_all(["/a"])


# -- the proof ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "unseen", "proven"),
    [(20, 0, True), (11, 9, True), (10, 10, False), (0, 20, False), (1, 0, True), (0, 1, False)],
)
def test_storage_is_proven_when_more_than_half_of_the_sample_is_seen(
    root: Path, seen: int, unseen: int, *, proven: bool
) -> None:
    sample = ["album/song.flac"] * seen + ["none.flac"] * unseen
    files = Files(Layout(str(root)))
    if proven:
        assert files.prove(sample).seen == seen
    else:
        with pytest.raises(StorageNotProvenError, match=f"only {seen} of the {seen + unseen} newest playable tracks"):
            files.prove(sample)


def test_files_that_cannot_be_looked_at_do_not_prove_storage(root: Path) -> None:
    with pytest.raises(StorageNotProvenError, match="s3:// addresses"):
        Files(Layout(str(root))).prove(["s3://bucket/a"] * 3)


def test_without_a_sample_storage_is_taken_on_trust_and_said_so(root: Path) -> None:
    assert "taken on trust" in str(Files(Layout(str(root))).prove([]))


@pytest.mark.parametrize("broken", ["nowhere", "album/song.flac"])
def test_a_root_that_is_not_a_folder_is_refused_even_without_a_sample(root: Path, broken: str) -> None:
    with pytest.raises(StorageNotProvenError, match="can't be used"):
        Files(Layout(str(root / broken))).prove([])
