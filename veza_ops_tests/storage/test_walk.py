"""Every file is counted, however deep it lies and whatever its name."""

import errno
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from veza_ops.storage.files import Files
from veza_ops.storage.layout import Layout
from veza_ops.storage.walk import CUT, Stored, walk
from veza_ops_tests.storage.conftest import OnListing, OnOpen, make, raises


@pytest.fixture
def pit(tmp_path: Path) -> Iterator[Path]:
    """A folder for very deep ones, taken away by a program that can."""
    folder = tmp_path / "pit"
    folder.mkdir()
    yield folder
    subprocess.run(["rm", "-rf", folder], check=True)


def dig(folder: Path, name: str, depth: int) -> None:
    """Folders in folders, with a file in each hundredth, and in the last."""
    here = os.open(folder, os.O_RDONLY)
    for number in range(1, depth + 1):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
        if number % 100 == 0 or number == depth:
            os.close(os.open("song.flac", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)


def stored(*tops: Path) -> dict[str, tuple[int, str]]:
    """What a walk finds, each once."""
    found = list(walk(map(str, tops)))
    assert len({each.path for each in found}) == len(found)
    return {each.path: (each.size, each.unread) for each in found}


@pytest.mark.parametrize(
    ("name", "depth"),
    [pytest.param("d", 1500, id="deeper than Python recurses"), pytest.param("d" * 50, 450, id="longer than PATH_MAX")],
)
def test_files_in_folders_of_any_depth_are_counted(pit: Path, name: str, depth: int) -> None:
    dig(pit, name, depth)
    found = stored(pit)
    deepest = str(pit) + f"/{name}" * depth
    assert found[f"{deepest}/song.flac"] == (0, "")
    assert len(found) == depth // 100 + bool(depth % 100)
    assert all(not unread for _, unread in found.values())


def test_many_folders_side_by_side_at_any_depth_are_counted(pit: Path) -> None:
    dig(pit, "d", 100)
    deepest = f"{pit}{'/d' * 100}"
    for number in range(20):
        make(Path(f"{deepest}/{number}/song.flac"))
    assert len(stored(pit)) == 21


def open_below(folder: Path) -> int:
    """How much this process holds open there, whatever threads of others do meanwhile."""
    found = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # it has been closed
            found += str(descriptor.readlink()).startswith(str(folder))
    return found


@pytest.fixture
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file is handed over when it is found, and the walk is still on its way then."""
    monkeypatch.setattr("veza_ops.storage.walk._AT_ONCE", 1)


@pytest.mark.usefixtures("one_at_a_time")
def test_a_deep_walk_holds_few_folders_open(pit: Path) -> None:
    dig(pit, "d", 500)
    most = max(open_below(pit) for _ in walk([str(pit)]))
    assert 0 < most < 200


@pytest.mark.usefixtures("one_at_a_time")
def test_a_walk_that_is_left_in_the_middle_holds_nothing_open(pit: Path) -> None:
    dig(pit, "d", 300)
    walking = walk([str(pit)])
    next(walking)
    assert open_below(pit)
    walking.close()  # type: ignore[attr-defined]  # a generator
    del walking
    assert not open_below(pit)


def test_files_whose_names_are_not_utf8_are_counted(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    made = make(tmp_path / name / f"{name}.flac")
    assert stored(tmp_path) == {str(made): (5, "")}


def test_files_have_their_size_and_links_are_not_followed(root: Path) -> None:
    (root / "empty.flac").touch()
    (root / "link").symlink_to(root / "album")
    (root / "dangling").symlink_to("/nowhere")
    found = stored(root)
    assert {path.removeprefix(f"{root}/"): size for path, (size, _) in found.items() if "link" not in path} == {
        "album/song.flac": 5,
        "empty.flac": 0,
        "dangling": len("/nowhere"),
    }
    assert f"{root}/link" in found
    assert f"{root}/link/song.flac" not in found


def test_a_folder_inside_another_one_is_walked_through_once(root: Path) -> None:
    make(root.parent / "files2" / "song.flac")
    assert len(stored(root, root / "album", root / "album" / "..", root)) == 1
    assert len(stored(root, root.parent / "files2")) == 2


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ESTALE], ids=errno.errorcode.get)
def test_a_folder_that_cannot_be_read_is_named_and_costs_no_other(root: Path, code: int, on_open: OnOpen) -> None:
    make(root / "other" / "song.flac")
    on_open(root / "album", raises(code))
    found = stored(root)
    assert found[f"{root}/other/song.flac"] == (5, "")
    assert errno.errorcode[code] in found[f"{root}/album"][1]


def test_a_top_that_is_not_there_is_named(root: Path) -> None:
    assert "ENOENT" in stored(root / "nowhere")[f"{root}/nowhere"][1]


def test_a_file_that_goes_away_during_the_walk_costs_no_other(root: Path) -> None:
    for number in range(20):
        make(root / "album" / f"{number}.flac")
    walking = walk([str(root / "album")])
    found = [next(walking)]
    gone = root / "album" / ("0.flac" if not found[0].path.endswith("/0.flac") else "1.flac")
    gone.unlink()
    found += walking
    assert not any(each.unread for each in found)
    assert len({each.path for each in found} - {str(gone)}) == 20


def test_the_folders_of_the_root_and_where_the_path_map_leads_are_walked_through(root: Path, tmp_path: Path) -> None:
    make(root / "other" / "song.flac")
    make(tmp_path / "mapped" / "song.flac")
    files = Files(Layout(str(root), {"/app": str(tmp_path / "mapped")}))
    found: list[Any] = sorted(files.walk(["album"]))
    assert [file[:3] for file in found] == [
        (f"{root}/album/song.flac", 5, ""),
        (f"{tmp_path}/mapped/song.flac", 5, ""),
    ]
    assert [file.modified for file in found] == [os.stat(file.path).st_mtime for file in found]


def test_a_folder_that_hangs_costs_itself_alone_and_its_thread_reads_nothing_more_when_it_wakes_up(
    root: Path, on_open: OnOpen, released: threading.Event
) -> None:
    for number in range(30):
        make(root / f"{number}" / "song.flac")
    make(root / "15" / "hung" / "other.flac")
    make(root / "15" / "beside" / "song.flac")
    threads: list[threading.Thread] = []

    def hang() -> None:
        threads.append(threading.current_thread())
        released.wait()

    on_open(root / "15" / "hung", hang)
    found: list[Stored] = []
    for each in walk([str(root)], 2):
        found.append(each)
        if each.unread:
            released.set()
            threads[0].join()
    assert [each for each in found if each.unread] == [
        Stored(str(root / "15" / "hung"), 0, "no answer within 2 s (ETIMEDOUT)")
    ]
    seen = sorted(os.path.relpath(each.path, root) for each in found if not each.unread)
    assert seen == sorted(["album/song.flac", "15/beside/song.flac", *(f"{number}/song.flac" for number in range(30))])


def test_a_disk_whose_every_folder_hangs_is_left_after_some(
    root: Path, monkeypatch: pytest.MonkeyPatch, released: threading.Event
) -> None:
    for number in range(30):
        (root / f"{number}").mkdir()
    real = os.open

    def opening(path: Any, *arguments: Any, **options: Any) -> int:
        if os.fsdecode(path) != str(root):
            released.wait()
        return real(path, *arguments, **options)

    monkeypatch.setattr("veza_ops.storage.disk.os.open", opening)
    *hung, rest = [each for each in walk([str(root)], 1.0) if each.unread]
    assert len(hung) == 10
    assert rest == Stored(str(root), 0, CUT)


def test_what_is_found_slowly_is_handed_over_before_all_is_found(
    root: Path, on_listing: OnListing, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def slowly(number: int) -> None:
        asked.append(number)
        time.sleep(0.002)

    monkeypatch.setattr("veza_ops.storage.walk._AT_ONCE_SECONDS", 0.001)
    for name in ("a", "b", "c"):
        make(root / "album" / name)
    on_listing(root / "album", slowly)
    next(walk([str(root / "album")]))
    assert asked == [0]
