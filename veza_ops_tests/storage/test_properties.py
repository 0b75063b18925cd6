"""What holds for every path and every path map, tried on generated ones."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from veza_ops.storage.files import Files
from veza_ops.storage.layout import Layout
from veza_ops.storage.look import Look, Verdict
from veza_ops.storage.rows import Rows
from veza_ops_tests.paths import (
    LIKENESSES,
    NOT_TO_BE_FOLLOWED,
    THERE,
    changes,
    lay_out,
    relative_paths,
    same_every_time,
    written_otherwise,
)
from veza_ops_tests.storage.conftest import make


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the generated paths mean something."""
    return lay_out(tmp_path_factory.mktemp("properties") / "root")


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each example's own."""
    return tmp_path_factory.mktemp("scratch")


@contextmanager
def new_folder(scratch: Path) -> Iterator[Path]:
    """An empty folder of an example's own."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def look(layout: Layout, file_path: str | None) -> Look:
    (found,) = Files(layout).look([file_path])
    return found


# -- as the system says ---------------------------------------------------------------------------------------------


@same_every_time
@given(relative_paths)
@example("dangling/song.flac")
@example("loop/song.flac")
@example("é.flac")
@example("song.flac ")
@example("dangling/../none.flac")
def test_a_file_is_missing_only_if_the_system_says_so_of_its_very_path(root: Path, file_path: str) -> None:
    for layout, path in (
        (Layout(str(root)), file_path),
        (Layout(), f"{root}/{file_path}"),
        (Layout("", {"/api": str(root)}), f"/api/{file_path}"),
    ):
        if look(layout, path).verdict is Verdict.MISSING:
            with pytest.raises(FileNotFoundError):
                os.stat(f"{root}/{file_path}")


@same_every_time
@given(relative_paths)
def test_what_is_there_is_never_missing(root: Path, file_path: str) -> None:
    with suppress(OSError, ValueError):
        os.stat(f"{root}/{file_path}")
        assert look(Layout(str(root)), file_path).verdict is not Verdict.MISSING


@pytest.mark.parametrize("file_path", THERE)
def test_the_files_of_these_properties_are_seen(root: Path, file_path: str) -> None:
    assert look(Layout(str(root)), file_path).verdict is Verdict.PRESENT


@pytest.mark.parametrize("file_path", NOT_TO_BE_FOLLOWED)
def test_the_traps_of_these_properties_are_traps(root: Path, file_path: str) -> None:
    assert look(Layout(str(root)), file_path).verdict is Verdict.UNVERIFIABLE


# -- nothing else is looked at --------------------------------------------------------------------------------------


@contextmanager
def recorded_looks() -> Iterator[list[str]]:
    """The paths that the system is asked about, but those as seen from a folder that is open already."""
    looked: list[str] = []

    def recording(real: Any) -> Any:
        def ask(path: Any, *arguments: Any, **options: Any) -> Any:
            if not isinstance(path, int) and options.get("dir_fd") is None:
                looked.append(os.fsdecode(path))
            return real(path, *arguments, **options)

        return ask

    with (
        patch("os.open", recording(os.open)),
        patch("os.scandir", recording(os.scandir)),
        patch("os.stat", recording(os.stat)),
        patch("os.lstat", recording(os.lstat)),
    ):
        yield looked


@same_every_time
@given(relative_paths)
@example("../outside")
@example("album/../../outside")
@example("album/../..")
@example("./../root/song.flac")
@example("..%2Foutside")
@example("album/..\\..\\outside")
@example(" ../outside")
def test_nothing_outside_the_root_is_looked_at_through_a_relative_path(root: Path, file_path: str) -> None:
    with recorded_looks() as looked:
        look(Layout(str(root)), file_path)
    outside = [path for path in looked if not PurePosixPath(os.path.normpath(path)).is_relative_to(root)]
    assert outside == []


@same_every_time
@given(st.one_of(relative_paths, st.just("song.flac")), changes)
def test_nothing_outside_the_root_is_looked_at_however_the_path_is_written(
    root: Path, file_path: str, how: list[tuple[str, int]]
) -> None:
    written = written_otherwise(f"../{file_path}", how)
    assume(not written.startswith("/"))
    with recorded_looks() as looked:
        look(Layout(str(root)), written)
    outside = [path for path in looked if not PurePosixPath(os.path.normpath(path)).is_relative_to(root)]
    assert outside == []


def test_a_look_is_recorded_where_these_properties_look_for_it(root: Path) -> None:
    with recorded_looks() as looked:
        look(Layout(str(root)), "album/link.flac")
    assert f"{root}/album" in looked


# -- the same name, written otherwise -------------------------------------------------------------------------------

WORDS = [
    "song",
    "Song",
    "Été",
    "Straße",
    "ﬁve",
    "I\u015f\u0131k",
    "Å",
    "ガ",
    "1",
    "٣",
    "½",
    "ὀδός",
    "%ba",
    "%41",
    "&",
    "R&B",
]
WORDS += [
    "amp;",
    "?",
    "Who?",
    "#",
    "#1",
    "=",
    "+",
    "'",
    "\u2019",
    "(1)",
    "%",
    "100%",
    ";",
    ":",
    "~",
    "_",
    "-",
    ",",
    "!",
]
some_names = (
    st.lists(st.one_of(st.sampled_from([*WORDS, " ", "."]), st.characters(exclude_categories=["Cs"])), max_size=5)
    .map("".join)
    .map(lambda text: text.replace("/", "").replace("\0", ""))
    .flatmap(lambda text: st.sampled_from([f"a{text}.flac", f"{text}1.mp3", f"1{text}", f"é{text}.wav"]))
)
some_paths = st.lists(some_names, min_size=1, max_size=3).map("/".join)


def can_be_made(path: str) -> bool:
    """Whether there can be a file of this path below a folder, and just there."""
    parts = path.split("/")
    return not {"", ".", ".."} & set(parts) and "\0" not in path and all(len(part.encode()) < 256 for part in parts)


def every_kind_alone(test: Any) -> Any:
    """An example of each kind of likeness, on a name and on a folder."""
    for kind in LIKENESSES:
        for number in range(0, 12, 2):
            test = example("Björk & Ko/été one.flac", [(kind, number)])(test)
    return test


@same_every_time
@given(some_paths, changes)
@every_kind_alone
@example("Été 50%de.flac", [("NFD", 0)])
@example("Who are you?.flac", [("a query", 1)])
@example("Take #1.flac", [("a query", 1)])
@example("I\u015f\u0131k.flac", [("upper case", 0)])
def test_a_file_whose_row_is_written_otherwise_is_never_missing(
    scratch: Path, path: str, how: list[tuple[str, int]]
) -> None:
    assume(can_be_made(path))
    written = written_otherwise(path, how)
    with new_folder(scratch) as root:
        make(root / path)
        assert look(Layout(str(root)), written).verdict is not Verdict.MISSING, written


@same_every_time
@given(some_paths, changes)
@every_kind_alone
def test_a_file_that_is_named_otherwise_on_disk_is_never_missing(
    scratch: Path, path: str, how: list[tuple[str, int]]
) -> None:
    on_disk = written_otherwise(path, how)
    assume(can_be_made(on_disk))
    with new_folder(scratch) as root:
        make(root / on_disk)
        assert look(Layout(str(root)), path).verdict is not Verdict.MISSING, on_disk


@same_every_time
@given(some_paths, changes, changes)
def test_a_file_is_never_missing_though_row_and_disk_are_each_written_otherwise(
    scratch: Path, path: str, how: list[tuple[str, int]], otherwise: list[tuple[str, int]]
) -> None:
    written, on_disk = written_otherwise(path, how), written_otherwise(path, otherwise)
    assume(can_be_made(on_disk))
    with new_folder(scratch) as root:
        make(root / on_disk)
        assert look(Layout(str(root)), written).verdict is not Verdict.MISSING, (written, on_disk)


@settings(same_every_time, max_examples=100)  # each reads all folders from the top on
@given(some_paths, changes)
@every_kind_alone
def test_an_absolute_path_that_is_written_otherwise_is_never_missing(
    scratch: Path, path: str, how: list[tuple[str, int]]
) -> None:
    assume(can_be_made(path))
    with new_folder(scratch) as root:
        made = make(root / path)
        written = written_otherwise(str(made), how)
        for layout in (Layout(), Layout(str(root)), Layout("/nowhere", {"/nowhere/else": str(root)})):
            assert look(layout, written).verdict is not Verdict.MISSING, written


# -- another name ---------------------------------------------------------------------------------------------------

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
plain_names = st.text(f"{LETTERS}{LETTERS.upper()}éÖ音 -_.,()!'", min_size=1, max_size=12).filter(
    lambda name: any(each in LETTERS for each in name.lower())
)
plain_paths = st.lists(plain_names, min_size=1, max_size=3).map("/".join)


@same_every_time
@given(plain_paths, st.integers(0, 99), st.sampled_from(LETTERS), st.booleans())
def test_a_file_with_another_letter_or_digit_is_another_file(
    scratch: Path,
    path: str,
    at: int,
    letter: str,
    more: bool,  # noqa: FBT001 - generated
) -> None:
    at %= len(path) + more
    there = path[at : at + 1].lower()
    assume(more or (there in LETTERS and there != letter))
    on_disk = path[:at] + letter + path[at + (not more) :]
    with new_folder(scratch) as root:
        make(root / on_disk, changed_ago=0)
        assert look(Layout(str(root)), path).verdict is Verdict.MISSING, on_disk


# -- a row among others ---------------------------------------------------------------------------------------------

folders = st.sampled_from(["album", "Album", "ALBUM ", "al%62um", "cd"])
files = st.sampled_from(
    ["a.flac", "A.flac", "a%2Eflac", "a.flac?v=1", "a.flac.part", ".a.flac.Xy12ab", "é.flac", "e\u0301.flac"]
)
slashes = st.sampled_from(["/", "/", "\\", "%2F"])
few_paths = st.one_of(folders, files, st.tuples(folders, slashes, files).map("".join))


@same_every_time
@given(st.lists(few_paths, max_size=4), st.lists(few_paths, min_size=1, max_size=5))
@example(["album/a.flac"], ["Album/a.flac", "album/a.flac"])
@example(["album/a.flac"], ["album\\a.flac", "album/a.flac"])
@example(["album/a.flac"], ["Album/a.flac", "album"])
@example(["a.flac.part"], ["a.flac", "a.flac.part"])
def test_what_is_found_of_a_row_does_not_hang_on_the_rows_beside_it(
    scratch: Path, on_disk: list[str], rows: list[str]
) -> None:
    with new_folder(scratch) as root:
        for path in on_disk:
            with suppress(FileExistsError, IsADirectoryError, NotADirectoryError):
                make(root / path, changed_ago=60)
        together = Files(Layout(str(root))).look(rows)
        for row, found in zip(rows, together, strict=True):
            alone = look(Layout(str(root)), row).verdict
            assert found.verdict == alone or (alone, found.verdict) == (Verdict.MISSING, Verdict.UNVERIFIABLE), row


odd_paths = st.one_of(few_paths, few_paths.map("{}/".format), few_paths.map("/app/./up/{}".format))
odd_paths |= st.sampled_from(["", "/", ".", "/app//up", "/app/./up", "/app/up", "/app/x", "/else/x", "s3://b/album/"])
odd_paths |= st.sampled_from([f"album/{'a' * 4100}", "s3://b/album/a.flac", "s3://b/album/a\tb.flac"])


@same_every_time
@given(st.lists(odd_paths, min_size=1, max_size=5))
@example(["album/a.flac", "album/"])
@example(["/app//up", "/app/up/a.flac"])
def test_each_area_that_a_file_is_missing_from_is_one_of_those_that_are_proven(scratch: Path, rows: list[str]) -> None:
    with new_folder(scratch) as root:
        make(root / "album" / "b.flac", changed_ago=60)
        files = Files(Layout(str(root), {"/app/up": str(root / "album")}))
        looks = files.search([row for row in rows if not row.startswith("s3:")])
        rows_of = Rows(files.layout, rows)
        areas = {wanted.area for wanted in rows_of.folders.values()}
        assert {look.gone.area for look in looks if look.gone} <= areas == set(files.rows(rows).areas)


mapped_parts = st.lists(st.sampled_from(["", ".", "..", "old", "x", "cdn", "ghost.flac"]), min_size=1, max_size=5)
mapped_paths = st.tuples(st.sampled_from(["", "/", "s3://veza/", "s3://veza"]), mapped_parts.map("/".join)).map("".join)
layouts = st.sampled_from(
    [
        Layout(),
        Layout("/root"),
        Layout("s3://veza"),
        Layout("/root", {"/old/x": "/new", "/old": "s3://veza", "cdn": "s3://veza/cdn"}),
        Layout("", {"/": "/all", "/x": "s3://veza/x", "/old/x": "/else"}),
    ]
)


@same_every_time
@given(layouts, mapped_paths)
@example(Layout(), "s3://veza//ghost.flac")
@example(Layout("", {"/old": "s3://veza"}), "/old//ghost.flac")
@example(Layout("", {"/old/x": "/new"}), "/old//x")
@example(Layout("", {"/old": "/new"}), "//old")
@example(Layout("", {"cdn": "s3://veza/cdn"}), "./cdn")
def test_a_row_among_others_is_looked_for_where_it_is_alone(layout: Layout, path: str) -> None:
    with patch.dict(os.environ, {"AWS_REGION": "us-east-1"}):
        located, rows = layout.locate(path), Rows(layout, [path])
        if isinstance(located, Look):
            assert not rows.folders
            assert [look.verdict for look in rows.looks()] == [located.verdict]
        else:
            place, name = located
            ((folder, wanted),) = rows.folders.items()
            assert (folder, wanted.top, wanted.area, wanted.names) == (*place, {name})


# -- path_map -------------------------------------------------------------------------------------------------------

names = st.sampled_from(["a", "ab", "b", "mnt", "mnt2", "é"])
absolute_paths = st.lists(names, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))


@same_every_time
@given(absolute_paths, st.dictionaries(absolute_paths, absolute_paths, max_size=4), st.booleans())
def test_a_path_map_replaces_the_longest_prefix_of_whole_components(
    file_path: str,
    path_map: dict[str, str],
    slash: bool,  # noqa: FBT001 - generated
) -> None:
    written = {f"{prefix}/" if slash else prefix: target for prefix, target in path_map.items()}
    matching = [prefix for prefix in path_map if PurePosixPath(file_path).is_relative_to(prefix)]
    resolved = Layout("/root", written).resolve(file_path)
    assert isinstance(resolved, str)
    if not matching:
        assert resolved == file_path
    else:
        prefix = max(matching, key=len)
        assert PurePosixPath(resolved) == PurePosixPath(
            path_map[prefix], *PurePosixPath(file_path).relative_to(prefix).parts
        )


@same_every_time
@given(
    st.one_of(absolute_paths, absolute_paths.map(lambda path: path[1:])),
    st.dictionaries(absolute_paths, absolute_paths, max_size=3),
    st.sampled_from(["", "/a", "/mnt"]),
)
def test_a_row_in_its_plainest_form_is_found_by_the_area_and_the_path_of_its_file(
    file_path: str, path_map: dict[str, str], root: str
) -> None:
    layout = Layout(root, path_map)
    located = layout.locate(file_path)
    if isinstance(located, Look):
        return
    place, name = located
    if name == ".":  # a mapped folder itself
        return
    assert any(file_path.startswith(prefix) for prefix in layout.prefixes_of(place.area.folder))
    assert any(file_path.startswith(prefix) for prefix in layout.prefixes_of(place.folder))
    assert file_path in layout.names_of(f"{place.folder.rstrip('/')}/{name}")
