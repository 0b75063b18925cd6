"""What holds for every path and every path map, tried on generated ones."""

import os
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from veza_ops.storage.disk import _other_spellings
from veza_ops.storage.files import Files
from veza_ops.storage.layout import Layout
from veza_ops.storage.look import Look, Verdict
from veza_ops_tests.paths import NOT_TO_BE_FOLLOWED, THERE, lay_out, relative_paths, same_every_time


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the generated paths mean something."""
    return lay_out(tmp_path_factory.mktemp("properties") / "root")


@contextmanager
def recorded_looks() -> Iterator[list[str]]:
    """The paths that the system is asked about."""
    looked: list[str] = []

    def recording(real: Any) -> Any:
        def ask(path: Any, *arguments: Any, **options: Any) -> Any:
            looked.append(os.fspath(path))
            return real(path, *arguments, **options)

        return ask

    with patch("os.stat", recording(os.stat)), patch("os.lstat", recording(os.lstat)):
        yield looked


def look(layout: Layout, file_path: str | None) -> Look:
    (found,) = Files(layout).look([file_path])
    return found


@same_every_time
@given(relative_paths)
@example("dangling/song.flac")
@example("loop/song.flac")
@example("é.flac")
@example("song.flac ")
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


@same_every_time
@given(relative_paths)
@example("../outside")
@example("album/../../outside")
@example("album/../..")
@example("./../root/song.flac")
def test_nothing_outside_the_root_is_looked_at_through_a_relative_path(root: Path, file_path: str) -> None:
    with recorded_looks() as looked:
        for layout, path in ((Layout(str(root)), file_path), (Layout("", {"/api": str(root)}), f"/api/{file_path}")):
            look(layout, path)
    outside = [path for path in looked if not PurePosixPath(os.path.normpath(path)).is_relative_to(root)]
    assert outside == []


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
@given(st.lists(st.sampled_from(["", "a", "b.flac", ".", "..", " a", "a\t", "a\u3000", "é"]), min_size=1, max_size=4))
def test_no_other_spelling_of_a_name_is_passed_over(parts: list[str]) -> None:
    path = f"/{'/'.join(parts)}"
    others = {os.path.normpath(path), "/".join(part.strip() for part in path.split("/"))}
    others |= {unicodedata.normalize(form, path) for form in ("NFC", "NFD")}
    assert others - {path} <= _other_spellings(path)
