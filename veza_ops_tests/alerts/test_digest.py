"""The morning summary: one message a day that says what happened and what to do, and none where nothing did."""

from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

import dagster as dg
import pytest

from veza_ops.alerts import digest, sensor
from veza_ops.alerts.digest import Day, is_due, since, summary
from veza_ops.alerts.memory import Memory
from veza_ops.definitions import build_defs
from veza_ops_tests.alerts.conftest import TODAY, Mornings, Watch
from veza_ops_tests.alerts.test_alerts import readable
from veza_ops_tests.library import Library, run_job
from veza_ops_tests.receiver import Receiver

BEGIN = datetime(2026, 11, 27, 6, 0, tzinfo=UTC)
NOW = datetime(2026, 11, 28, 6, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("last", "now", "due"),
    [
        (None, NOW, True),
        (None, NOW - timedelta(minutes=1), False),
        (BEGIN, NOW, True),
        (BEGIN, NOW - timedelta(minutes=1), False),
        (NOW, NOW + timedelta(hours=17), False),
        (NOW, NOW + timedelta(hours=23), False),
        (NOW, NOW + timedelta(hours=24), True),
        (NOW - timedelta(minutes=1), NOW, True),
        (NOW, NOW, False),
        (NOW + timedelta(days=400), NOW, True),
    ],
)
def test_it_is_due_once_a_day_from_six_on(last: datetime | None, now: datetime, *, due: bool) -> None:
    assert is_due(int(last.timestamp()) if last else None, now) is due


def test_it_tells_of_the_time_since_the_last_one_and_of_a_week_at_most() -> None:
    assert since(None, NOW) == NOW - timedelta(days=1)
    assert since(int(BEGIN.timestamp()), NOW) == BEGIN
    assert since(0, NOW) == NOW - timedelta(days=7)


def test_one_that_was_made_in_the_future_is_none_since_a_clock_was_wrong() -> None:
    assert since(int((NOW + timedelta(seconds=1)).timestamp()), NOW) == NOW - timedelta(days=1)


WHOLE = Day(
    cleanups=24,
    failed=1,
    marked=12,
    raced=2,
    refused=1,
    unverifiable=5,
    present={"growing": 1, "waiting": 2, "empty": 1},
    stuck=3,
    oldest_hours=53.2,
    proof="storage proven: the files of 20 of the 20 newest playable tracks are there",
    areas=("/srv/veza/vinyl",),
    audit={"missing": 3, "unnamed": 7},
)


def test_it_says_what_happened_what_there_is_and_what_to_do_next() -> None:
    told = summary(WHOLE, BEGIN, NOW, "http://dagster.example/runs/1")
    assert told is not None
    assert told.title == "veza-ops: summary of Saturday, 28 November"
    assert readable(told.body) == (
        "Since Friday, 06:00 UTC: 24 cleanups; 1 runs of veza-ops failed.\n"
        "Marked failed, since their file never came: 12 tracks.\n"
        "Changed by others before that: 2 tracks.\n"
        "Refused by the database: 1 track.\n"
        "Left alone, since nobody could look: 5 tracks.\n"
        "In processing with their file: 1 growing, 2 waiting, 1 empty (the oldest is 53 h old); stuck: 3.\n"
        "Storage: storage proven: the files of 20 of the 20 newest playable tracks are there\n"
        "The audit found 3 playable tracks without their file, 7 files that no track names.\n"
        "\n"
        "Next:\n"
        "- Read why runs failed, on the Runs page; the next run tries again from the start.\n"
        "- See whether all disks and buckets are there: /srv/veza/vinyl were left alone.\n"
        "- See to the workers that make tracks ready: the table stuck_tracks has those that wait for them.\n"
        "- See what keeps the database from marking tracks: the table refused_tracks has the reasons.\n"
        "- Look through what the audit found: its run has tables, and all of it in one sheet.\n"
        "\n"
        "http://dagster.example/runs/1"
    )
    assert not told.good


def test_on_a_day_on_which_nothing_happened_there_is_none_and_a_day_of_ghosts_alone_is_a_good_one() -> None:
    quiet = Day(cleanups=24, present={"growing": 2}, proof="storage proven")
    assert summary(quiet, BEGIN, NOW, "") is None
    told = summary(Day(cleanups=24, marked=1), BEGIN, NOW, "")
    assert told
    assert told.good
    assert "Next" not in told.body


@pytest.mark.parametrize(
    "happened",
    [
        {"cleanups": 0},
        *({name: 1} for name in ("failed", "marked", "raced", "refused", "unverifiable", "stuck")),
        *({"areas": ("a",)}, {"audit": {"missing": 1}}, {"audit": None}, {"cleanups": None}),
    ],
    ids=str,
)
def test_whatever_happened_is_told(happened: dict[str, Any]) -> None:
    assert summary(Day(**{"cleanups": 24, **happened}), BEGIN, NOW, "") is not None


def test_one_message_a_day_tells_of_the_real_runs_since(
    library: Library, instance: dg.DagsterInstance, channel: Receiver, mornings: Mornings
) -> None:
    for number in range(3):
        library.add_ghost(file_path=f"playable/ghost-{number}.flac")
    library.add("playable/stuck.flac", content=b"music", age=timedelta(hours=30))
    library.add("away/ghost.flac")
    for number in range(3):
        library.add(f"away/{number}.flac", status="ready")
    for _ in range(2):
        assert run_job(library, instance).success
    run_job(library, instance, ops={"mark_orphans_failed": {"dry_run": True}})
    run_job(library, instance, database={"tracks_table": "nowhere"})
    assert run_job(library, instance, job="audit_track_files").success
    mornings.look(TODAY)
    titles = [title for title in channel.titles if "summary" in title]
    assert titles == [f"veza-ops: summary of {TODAY:%A, %d %B}"]
    (told,) = (readable(each["message"]) for each in channel.messages if "summary" in each["title"])
    for line in (
        ": 2 cleanups; 1 runs of veza-ops failed.",
        "Marked failed, since their file never came: 3 tracks.",
        "Only looked: 1 dry run.",
        "In processing with their file: 1 waiting (the oldest is 30 h old); stuck: 1.",
        "Left alone, since nobody could look: 1 track.",
        f"See whether all disks and buckets are there: {library.root}/away were left alone.",
    ):
        assert line in told, line
    mornings.look(TODAY + timedelta(hours=1))
    mornings.look(TODAY + timedelta(hours=11))
    assert len([title for title in channel.titles if "summary" in title]) == 1


def test_a_day_without_news_is_silent_and_done_with(
    library: Library, instance: dg.DagsterInstance, channel: Receiver, mornings: Mornings
) -> None:
    run_job(library, instance)
    mornings.look(TODAY)
    assert channel.titles == []
    assert Memory.read(str(mornings.cursor)).summed == int(TODAY.timestamp())


def test_a_summary_that_nobody_took_is_told_with_the_next_look(
    library: Library, instance: dg.DagsterInstance, channel: Receiver, mornings: Mornings
) -> None:
    library.add_ghost()
    run_job(library, instance)
    channel.status = 500
    assert mornings.look(TODAY).startswith("Nobody could be told of the day; the next look tries again.")
    channel.status = 200
    mornings.look(TODAY + timedelta(minutes=1))
    assert len(channel.titles) == 1


def test_no_summary_is_begun_when_the_look_is_over(
    library: Library,
    instance: dg.DagsterInstance,
    channel: Receiver,
    mornings: Mornings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    library.add_ghost()
    run_job(library, instance)
    with monkeypatch.context() as patched:
        patched.setattr(sensor, "LOOK_SECONDS", 0)
        assert mornings.look(TODAY).endswith("The summary comes with the next look.")
    assert channel.titles == []
    mornings.look(TODAY + timedelta(minutes=1))
    assert len(channel.titles) == 1


def test_a_day_that_takes_too_long_to_be_read_is_left_to_the_next_look(
    mornings: Mornings, channel: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = Event()
    with monkeypatch.context() as patched:
        patched.setattr(sensor, "LOOK_SECONDS", 0.5)
        patched.setattr(digest, "day_of", lambda *_: answered.wait(5))
        assert "The summary couldn't be made (TimeoutError); the next look tries again." in mornings.look(TODAY)
    answered.set()
    mornings.look(TODAY + timedelta(minutes=1))
    assert len(channel.titles) == 1


def test_a_summary_that_cannot_be_made_keeps_nobody_from_being_told_of_trouble(
    library: Library,
    instance: dg.DagsterInstance,
    channel: Receiver,
    mornings: Mornings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("s3cret")

    monkeypatch.setattr(digest, "day_of", fail)
    run_job(library, instance, database={"tracks_table": "nowhere"})
    said = mornings.look(TODAY)
    assert channel.titles == ["veza-ops: cleanup_orphan_tracks failed"]
    assert said.endswith("The summary couldn't be made (RuntimeError); the next look tries again.")


def test_without_being_asked_for_there_is_none(
    library: Library, instance: dg.DagsterInstance, channel: Receiver, watch: Watch
) -> None:
    library.add_ghost()
    run_job(library, instance)
    watch.look(channel.url)
    assert channel.titles == []


@pytest.mark.parametrize(("value", "seen"), [("true", True), ("1", True), ("no", False)])
def test_the_environment_asks_for_it(monkeypatch: pytest.MonkeyPatch, value: str, *, seen: bool) -> None:
    monkeypatch.setenv("VEZA_ALERT_DIGEST", value)
    alerts = build_defs().get_repository_def().get_top_level_resources()["alerts"]
    assert alerts.config_schema.default_value.get("digest", False) is seen


def test_what_is_neither_yes_nor_no_is_one_plain_message(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("VEZA_ALERT_DIGEST", "daily")
    build_defs()
    assert [record.getMessage() for record in caplog.records] == [
        "VEZA_ALERT_DIGEST holds neither true nor false. Alerts.digest takes nothing else."
    ]


def test_the_cursor_of_an_earlier_version_is_read() -> None:
    assert Memory.read("[7, {}, {}, null]") == Memory(7)
    assert Memory.read(str(Memory(7, summed=5))) == Memory(7, summed=5)
    with pytest.raises(ValueError, match="expected"):
        Memory.read('[7, {}, {}, null, "x"]')
