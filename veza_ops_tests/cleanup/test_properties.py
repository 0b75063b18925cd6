"""What holds for every table, tried on generated ones."""

from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from veza_ops.cleanup import rules
from veza_ops.cleanup.rules import Counts, Sweep
from veza_ops.storage.files import Files
from veza_ops.storage.layout import Layout
from veza_ops.tracks.row import Batch, Key, Track
from veza_ops_tests.library import Library, counts, run_job
from veza_ops_tests.paths import THERE, lay_out, relative_paths, same_every_time


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the generated paths mean something."""
    return lay_out(tmp_path_factory.mktemp("properties") / "root")


batches = st.lists(st.lists(st.one_of(st.none(), st.sampled_from(THERE), relative_paths), max_size=8), max_size=5)


@same_every_time
@given(batches, st.data())
def test_counts_always_add_up(root: Path, paths: list[list[str | None]], data: st.DataObject) -> None:
    files, sweep = Files(Layout(str(root))), Sweep("2026-01-01 01:00:00", "2026-01-01 00:00:00", "failed")
    outcomes = []
    for number, batch in enumerate(paths):
        tracks = [Track(f"{number}-{at}", path, "2025-12-31 00:00:00", None) for at, path in enumerate(batch)]
        checked = rules.check(files, sweep, Batch(number, None, Key("", ""), len(batch)), tracks)
        checked = rules.check_again(files, checked)
        missing = list(checked.missing)
        fates = data.draw(st.lists(st.sampled_from(["marked", "refused", "raced"]), min_size=len(missing)))
        became = {fate: [each for each, of in zip(missing, fates, strict=False) if of == fate] for fate in fates}
        marked = {track.place for track, _ in became.get("marked", [])}
        outcomes.append(rules.outcome(checked, marked=marked, refused=became.get("refused", [])))
        assert {track.place for track, _ in outcomes[-1].orphans} == marked
    total: Counts = rules.total(outcomes).counts
    assert total.stale == sum(map(len, paths))
    assert total.stale == total.present + total.missing + total.unverifiable
    assert total.missing == total.marked_failed + total.raced + total.refused


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
    for at, (status, minutes, some_kind) in enumerate(rows):
        kind = "there" if status == "ready" else some_kind  # or it would speak against the storage
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
