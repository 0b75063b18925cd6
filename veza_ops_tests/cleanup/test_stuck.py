"""Stale tracks whose file is there: nothing is written to them, and people are told what there is to know."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import orjson
import pytest

from demo.store import Store
from veza_ops.cleanup.asset import NOTHING_STUCK
from veza_ops.cleanup.checks import library_health
from veza_ops.cleanup.config import SETTLE_SECONDS, FindConfig
from veza_ops.cleanup.stuck import Held, Standing, State, Stuck, at_first, first_look, second_look, standing
from veza_ops.definitions import build_defs
from veza_ops.findings import TRACKS
from veza_ops.resources import Database, Storage
from veza_ops.storage import disk
from veza_ops.storage.backend import Measure
from veza_ops.storage.files import Files
from veza_ops.storage.layout import Layout
from veza_ops.tracks.row import Track
from veza_ops_tests.library import Library, counts, run_config, run_job

SETTLED = {"mark_orphans_failed": {"settle_seconds": 1}}


def observed(instance: dg.DagsterInstance) -> dict[str, Any]:
    (record,) = instance.fetch_observations(TRACKS, limit=1).records
    assert record.asset_observation
    return {name: value.value for name, value in record.asset_observation.metadata.items()}


def shown(told: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(row.data) for row in told["stuck_tracks"].records] if "stuck_tracks" in told else []


@contextmanager
def growing(path: Path) -> Iterator[None]:
    """Somebody writes to a file all the while."""
    is_over = threading.Event()

    def write() -> None:
        with path.open("ab") as file:
            while not is_over.wait(0.02):
                file.write(b"more")
                file.flush()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        is_over.set()
        writer.join()


def test_files_that_grow_are_told_from_those_that_are_finished_and_from_empty_ones(
    library: Library, instance: dg.DagsterInstance
) -> None:
    library.add("uploads/slow.flac", content=b"m", age=timedelta(hours=3))
    library.add("uploads/done.flac", content=b"music", age=timedelta(hours=5))
    library.add("uploads/empty.flac", content=b"", age=timedelta(hours=4))
    os.utime(library.root / "uploads/done.flac", (1_700_000_000, 1_700_000_000))
    ghost = library.add_ghost()
    before = {each: row for each, row in library.rows().items() if each != ghost}
    with growing(library.root / "uploads/slow.flac"):
        told = counts(run_job(library, instance, ops=SETTLED))
    assert (told["present"], told["growing"], told["waiting"], told["empty"]) == (3, 1, 1, 1)
    assert library.status(ghost) == "failed"
    assert {each: row for each, row in library.rows().items() if each != ghost} == before
    rows = shown(observed(instance))
    assert [(row["file_path"], row["state"], round(row["age_hours"])) for row in rows] == [
        ("uploads/done.flac", "finished, waiting", 5),
        ("uploads/empty.flac", "empty", 4),
        ("uploads/slow.flac", "growing", 3),
    ]
    assert (rows[0]["size"], rows[0]["last_written"]) == (5, "2023-11-14 22:13:20.000000+00:00")
    assert observed(instance)["oldest_present_age_hours"] == pytest.approx(5, abs=0.1)
    assert {name: observed(instance)[name] for name in ("growing", "waiting", "empty")} == {
        "growing": 1,
        "waiting": 1,
        "empty": 1,
    }


def test_files_settle_between_their_two_looks_though_none_is_missing(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("veza_ops.cleanup.ops.time.sleep", waited.append)
    library.add("uploads/slow.flac", content=b"m")
    assert counts(run_job(library, instance, ops=SETTLED))["present"] == 1
    assert 0 < max(waited) <= 1


def test_a_file_that_comes_between_the_looks_grows(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.add("playable/late.flac")

    def settle(_: float) -> None:
        library.write("playable/late.flac")

    monkeypatch.setattr("veza_ops.cleanup.ops.time.sleep", settle)
    told = counts(run_job(library, instance))
    assert (told["present"], told["growing"], told["missing"]) == (1, 1, 0)


def test_without_a_track_that_has_its_file_there_is_no_table(library: Library, instance: dg.DagsterInstance) -> None:
    library.add_ghost()
    counts(run_job(library, instance))
    assert shown(observed(instance)) == []
    assert "oldest_present_age_hours" not in observed(instance)


@pytest.mark.parametrize("batch_size", [50_000, 2])
def test_the_oldest_are_shown_whatever_the_batches(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    monkeypatch.setattr("veza_ops.cleanup.stuck.LISTED", 3)
    for number in range(5):
        library.add(f"{number}.flac", content=b"music", age=timedelta(hours=9 - number))
    told = counts(run_job(library, instance, ops={"find_stale_tracks": {"batch_size": batch_size}}))
    assert (told["present"], told["waiting"]) == (5, 5)
    assert [row["file_path"] for row in shown(observed(instance))] == ["0.flac", "1.flac", "2.flac"]


def check(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    (told,) = (each for each in result.get_asset_check_evaluations() if each.check_name == NOTHING_STUCK.name)
    return told


def ask(library: Library, config: dg.RunConfig | None = None) -> dg.ExecuteInProcessResult:
    """Press Execute on the asset's Checks tab."""
    return dg.materialize(
        [library_health],
        selection=dg.AssetSelection.checks(library_health),
        run_config=config,
        resources={"database": Database(url=library.url), "storage": Storage(root=str(library.root))},
    )


def test_a_check_warns_of_those_that_have_been_there_for_too_long(
    library: Library, instance: dg.DagsterInstance
) -> None:
    library.add("a.flac", content=b"music", age=timedelta(hours=23))
    healthy = check(run_job(library, instance))
    assert (healthy.passed, healthy.description) == (
        True,
        "No track with its file has been stuck for more than 24 h: 1 finished, waiting.",
    )
    library.add("b.flac", content=b"", age=timedelta(hours=25))
    library.add("slow.flac", content=b"", age=timedelta(hours=99))
    with growing(library.root / "slow.flac"):
        told = check(run_job(library, instance, ops=SETTLED))
    assert (told.passed, told.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert told.description == (
        "1 track stuck in processing for more than 24 h, though the file is there: see the table stuck_tracks of the "
        "run, and whatever comes after an upload. With their file are 1 growing; 1 finished, waiting; 1 empty."
    )
    assert {name: value.value for name, value in told.metadata.items()} == {
        "stuck": 1,
        "growing": 1,
        "waiting": 1,
        "empty": 1,
    }


@pytest.mark.parametrize("hours", [30, 2])
def test_while_a_disk_is_away_nobody_says_that_none_is_stuck(
    library: Library, instance: dg.DagsterInstance, hours: int
) -> None:
    library.add_ghost(file_path="playable/ghost.flac")
    library.add("away/stuck.flac", age=timedelta(hours=hours))
    for number in range(3):
        library.add(f"away/{number}.flac", status="ready")
    result = run_job(library, instance)
    assert NOTHING_STUCK.name not in {each.check_name for each in result.get_asset_check_evaluations()}
    library.add_ghost(file_path="playable/another.flac")
    asked = check(ask(library))
    assert not asked.passed
    assert asked.description == "Not all of the storage is proven, so there may be some that nobody saw."
    library.add("playable/stuck.flac", content=b"music", age=timedelta(hours=30))
    assert not check(run_job(library, instance)).passed


def names_told(result: dg.ExecuteInProcessResult) -> set[str]:
    return {each.check_name for each in result.get_asset_check_evaluations()}


def make_a_loop(library: Library, name: str) -> None:
    """A folder that nobody can look into, not even root."""
    (library.root / name).symlink_to(name)


OPEN = "Nobody could look for some that are old enough, so there may be some that nobody saw."


@pytest.mark.parametrize(("hours", "is_open"), [(30, True), (20, False)])
def test_while_the_folder_of_an_old_track_cannot_be_looked_into_nobody_says_that_none_is_stuck(
    library: Library, instance: dg.DagsterInstance, hours: int, *, is_open: bool
) -> None:
    library.add("playable/ghost.flac")
    library.add("playable/locked/stuck.flac", age=timedelta(hours=hours))
    make_a_loop(library, "playable/locked")
    result = run_job(library, instance)
    assert counts(result)["unverifiable"] == 1
    assert (NOTHING_STUCK.name not in names_told(result)) is is_open
    asked = check(ask(library))
    assert (asked.passed, asked.description == OPEN) == (not is_open, is_open)


@pytest.mark.parametrize("file_path", ["", "../../etc/passwd", "ftp://host/a.flac"])
def test_a_path_that_leads_nowhere_keeps_the_question_not_open_for_ever(
    library: Library, instance: dg.DagsterInstance, file_path: str
) -> None:
    library.add(file_path, age=timedelta(hours=30))
    result = run_job(library, instance)
    assert counts(result)["unverifiable"] == 1
    assert check(result).passed
    assert check(ask(library)).passed


def test_of_more_than_are_listed_some_may_be_stuck(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("veza_ops.cleanup.rules.LISTED", 2)
    for _ in range(2):
        library.add("")
    assert NOTHING_STUCK.name in names_told(run_job(library, instance))
    library.add("")
    assert NOTHING_STUCK.name not in names_told(run_job(library, instance))


@pytest.mark.parametrize(("hours", "is_stuck"), [(1.5, True), (2.5, False), (0, True)])
def test_how_long_that_is_can_be_set(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, hours: float, *, is_stuck: bool
) -> None:
    library.add("a.flac", content=b"music")
    result = run_job(library, instance, ops={"find_stale_tracks": {"stuck_hours": hours}})
    assert check(result).passed is not is_stuck
    monkeypatch.setenv("VEZA_STUCK_HOURS", str(hours))
    job = build_defs().resolve_job_def("cleanup_orphan_tracks")
    assert check(job.execute_in_process(run_config=run_config(library), instance=instance)).passed is not is_stuck


def test_a_wrong_number_in_the_environment_keeps_no_cleanup_from_its_work(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ghost = library.add_ghost()
    monkeypatch.setenv("VEZA_STUCK_HOURS", "a day")
    job = build_defs().resolve_job_def("cleanup_orphan_tracks")
    assert "VEZA_STUCK_HOURS holds no number from 0 on, up to 8784, such as 24.0." in caplog.text
    assert job.execute_in_process(run_config=run_config(library), instance=instance).success
    assert library.status(ghost) == "failed"


@pytest.mark.usefixtures("waited")
def test_whoever_asks_for_the_checks_is_told_the_same(library: Library) -> None:
    library.add("a.flac", content=b"music", age=timedelta(hours=25))
    assert not check(ask(library)).passed


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long whoever asks for the checks had to wait, instead of waiting."""
    waited: list[float] = []
    monkeypatch.setattr("veza_ops.cleanup.checks.time.sleep", waited.append)
    return waited


def test_whoever_asks_for_the_checks_waits_once_for_files_that_may_grow(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []

    def settle(seconds: float) -> None:
        waited.append(seconds)
        library.write("slow.flac", b"more music")

    monkeypatch.setattr("veza_ops.cleanup.checks.time.sleep", settle)
    library.add("slow.flac", content=b"m", age=timedelta(hours=30))
    library.add("done.flac", content=b"music", age=timedelta(hours=25))
    library.add_ghost()
    config = dg.RunConfig({"library_health": FindConfig(batch_size=1)})
    told = check(ask(library, config))
    assert {name: value.value for name, value in told.metadata.items()} == {
        "stuck": 1,
        "growing": 1,
        "waiting": 1,
        "empty": 0,
    }
    assert waited == [SETTLE_SECONDS]


def test_whoever_asks_for_the_checks_waits_for_no_file_that_is_old_or_of_a_young_track(
    library: Library, waited: list[float]
) -> None:
    library.add("young.flac", content=b"music", age=timedelta(hours=3))
    library.add("old.flac", content=b"music", age=timedelta(hours=30))
    os.utime(library.root / "old.flac", (1_700_000_000, 1_700_000_000))
    told = check(ask(library))
    assert (told.metadata["stuck"].value, told.metadata["waiting"].value) == (1, 2)
    assert waited == []


def test_files_that_give_no_answer_are_there_all_the_same_and_cost_one_look_s_time(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.add("a.flac", content=b"music")

    def hang(*_: Any) -> Any:
        time.sleep(30)

    monkeypatch.setattr("veza_ops.storage.disk.measures", hang)
    began = time.monotonic()
    result = run_job(library, instance, storage={"root": str(library.root), "look_timeout_seconds": 0.3})
    assert (counts(result)["present"], counts(result)["waiting"]) == (1, 1)
    assert shown(observed(instance))[0]["size"] == "unknown"
    assert time.monotonic() - began < 20


def test_a_folder_is_no_empty_file(library: Library, instance: dg.DagsterInstance) -> None:
    library.add("folder")
    (library.root / "folder").mkdir()
    told = counts(run_job(library, instance))
    assert (told["present"], told["empty"], told["waiting"]) == (1, 0, 1)


@pytest.mark.usefixtures("aws")
def test_objects_are_measured_as_files_are(
    store: Store, bucket: str, library: Library, instance: dg.DagsterInstance
) -> None:
    for key, content in (("playable.flac", b"music"), ("done.flac", b"music"), ("empty.flac", b"")):
        store.put(bucket, key, content)
    library.add(f"s3://{bucket}/playable.flac", status="ready")
    library.add(f"s3://{bucket}/done.flac")
    library.add(f"s3://{bucket}/empty.flac")
    told = counts(run_job(library, instance))
    assert (told["present"], told["waiting"], told["empty"]) == (2, 1, 1)
    assert {row["size"] for row in shown(observed(instance))} == {5, 0}


A, B, EMPTY = Measure(5, 1.0), Measure(6, 2.0), Measure(0, 1.0)


@pytest.mark.parametrize(
    ("before", "now", "state"),
    [
        (A, A, State.WAITING),
        (A, B, State.GROWING),
        (A, Measure(5, 2.0), State.GROWING),
        (B, A, State.GROWING),
        (EMPTY, EMPTY, State.EMPTY),
        (EMPTY, A, State.GROWING),
        (A, None, State.WAITING),
        (EMPTY, None, State.EMPTY),
        (None, EMPTY, State.EMPTY),
        (None, A, State.WAITING),
        (None, None, State.WAITING),
    ],
)
def test_what_follows_from_two_looks(before: Measure | None, now: Measure | None, state: State) -> None:
    (stuck,) = standing([("1", "a", "2026-01-01", *(before or (None, None)))], [now], "").oldest
    assert (stuck.state, stuck.measure) == (state, now or before)


def test_what_is_known_of_some_and_of_others_adds_up() -> None:
    some = Standing(1, 2, 3, 4, tuple(Stuck(str(at), "", str(at), State.EMPTY, None) for at in range(60)), 5)
    other = Standing(10, 20, 30, 40, tuple(Stuck(str(at), "", str(at), State.EMPTY, None) for at in range(30, 90)), 50)
    both = some + other
    assert (both.growing, both.waiting, both.empty, both.stuck, both.present) == (11, 22, 33, 44, 66)
    assert [each.created_at for each in both.oldest] == sorted(
        each.created_at for each in (*some.oldest, *other.oldest)
    )[:100]


def test_what_nobody_could_measure_is_not_called_stuck() -> None:
    assert standing([("1", "a", "2026-01-01", None, None)], [None], "2026-01-02").stuck == 0
    assert standing([("1", "a", "2026-01-01", None, None)], [A], "2026-01-02").stuck == 0
    assert standing([("1", "a", "2026-01-01", *A)], [None], "2026-01-02").stuck == 0
    assert standing([("1", "a", "2026-01-01", *A)], [A], "2026-01-02").stuck == 1
    assert at_first([("1", "a", "2026-01-01", None, None)], "2026-01-02").stuck == 0


def test_what_nobody_could_measure_leaves_it_open_whether_any_is_stuck(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.add("uploads/a.flac", content=b"12345", age=timedelta(hours=50))
    monkeypatch.setattr(disk, "measures", lambda _, names, *__: [None] * len(names))
    result = run_job(library, instance)
    assert result.success
    assert NOTHING_STUCK.name not in {each.check_name for each in result.get_asset_check_evaluations()}


@pytest.mark.parametrize(("ago", "is_stuck"), [(3500, False), (3700, True)])
def test_a_file_that_gives_no_answer_the_second_time_is_stuck_only_if_it_need_not_be_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ago: int, *, is_stuck: bool
) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    os.utime(tmp_path / "a", (time.time() - ago, time.time() - ago))
    files = Files(Layout(str(tmp_path)))
    held = first_look(files, [Track("1", "a", "2026-01-01", None)])
    monkeypatch.setattr(disk, "measures", lambda *_: [None])
    assert second_look(files, held, "2026-01-02", 3600).stuck == is_stuck


def test_what_was_created_at_the_bound_is_not_stuck_yet() -> None:
    rows: list[Held] = [(str(at), "a", f"2026-01-01 00:00:0{at}", 1, 1.0) for at in range(3)]
    assert at_first(rows, "2026-01-01 00:00:01").stuck == 1
    assert standing(rows, [Measure(2, 1.0)] * 3, "2026-01-01 00:00:01").stuck == 0


def test_what_is_handed_on_is_what_was_seen(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    files = Files(Layout(str(tmp_path)))
    held = first_look(files, [Track(name, name, "2026-01-01", None) for name in ("a", "nowhere", "../a")])
    assert [each[3] for each in held] == [5, None, None]
    handed: list[Held] = orjson.loads(orjson.dumps(held))
    (tmp_path / "a").write_bytes(b"123456")
    assert [each.state for each in second_look(files, handed, "", 3600).oldest] == [
        *(State.GROWING, State.WAITING, State.WAITING)
    ]


@pytest.mark.parametrize(("ago", "asked"), [(3500, 2), (3700, 1)])
def test_a_file_that_nobody_has_written_to_for_long_is_not_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ago: int, asked: int
) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    os.utime(tmp_path / "a", (time.time() - ago, time.time() - ago))
    questions: list[str] = []
    real = disk.measures

    def measures(folder: str, names: Sequence[str], beat: Callable[[], object]) -> list[Measure | None]:
        questions.extend(names)
        return real(folder, names, beat)

    monkeypatch.setattr(disk, "measures", measures)
    files = Files(Layout(str(tmp_path)))
    held = first_look(files, [Track("1", "a", "2026-01-01", None)])
    (stuck,) = second_look(files, held, "", 3600).oldest
    assert (stuck.state, stuck.measure and stuck.measure.size, len(questions)) == (State.WAITING, 5, asked)
