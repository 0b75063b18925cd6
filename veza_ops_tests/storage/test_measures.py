"""How large files are and how old: asked folder by folder, and never for longer than is allowed."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from veza_ops.storage import disk, files
from veza_ops.storage.backend import Measure
from veza_ops.storage.files import Files
from veza_ops.storage.layout import Layout


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
    assert disk.measures("/", ["proc"], lambda: None) == {}


def test_what_is_not_asked_for_in_time_is_not_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        (tmp_path / str(number)).write_bytes(b"1")
    real = disk.measures

    def slowly(folder: str, names: Sequence[str], beat: Callable[[], object]) -> dict[str, Measure]:
        time.sleep(0.3)
        return real(folder, names, beat)

    monkeypatch.setattr(files, "_MEASURED_AT_ONCE", 1)
    monkeypatch.setattr(disk, "measures", slowly)
    found: dict[str, Any] = Files(Layout(str(tmp_path)), max_threads=1).measure(
        [str(tmp_path / str(number)) for number in range(4)], within=0.2
    )
    assert list(found) == [str(tmp_path / "0")]


def test_where_the_file_of_each_row_is_is_told_as_it_is_for_one(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path), {"/a/b": "/mnt", "/a/b/c": "/srv/c", "s": "s3://veza/songs"})
    paths = [
        "x",
        "d/x",
        "/a/b/x",
        "/a/b/c",
        "/a/b/c/x",
        "./d//x",
        "d/../x",
        "../x",
        "d/",
        "d/..",
        "s/x",
        "s3://o/x",
        "",
    ]
    resolved = [layout.resolve(path) for path in paths]
    assert Files(layout).located(paths) == [path if isinstance(path, str) else None for path in resolved]
