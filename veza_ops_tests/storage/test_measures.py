"""How large files are and how old: asked folder by folder, and never for longer than is allowed."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from veza_ops.storage import disk
from veza_ops.storage.backend import Measure
from veza_ops.storage.files import Files
from veza_ops.storage.layout import Layout
from veza_ops.storage.rows import by_folder


def test_files_are_measured_by_their_path_and_nothing_else_is(tmp_path: Path) -> None:
    for name, content in (("a", b"12345"), ("deep/b", b""), ("deep/caf\u00e9", b"1")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
        os.utime(tmp_path / name, (7, 7))
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "nowhere").symlink_to("gone")
    os.mkfifo(tmp_path / "pipe")
    names = ["a", "deep/b", "deep/caf\u00e9", "link", "nowhere", "gone", "pipe", "deep", "no/folder", "a/b", "nul\0"]
    found = Files(Layout(str(tmp_path))).measure(str(tmp_path / name) for name in names)
    assert found == {
        str(tmp_path / "a"): Measure(5, 7),
        str(tmp_path / "link"): Measure(5, 7),
        str(tmp_path / "deep/b"): Measure(0, 7),
        str(tmp_path / "deep/caf\u00e9"): Measure(1, 7),
    }


def test_a_file_in_the_top_of_all_folders_is_measured() -> None:
    assert Files(Layout()).measure(["/no-such-file"]) == {}
    assert disk.measures("/", ["proc"], lambda: None) == [None]


def test_what_is_not_asked_for_in_time_is_not_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        (tmp_path / str(number)).write_bytes(b"1")
    real = disk.measures

    def slowly(folder: str, names: Sequence[str], beat: Callable[[], object]) -> list[Measure | None]:
        def slow_beat() -> None:
            beat()
            time.sleep(0.3)

        return real(folder, names, slow_beat)

    monkeypatch.setattr(disk, "measures", slowly)
    found = Files(Layout(str(tmp_path)), max_threads=1).measure_rows(map(str, range(4)), within=0.2)
    assert [each and each.size for each in found] == [1, None, None, None]


def test_the_file_of_each_row_is_where_it_is_for_one_row_alone(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path), {"/a/b": "/mnt", "/a/b/c": "/srv/c", "s": "s3://veza/songs"})
    paths = ["x", "d/x", "/a/b/x", "/a/b/c", "/a/b/c/x", "./d//x", "d/../x", "../x", "d/", "d/..", "s/x", "s3://o/x"]
    resolved = [layout.resolve(path) for path in [*paths, "", "d/" + "x" * 5000]]
    found: list[str | None] = [None] * len(resolved)
    for folder, names, numbers in by_folder(layout, [*paths, "", "d/" + "x" * 5000]):
        for name, number in zip(names, numbers, strict=True):
            found[number] = f"{folder}/{name}" if name else None
    assert found == [path if isinstance(path, str) else None for path in resolved]


def test_the_measures_of_rows_come_in_their_order(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number % 2}").mkdir(exist_ok=True)
        (tmp_path / f"{number % 2}" / f"{number}").write_bytes(b"x" * number)
    files = Files(Layout(str(tmp_path)))
    found = files.measure_rows(["0/0", "1/1", None, "0/2", "../x", "1/3", "./0/4", "0/2", "1/9"])
    assert [each and each.size for each in found] == [0, 1, None, 2, None, 3, 4, 2, None]
