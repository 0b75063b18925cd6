"""From a path to a verdict: couldn't look is never missing."""

import os
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from veza_ops.errors import ConfigurationError
from veza_ops.storage.files import Files
from veza_ops.storage.layout import Layout


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
