"""What holds for every path, every path map and every table, tried on generated ones."""

import os
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Any
from unittest.mock import patch

import dagster as dg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from veza_ops import cleanup
from veza_ops.cleanup import Counts, Sweep
from veza_ops.storage import Files, Layout, Look, Verdict, _other_spellings
from veza_ops.track import Batch, Key, Track
from veza_ops_tests.library import Library, counts, run_job

same_every_time = settings(derandomize=True, deadline=None, database=None, max_examples=400)

THERE = ["song.flac", "empty.flac", "album", "album/song.flac", "link.flac", unicodedata.normalize("NFD", "é.flac")]
NOT_TO_BE_FOLLOWED = ["dangling", "dangling/song.flac", "loop", "loop/song.flac", "song.flac/song.flac"]

# Parts of paths that mean something in the folder below, or to the system, or nothing at all.
PARTS = ["", ".", "..", "album", "song.flac", "empty.flac", "link.flac", "dangling", "loop", "outside", " "]
PARTS += ["é.flac", unicodedata.normalize("NFD", "é.flac"), "a" * 255, "a" * 256, "\0", chr(0xDCE9)]
parts = st.one_of(st.sampled_from(PARTS), st.text(max_size=8))
relative_paths = st.lists(parts, min_size=1, max_size=6).map("/".join).filter(lambda path: not path.startswith("/"))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files, links of every kind, and a neighbour that nobody may look at."""
    root = tmp_path_factory.mktemp("properties") / "root"
    (root / "album").mkdir(parents=True)
    (root.parent / "outside").mkdir()
    for path in ("song.flac", "empty.flac", "album/song.flac", unicodedata.normalize("NFD", "é.flac")):
        (root / path).touch()
    (root / "link.flac").symlink_to("song.flac")
    (root / "dangling").symlink_to("/not/mounted/today")
    (root / "loop").symlink_to("loop")
    return root


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


batches = st.lists(st.lists(st.one_of(st.none(), st.sampled_from(THERE), relative_paths), max_size=8), max_size=5)


@same_every_time
@given(batches, st.data())
def test_counts_always_add_up(root: Path, paths: list[list[str | None]], data: st.DataObject) -> None:
    files, sweep = Files(Layout(str(root))), Sweep("2026-01-01 01:00:00", "2026-01-01 00:00:00", "failed")
    outcomes = []
    for number, batch in enumerate(paths):
        tracks = [Track(f"{number}-{at}", path, "2025-12-31 00:00:00", None) for at, path in enumerate(batch)]
        checked = cleanup.check(files, sweep, Batch(number, None, Key("", ""), len(batch)), tracks)
        checked = cleanup.check_again(files, checked)
        missing = [track.id for track, _ in checked.missing]
        marked = data.draw(st.lists(st.sampled_from(missing), unique=True) if missing else st.just([]))
        outcomes.append(cleanup.outcome(checked, marked=marked, dry_run=False))
    total: Counts = cleanup.total(outcomes).counts
    assert total.stale == sum(map(len, paths))
    assert total.stale == total.present + total.missing + total.unverifiable
    assert total.missing == total.marked_failed + total.raced


rows = st.lists(
    st.tuples(
        st.sampled_from(["processing", "processing", "processing", "uploading", "ready", "failed"]),
        st.sampled_from([-30, 0, 1, 58, 62, 90, 60 * 24 * 400]),  # minutes
        st.sampled_from(["there", "gone", "dangling", "s3://bucket/x", "../x", ""]),
    ),
    max_size=12,
)


@settings(same_every_time, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows)
def test_a_run_fails_just_the_stale_rows_whose_file_is_missing(
    library: Library, instance: dg.DagsterInstance, rows: list[tuple[str, int, str]]
) -> None:
    library.execute("DELETE FROM tracks WHERE file_path NOT LIKE 'playable/%'")
    with suppress(FileExistsError):
        (library.root / "dangling").symlink_to("/not/mounted/today")
    expected, before = {}, {}
    for at, (status, minutes, kind) in enumerate(rows):
        path = {"there": f"there/{at}.flac", "gone": f"gone/{at}.flac"}.get(kind, kind)
        content = b"music" if kind == "there" else None
        track = library.add(path, status=status, age=timedelta(minutes=minutes), content=content)
        before[track] = library.row(track)
        is_stale = status == "processing" and minutes > 60
        expected[track] = (is_stale, is_stale and kind == "gone")
    after = counts(run_job(library, instance, ops={"find_stale_tracks": {"batch_size": 3}}))
    assert after["stale"] == sum(stale for stale, _ in expected.values())
    assert after["marked_failed"] == sum(orphan for _, orphan in expected.values())
    assert after["stale"] == after["present"] + after["missing"] + after["unverifiable"]
    for track, (_, is_orphan) in expected.items():
        assert (library.row(track) != before[track]) is is_orphan
