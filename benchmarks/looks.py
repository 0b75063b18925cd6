"""Looks at files without a database: on a plain disk, and on one that takes its time."""

import gc
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.ground import lay_out_files
from benchmarks.report import Report, Row
from benchmarks.slow_disk import slow_disk
from veza_ops.storage.files import Files
from veza_ops.storage.layout import Layout
from veza_ops.storage.look import Look, Verdict

FOLDERS = 100
LOOK_SECONDS = 0.005


def plain_looks(folder: Path, report: Report, rows: int, count: int) -> None:
    """Processor time of looks at a plain disk, against no more than asking for each path; half are missing."""
    root = folder / "looks"
    file_paths = lay_out_files(root, rows, FOLDERS)
    paths = [f"{root}/{file_path}" for file_path in file_paths]
    files = Files(Layout(str(root)))
    ours, lstats = [], []
    with _collecting_as_a_run_does():
        for _ in range(count):  # in turn, so that both meet the same minutes
            began = time.process_time()
            looks = files.search(file_paths)
            ours.append((time.process_time() - began) / rows * 1e6)
            began = time.process_time()
            for path in paths:
                try:
                    os.lstat(path)
                except FileNotFoundError:
                    continue
            lstats.append((time.process_time() - began) / rows * 1e6)
    _require_half(looks)
    name = f"a look at a plain disk, processor time, {rows:,} looks in {FOLDERS} folders"
    bar = "at most 1.5 µs"
    report.add(Row(name, "µs", ours, "lstat of each path", lstats, bar, limit=1.5, is_of_ratio=False))


def slow_looks(folder: Path, report: Report, looks: int, one_at_a_time: int, count: int) -> None:
    """Looks at a disk that takes 5 ms for each question; half of the files are missing."""
    root = folder / "slow_looks"
    paths = lay_out_files(root, looks, FOLDERS)
    ours, alone = [], []
    for _ in range(count):
        # Mounted anew each time: the kernel remembers what it was told of a disk.
        with slow_disk(root, folder / "slow", LOOK_SECONDS) as disk:
            if disk is None:
                report.notes.append("No slow disk: this machine lets nobody mount one.")
                return
            began = time.perf_counter()
            found = Files(Layout(str(disk))).search(paths)
            ours.append((time.perf_counter() - began) / looks * 1000)
            began = time.perf_counter()
            for path in paths[:one_at_a_time]:  # by now the kernel knows the folders: one question each
                os.path.exists(disk / path)
            alone.append((time.perf_counter() - began) / one_at_a_time * 1000)
        _require_half(found)
    report.add(
        Row(
            f"a look at a disk that takes 5 ms (FUSE), {looks:,} looks in {FOLDERS} folders",
            "ms",
            ours,
            "one at a time:",
            alone,
            "at least 100 times faster",
            better="more",
            limit=100,
        )
    )


@contextmanager
def _collecting_as_a_run_does() -> Iterator[None]:
    """The garbage collector set as `veza_ops.resources.Database` sets it for a run."""
    ordinary = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
    try:
        yield
    finally:
        gc.set_threshold(*ordinary)
        gc.unfreeze()


def _require_half(looks: Sequence[Look]) -> None:
    verdicts = Counter(look.verdict for look in looks)
    assert verdicts == dict.fromkeys((Verdict.PRESENT, Verdict.MISSING), len(looks) // 2), verdicts
