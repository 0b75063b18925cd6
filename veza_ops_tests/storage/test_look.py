"""From a path to a verdict: couldn't look is never missing."""

import errno
import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from veza_ops.errors import ConfigurationError
from veza_ops.storage.files import Files
from veza_ops.storage.layout import Layout
from veza_ops.storage.look import Area, Look, Verdict
from veza_ops_tests.storage.conftest import OnListing, OnOpen, make, raises, verdict, verdicts

# -- present --------------------------------------------------------------------------------------------------------


def test_a_file_of_any_size_is_present(root: Path) -> None:
    (root / "empty.flac").touch()
    assert verdict(root, "album/song.flac") == ("present", "")
    assert verdict(root, "empty.flac") == ("present", "")


def test_a_folder_is_present(root: Path) -> None:
    assert verdict(root, "album")[0] == "present"
    assert verdict(root, "album/")[0] == "present"


@pytest.mark.parametrize("file_path", [".", "./", "album/..", "none/.."])
def test_the_root_itself_is_present_as_any_folder_is(root: Path, file_path: str) -> None:
    assert verdict(root, file_path)[0] == "present"


@pytest.mark.parametrize("file_path", ["{}", "{}/", "{}/.", "/"])
def test_an_absolute_path_to_the_root_or_to_the_top_of_all_is_present(root: Path, file_path: str) -> None:
    assert verdict(root, file_path.format(root))[0] == "present"
    assert verdict("", file_path.format(root))[0] == "present"


def test_whatever_it_is_it_is_present(root: Path) -> None:
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as listening, tempfile.TemporaryDirectory() as short:
        listening.bind(f"{short}/socket")  # the path of one may only be so long
        assert verdict(short, "socket")[0] == "present"
    assert verdict(root, "pipe")[0] == "present"


def test_what_would_be_below_a_pipe_is_told_without_waiting_for_somebody_to_write_into_it(root: Path) -> None:
    os.mkfifo(root / "pipe")
    (found,) = Files(Layout(str(root)), look_timeout_seconds=5).look(["pipe/song.flac"])
    assert found.verdict is Verdict.UNVERIFIABLE
    assert "no answer" not in found.reason


def test_a_link_to_a_file_or_a_folder_is_present(root: Path) -> None:
    (root / "link").symlink_to(root / "album" / "song.flac")
    (root / "shard").symlink_to(root / "album")
    assert verdicts(root, "link", "shard", "shard/song.flac") == ["present"] * 3


def test_an_absolute_path_is_used_as_it_stands(root: Path) -> None:
    assert verdict("", str(root / "album" / "song.flac"))[0] == "present"
    assert verdict("", str(root / "album" / "none.flac")) == ("missing", f"no file at {root}/album/none.flac")


ONE_FORM = ["album//song.flac", "album/./song.flac", "./album/song.flac", "none/../album/song.flac"]
ONE_FORM += [
    "album/none/../song.flac",
    "album/../album/song.flac",
    ".//album/.//song.flac",
    "a/b/../../album/song.flac",
]


@pytest.mark.parametrize("file_path", ONE_FORM)
def test_what_means_nothing_in_a_path_is_taken_out_of_it(root: Path, file_path: str) -> None:
    path_map = {"/app/uploads": str(root)}
    assert verdict(root, file_path)[0] == "present"
    assert verdict("", f"{root}/{file_path}")[0] == "present"
    assert verdict("", f"/app/uploads/{file_path}", path_map)[0] == "present"
    assert verdict(root, file_path.replace("song", "none"))[0] == "missing"


@pytest.mark.parametrize("prefix", ["/app//uploads", "/app/./uploads", "/app/x/../uploads", "/app/uploads/"])
def test_a_mapped_prefix_is_known_however_it_is_written(root: Path, prefix: str) -> None:
    assert verdict("", f"{prefix}/album/song.flac", {"/app/uploads": str(root)})[0] == "present"
    assert verdict("", "/app/uploads/album/song.flac", {prefix: str(root)})[0] == "present"


# -- missing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file_path", ["none.flac", "album/none.flac", "no/such/folder/none.flac", "./none.flac"])
def test_a_path_where_nothing_is_and_never_was_is_missing(root: Path, file_path: str) -> None:
    assert verdict(root, file_path)[0] == "missing"


@pytest.mark.parametrize(
    ("file_path", "area", "nearest", "is_empty"),
    [
        ("none.flac", "", "", False),
        ("album/none.flac", "/album", "/album", False),
        ("album/cd1/none.flac", "/album", "/album", False),
        ("empty/none.flac", "/empty", "/empty", True),
        ("nowhere/cd1/none.flac", "/nowhere", "", False),
    ],
)
def test_a_missing_file_is_missing_from_the_deepest_folder_that_is_there(
    root: Path, file_path: str, area: str, nearest: str, *, is_empty: bool
) -> None:
    (root / "empty").mkdir()
    (found,) = Files(Layout(str(root))).look([file_path])
    assert found.verdict is Verdict.MISSING
    assert found.gone is not None
    assert found.gone.area == Area(f"{root}{area}", directly=not area)
    assert found.gone.nearest == (f"{root}{nearest}", root.stat().st_dev, is_empty)


# -- unverifiable ---------------------------------------------------------------------------------------------------


def dangling(root: Path) -> str:
    (root / "link").symlink_to(root / "nowhere")
    return "link"


def through_a_dangling_folder(root: Path) -> str:
    (root / "shard").symlink_to(root.parent / "unmounted")
    return "shard/a/b/song.flac"


def up_from_a_dangling_folder(root: Path) -> str:
    """Where this leads, only the disk knows that isn't mounted."""
    (root / "shard").symlink_to(root.parent / "unmounted" / "folder")
    return "shard/../none.flac"


def up_from_a_linked_folder(root: Path) -> str:
    """The system takes it for a neighbour of the folder that is linked to."""
    make(root.parent / "elsewhere" / "none.flac")
    (root.parent / "elsewhere" / "folder").mkdir()
    (root / "shard").symlink_to(root.parent / "elsewhere" / "folder")
    return "shard/../none.flac"


@pytest.mark.parametrize("written", ["/srv/veza", "/srv//veza", "/srv/./veza", "/srv/x/../veza"])
def test_up_from_a_linked_folder_is_elsewhere_however_the_mapped_folder_is_written(root: Path, written: str) -> None:
    way = up_from_a_linked_folder(root)
    assert "leads elsewhere" in verdict("", f"{written}/{way}", {"/srv/veza": str(root)})[1]
    assert verdict("", f"{written}/album/../none.flac", {"/srv/veza": str(root)})[0] == (
        "unverifiable" if "x" in written else "missing"
    )


def test_up_from_a_linked_folder_is_elsewhere_where_the_root_is_a_bucket(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REGION", "nowhere-1")
    way = up_from_a_linked_folder(root)
    assert "leads elsewhere" in verdict("s3://veza", f"{root}/{way}")[1]


@pytest.mark.parametrize("path", ["C:/..", "file:/..", "C:/."])
@pytest.mark.parametrize("top", ["s3://veza", "/srv"])
def test_what_may_be_an_absolute_folder_is_no_place_of_ours(top: str, path: str) -> None:
    assert "may mean one" in verdict(top, path)[1]


def link_loop(root: Path) -> str:
    (root / "loop").symlink_to(root / "loop")
    return "loop/song.flac"


def link_that_is_a_loop(root: Path) -> str:
    (root / "loop").symlink_to(root / "loop")
    return "loop"


def white_space_before_an_absolute_path(root: Path) -> str:
    return f" {root}/album/none.flac"


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (dangling, "link to nowhere"),
        (through_a_dangling_folder, "shard is a link to nowhere"),
        (up_from_a_dangling_folder, ""),
        (up_from_a_linked_folder, "leads elsewhere"),
        (link_loop, "ELOOP"),
        (link_that_is_a_loop, "ELOOP"),
        (lambda _: "album/song.flac/cover.jpg", "ENOTDIR"),
        (lambda _: "album/song.flac/a/b/cover.jpg", "ENOTDIR"),
        (lambda _: "n" * 256, "ENAMETOOLONG"),
        (lambda _: "é" * 128, "ENAMETOOLONG"),
        (lambda _: f"{'n' * 256}/song.flac", "ENAMETOOLONG"),
        (lambda _: f"album{'/deep' * 1000}/song.flac", "ENAMETOOLONG"),
        (lambda _: "album/\ud800.flac", "no file can have this name"),
        (lambda _: "\ud800/song.flac", "no file can have this name"),
        (lambda _: "album\0/song.flac", "no file can have this name"),
        (lambda _: None, "no file_path"),
        (lambda _: "", "no file_path"),
        (lambda _: "s3://bucket/song.flac", "no storage here serves s3:// addresses: set AWS_REGION"),
        (lambda _: "gs://bucket/song.flac", "gs:// addresses"),
        (lambda _: "https://cdn/song.flac", "https:// addresses"),
        (lambda _: "file:///srv/song.flac", "file:// addresses"),
        (lambda _: "../files/album/song.flac", "climbs out"),
        (lambda _: "album/../../files/none.flac", "climbs out"),
        (lambda _: "..", "climbs out"),
        (white_space_before_an_absolute_path, "may mean one"),
    ],
)
def test_what_nobody_can_look_at_is_unverifiable_with_a_reason(
    root: Path, prepare: Callable[[Path], str | None], reason: str
) -> None:
    said = verdict(root, prepare(root))
    assert said[0] == "unverifiable"
    assert reason in said[1]


def test_a_name_with_a_nul_is_unverifiable_however_short_the_way_to_it() -> None:
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp") as short:
        assert verdict(short, "so\0ng.flac")[0] == "unverifiable"


MAY_BE_ABSOLUTE = [" /app/a.flac", "\t/app/a.flac", "\ufeff/app/a.flac", '"/app/a.flac"', "'/app/a.flac'"]
MAY_BE_ABSOLUTE += ["\\app\\a.flac", "\\\\server\\share\\a.flac", "C:\\music\\a.flac", "C:/music/a.flac"]
MAY_BE_ABSOLUTE += ["%2Fapp%2Fa.flac", "C%3A%5Cmusic%5Ca.flac", "&#47;app/a.flac"]
MAY_BE_ABSOLUTE += ["file:/app/a.flac", "file%3A/app/a.flac", "file%3A%2F%2F%2Fapp%2Fa.flac"]
ADDRESSES = [" s3://bucket/a.flac", "\ufeffhttps://cdn/a.flac", '"https://cdn/a.flac"', "https:\\\\cdn\\a.flac"]
ADDRESSES += ["https%3A//cdn/a.flac", "https%3A%2F%2Fcdn%2Fa.flac", "https&#58;//cdn/a.flac"]


@pytest.mark.parametrize("file_path", MAY_BE_ABSOLUTE)
def test_a_path_that_may_mean_an_absolute_one_is_unverifiable(root: Path, file_path: str) -> None:
    assert verdict(root, file_path)[0] == "unverifiable"
    assert verdict(root, file_path, {"/app": str(root)})[0] == "unverifiable"


@pytest.mark.parametrize("file_path", ADDRESSES)
def test_an_address_that_is_written_otherwise_is_an_address_all_the_same(root: Path, file_path: str) -> None:
    assert verdict(root, file_path)[0] == "unverifiable"


def test_a_relative_path_without_a_root_is_unverifiable() -> None:
    assert verdict("", "none.flac") == ("unverifiable", "the path is relative and no storage root is configured")


def test_without_the_root_or_a_mapped_folder_nothing_is_missing(root: Path) -> None:
    gone = f"{root}/gone"
    for verdict_on, reason in (verdict(gone, "none.flac"), verdict("", "/api/a/none.flac", {"/api": gone})):
        assert verdict_on == "unverifiable"
        assert gone in reason


def test_a_root_that_is_a_link_to_nowhere_is_no_root(root: Path) -> None:
    (root / "link").symlink_to(root / "nowhere")
    for verdict_on, reason in (verdict(root / "link", "none.flac"), verdict(root / "link", "album/none.flac")):
        assert verdict_on == "unverifiable"
        assert "link to nowhere" in reason


# -- what else the system may answer --------------------------------------------------------------------------------

ANSWERS = [errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.ELOOP]


@pytest.mark.parametrize("code", ANSWERS, ids=errno.errorcode.get)
def test_any_other_answer_of_the_system_is_unverifiable(root: Path, code: int, on_open: OnOpen) -> None:
    on_open(root / "album", raises(code))
    for file_path in ("album/none.flac", "album/cd1/none.flac"):
        said = verdict(root, file_path)
        assert said[0] == "unverifiable"
        assert errno.errorcode[code] in said[1]
    assert verdict(root, "none.flac")[0] == "missing"


@pytest.mark.parametrize("code", ANSWERS, ids=errno.errorcode.get)
def test_a_file_in_a_folder_that_answers_with_an_error_is_not_missing(root: Path, code: int, on_open: OnOpen) -> None:
    on_open(root / "album", raises(code))
    assert verdict(root, "album/song.flac")[0] != "missing"


def test_in_a_folder_that_may_be_entered_but_not_read_the_exact_name_is_asked_for(root: Path, on_open: OnOpen) -> None:
    on_open(root / "album", raises(errno.EACCES))
    (root / "album" / "link").symlink_to(root / "nowhere")
    paths = "album/song.flac", "album/SONG.flac", "album/none.flac", "album/link"
    assert verdicts(root, *paths) == ["present", "unverifiable", "unverifiable", "unverifiable"]


@pytest.mark.parametrize("code", ANSWERS, ids=errno.errorcode.get)
def test_a_folder_on_the_way_that_cannot_be_looked_at_is_unverifiable(root: Path, code: int, on_open: OnOpen) -> None:
    on_open(root, raises(code))
    for file_path in ("none.flac", "album/none.flac", "nowhere/none.flac"):
        said = verdict(root, file_path)
        assert said[0] == "unverifiable"
        assert errno.errorcode[code] in said[1]


def test_below_a_folder_that_may_be_entered_but_not_read_files_are_seen(root: Path, on_open: OnOpen) -> None:
    on_open(root, raises(errno.EACCES))
    assert verdict(root, "album/song.flac")[0] == "present"


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EACCES], ids=errno.errorcode.get)
@pytest.mark.parametrize("after", [0, 1])
def test_a_listing_that_breaks_off_says_nothing_of_what_it_did_not_show(
    root: Path, code: int, after: int, on_listing: OnListing
) -> None:
    make(root / "album" / "other.flac")
    on_listing(root / "album", lambda number: raises(code)() if number >= after else None)
    assert verdict(root, "album/none.flac")[0] == "unverifiable"
    assert verdict(root, "album/song.flac")[0] != "missing"


def test_a_folder_that_comes_back_while_it_is_looked_at_is_unverifiable(root: Path, on_open: OnOpen) -> None:
    on_open(root / "album", raises(errno.ENOENT))
    assert verdict(root, "album/none.flac")[0] == "unverifiable"


@pytest.mark.parametrize("file_path", ["up/x.flac", " up/x.flac", "up /x.flac", "UP/x.flac"])
def test_a_dead_mount_is_unverifiable_however_the_way_to_it_is_written(
    root: Path, file_path: str, on_open: OnOpen
) -> None:
    (root / "up").mkdir()
    on_open(root / "up", raises(errno.ENOTCONN))
    assert verdict(root, file_path)[0] == "unverifiable"


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ESTALE], ids=errno.errorcode.get)
def test_a_name_that_the_system_does_not_answer_for_is_unverifiable(
    root: Path, code: int, on_open: OnOpen, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_open(root / "album", raises(errno.EACCES))
    refuse(monkeypatch, "lstat", root / "album" / "song.flac", code)
    said = verdict(root, "album/song.flac")
    assert said[0] == "unverifiable"
    assert errno.errorcode[code] in said[1]


def test_a_link_that_cannot_be_followed_is_unverifiable(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "link").symlink_to(root / "album" / "song.flac")
    refuse(monkeypatch, "stat", root / "link", errno.EIO)
    said = verdict(root, "link")
    assert said[0] == "unverifiable"
    assert "EIO" in said[1]


def refuse(monkeypatch: pytest.MonkeyPatch, call: str, path: Path, code: int) -> None:
    """Have one of the system's calls answer with an error for `path`."""
    real = getattr(os, call)

    def answer(asked: Any, *arguments: Any, **options: Any) -> Any:
        if asked == str(path):
            raise OSError(code, os.strerror(code))
        return real(asked, *arguments, **options)

    monkeypatch.setattr(f"veza_ops.storage.disk.os.{call}", answer)


# -- path_map -------------------------------------------------------------------------------------------------------


def test_an_absolute_path_is_mapped_by_its_longest_prefix(root: Path) -> None:
    path_map = {"/api": f"{root}/album", "/api/data": str(root)}
    assert verdict("", "/api/data/album/song.flac", path_map)[0] == "present"
    assert verdict("", "/api/other.flac", path_map)[1] == f"no file at {root}/album/other.flac"


@pytest.mark.parametrize("prefix", ["/mnt/movies", "/mnt/movies/"])
def test_a_prefix_matches_whole_path_components_only(root: Path, prefix: str) -> None:
    layout = Layout("", {prefix: str(root)})
    assert layout.resolve("/mnt/movies/a") == f"{root}/a"
    assert layout.resolve("/mnt/movies2/a") == "/mnt/movies2/a"


@pytest.mark.parametrize("file_path", ["/api", "/api/", "/api/.", "/api/x/.."])
def test_a_row_that_names_a_mapped_folder_itself_is_present(root: Path, file_path: str) -> None:
    assert verdict("", file_path, {"/api": str(root)})[0] == "present"


def test_a_mapped_path_that_climbs_out_of_its_prefix_is_not_mapped(root: Path) -> None:
    layout = Layout("", {"/api": str(root)})
    assert layout.resolve("/api/../else.flac") == "/else.flac"
    assert layout.resolve("/api/a/../../else/a.flac") == "/else/a.flac"


def test_the_path_map_does_not_touch_relative_paths(root: Path) -> None:
    assert Layout(str(root), {"/album": "/x"}).resolve("album/song.flac") == f"{root}/album/song.flac"


@pytest.mark.parametrize("layout", [("uploads", {}), ("", {"api": "/x"}), ("", {"/api": "x"})])
def test_a_path_in_the_configuration_that_is_not_absolute_is_named(layout: tuple[str, dict[str, str]]) -> None:
    with pytest.raises(ConfigurationError, match="relative"):
        Layout(*layout)


@pytest.mark.parametrize("prefix", ["s3://old", "S3://old/", "https://cdn.example/tracks", "file:///srv"])
@pytest.mark.parametrize("target", ["s3://new", "/srv"])
def test_a_prefix_that_is_an_address_is_refused_since_only_paths_are_mapped(prefix: str, target: str) -> None:
    with pytest.raises(ConfigurationError, match="is an address, and only paths are mapped"):
        Layout("", {prefix: target})


def test_one_prefix_that_is_mapped_to_two_folders_is_named() -> None:
    with pytest.raises(ConfigurationError, match="mapped to two folders"):
        Layout("", {"/app": "/a", "/app/": "/b"})
    Layout("", {"/app": "/a", "/app/": "/a/"})


# -- areas ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file_path", "area"),
    [
        ("a/b/c.flac", Area("/srv/a")),
        ("./a//b/../c.flac", Area("/srv/a")),
        ("c.flac", Area("/srv", directly=True)),
        ("/srv/a/c.flac", Area("/srv/a")),
        ("/srv/c.flac", Area("/srv", directly=True)),
        ("/app/a/b/c.flac", Area("/mnt/app")),
        ("/mnt/app/c.flac", Area("/mnt/app")),
        ("/app/inside/c.flac", Area("/srv/inside")),
        ("inside/c.flac", Area("/srv/inside")),
        ("/tmp/upload/c.flac", Area("/tmp", covered=False)),
        ("/mnt/other/c.flac", Area("/mnt", covered=False)),
        ("/c.flac", Area("/", directly=True, covered=False)),
        ("/srv2/c.flac", Area("/srv2", covered=False)),
    ],
)
def test_an_area_is_what_an_operator_can_mount_or_configure_apart(file_path: str, area: Area) -> None:
    located = Layout("/srv/", {"/app": "/mnt/app", "/app/inside": "/srv/inside"}).locate(file_path)
    assert not isinstance(located, Look)
    assert located[0].area == area


def test_areas_are_listed_once_and_only_where_a_file_can_be_looked_for() -> None:
    paths = [
        "a/1.flac",
        "a/2.flac",
        "a/b/3.flac",
        "b/1.flac",
        None,
        "",
        "s3://a/1.flac",
        "../1.flac",
        "1.flac",
        "2.flac",
    ]
    found = Files(Layout("/srv")).rows(paths).areas
    assert sorted(map(str, found)) == ["/srv itself", "/srv/a", "/srv/b"]
