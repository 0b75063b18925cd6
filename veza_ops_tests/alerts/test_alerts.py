"""Who is told what, by real runs in a Dagster home, and a real channel: a web server that writes down what it gets."""

from datetime import timedelta
from typing import Any

import dagster as dg
import pytest

from veza_ops.cleanup.limit import shared_out
from veza_ops.cleanup.rules import StaleBatch
from veza_ops.definitions import defs
from veza_ops.findings import TRACKS
from veza_ops.resources import Alerts
from veza_ops.runs import OURS
from veza_ops_tests.alerts.conftest import Watch
from veza_ops_tests.library import Library, run_job
from veza_ops_tests.receiver import Receiver

DRY = {"mark_orphans_failed": {"dry_run": True}}


def readable(text: str) -> str:
    """A message as people read it."""
    return text.replace("\N{ZERO WIDTH SPACE}", "")


def test_one_message_when_trouble_starts_and_one_when_it_ends(
    library: Library, instance: dg.DagsterInstance, channel: Receiver, watch: Watch
) -> None:
    watch.look(channel.url)
    for _ in range(3):
        run_job(library, instance, database={"tracks_table": "nowhere"})
        watch.look(channel.url)
    run_job(library, instance)
    watch.look(channel.url)
    run_job(library, instance)
    watch.look(channel.url)
    assert channel.titles == [
        "veza-ops: cleanup_orphan_tracks failed",
        "veza-ops: cleanup_orphan_tracks is well again",
    ]


def test_a_message_says_what_happened_what_to_do_and_where_to_look(
    library: Library, instance: dg.DagsterInstance, channel: Receiver, watch: Watch
) -> None:
    run = run_job(library, instance, database={"tracks_table": "nowhere"})
    watch.look(channel.url)
    (message,) = channel.messages
    assert readable(message["message"]).startswith("There is no table public.nowhere in this database")
    assert "The run page shows the step that failed" in message["message"]
    assert "What the run has changed by then is whole and written down" in message["message"]
    assert message["message"].endswith(f"http://dagster.example/runs/{run.run_id}")
    assert message["type"] == "failure"


def test_refused_storage_is_told_of_as_such_even_in_the_midst_of_other_trouble(
    library: Library, instance: dg.DagsterInstance, channel: Receiver, watch: Watch
) -> None:
    library.add_ghost()
    run_job(library, instance, database={"tracks_table": "nowhere"})
    run_job(library, instance, storage={"root": str(library.root.parent)})
    watch.look(channel.url)
    assert channel.titles == [
        "veza-ops: cleanup_orphan_tracks failed",
        "veza-ops: cleanup_orphan_tracks refused to trust the storage",
    ]
    assert "This storage is not the one that the database describes" in channel.messages[1]["message"]


def test_storage_is_well_again_only_once_it_was_proven_and_not_after_an_hour_that_had_no_need_of_it(
    library: Library, instance: dg.DagsterInstance, channel: Receiver, watch: Watch
) -> None:
    ghost = library.add_ghost()
    away = {"root": str(library.root.parent)}
    run_job(library, instance, storage=away)
    library.execute("UPDATE tracks SET status = 'ready' WHERE id = :id", id=ghost)
    run_job(library, instance, storage=away)
    run_job(library, instance, database={"tracks_table": "nowhere"})
    run_job(library, instance)
    watch.look(channel.url)
    assert [title.removeprefix("veza-ops: cleanup_orphan_tracks ") for title in channel.titles] == [
        "refused to trust the storage",
        "failed",
    ]
    library.execute("UPDATE tracks SET status = 'processing' WHERE id = :id", id=ghost)
    run_job(library, instance)
    watch.look(channel.url)
    assert channel.titles[2:] == ["veza-ops: cleanup_orphan_tracks is well again"]


def test_an_area_that_is_left_alone_is_told_of_though_the_run_succeeded(
    library: Library, instance: dg.DagsterInstance, channel: Receiver, watch: Watch
) -> None:
    library.add_ghost(file_path="playable/ghost.flac")
    library.add_ghost(file_path="away/ghost.flac")
    for number in range(3):
        library.add(f"away/{number}.flac", status="ready")
    assert run_job(library, instance).success
    watch.look(channel.url)
    assert channel.titles == ["veza-ops: cleanup_orphan_tracks refused to trust the storage"]
    assert f"{library.root}/away" in readable(channel.messages[0]["message"])


def test_more_orphans_than_configured_are_told_of_and_no_fewer(
    library: Library, instance: dg.DagsterInstance, channel: Receiver, watch: Watch
) -> None:
    library.add_ghost()
    run_job(library, instance, ops=DRY)
    watch.look(channel.url, max_missing=1)
    assert channel.titles == []
    library.add_ghost()
    run_job(library, instance)
    watch.look(channel.url, max_missing=1)
    assert channel.titles == ["veza-ops: cleanup_orphan_tracks found many tracks without a file"]
    assert channel.messages[0]["message"].startswith(
        "The files of 2 tracks are missing; up to 1 in a run are ordinary."
    )


def test_too_many_orphans_for_a_run_are_told_of_once_and_what_to_do(
    library: Library, instance: dg.DagsterInstance, channel: Receiver, watch: Watch
) -> None:
    for _ in range(3):
        library.add_ghost()
    for most in (2, 1, 0):
        run_job(library, instance, ops={"mark_orphans_failed": {"max_orphans": most}})
        watch.look(channel.url)
    assert channel.titles == [
        "veza-ops: cleanup_orphan_tracks found too many tracks without a file, and marked none",
        "veza-ops: cleanup_orphan_tracks is well again",
    ]
    says = readable(channel.messages[0]["message"])
    assert says.startswith("The files of 3 tracks are missing")
    assert "launch the job once with a higher max_orphans" in says
    assert "bring them back, or correct storage.root" in says


@pytest.mark.parametrize(("counted", "marked"), [(3, 0), (1, 2)])
def test_it_is_told_that_none_was_marked_only_where_no_other_batch_may_have_been(
    library: Library,
    instance: dg.DagsterInstance,
    channel: Receiver,
    watch: Watch,
    monkeypatch: pytest.MonkeyPatch,
    counted: int,
    marked: int,
) -> None:
    """Of two batches of two tracks; the files of some go missing only after they were counted."""
    library.add("uploads/kept.flac", status="ready", content=b"music")
    files = [library.write(f"uploads/{number}.flac") for number in range(4)]
    tracks = [library.add(file_path=f"uploads/{number}.flac") for number in range(4)]
    for file in files[:counted]:
        file.unlink()

    def take_away(*arguments: Any) -> list[StaleBatch]:
        batches = list(shared_out(*arguments))
        for file in files:
            file.unlink(missing_ok=True)
        return batches

    monkeypatch.setattr("veza_ops.cleanup.ops.shared_out", take_away)
    run_job(library, instance, ops={"mark_orphans_failed": {"max_orphans": 2}, "find_stale_tracks": {"batch_size": 2}})
    watch.look(channel.url)
    assert sum(library.status(track) == "failed" for track in tracks) == marked
    title = "veza-ops: cleanup_orphan_tracks found too many tracks without a file"
    assert channel.titles == [title if marked else f"{title}, and marked none"]


def test_tracks_that_are_stuck_with_their_file_are_told_of_once_whatever_else_there_is_to_tell(
    library: Library, instance: dg.DagsterInstance, channel: Receiver, watch: Watch
) -> None:
    stuck = library.add("stuck.flac", content=b"music", age=timedelta(hours=25))
    for where in ({}, {"tracks_table": "nowhere"}, {}):
        run_job(library, instance, database=where)
        watch.look(channel.url)
    library.execute("UPDATE tracks SET status = 'ready' WHERE id = :id", id=stuck)
    for _ in range(2):
        run_job(library, instance)
        watch.look(channel.url)
    assert channel.titles == [
        "veza-ops: tracks are stuck in processing with their file",
        "veza-ops: cleanup_orphan_tracks failed",
        "veza-ops: cleanup_orphan_tracks is well again",
        "veza-ops: processing is well again",
    ]
    says = readable(channel.messages[0]["message"])
    assert says.startswith("1 track stuck in processing for more than 24 h, though the file is there")
    assert "see to the workers that make tracks ready" in says
    assert "No track with its file is stuck in processing any more." in channel.messages[3]["message"]


def test_whoever_could_not_look_for_them_says_nothing_of_tracks_that_are_stuck(
    library: Library, instance: dg.DagsterInstance, channel: Receiver, watch: Watch
) -> None:
    library.add("stuck.flac", content=b"music", age=timedelta(hours=25))
    checks = {key for key in defs.resolve_asset_graph().asset_check_keys if key.asset_key == TRACKS}
    job = defs.resolve_implicit_global_asset_job_def().get_subset(asset_check_selection=checks)
    for root in (library.root.parent, library.root, library.root.parent):
        config = {"database": {"config": {"url": library.url}}, "storage": {"config": {"root": str(root)}}}
        assert job.execute_in_process(run_config={"resources": config}, instance=instance, tags=OURS).success
        watch.look(channel.url)
    assert channel.titles == [
        "veza-ops: a check of the assets refused to trust the storage",
        "veza-ops: a check of the assets is well again",
        "veza-ops: tracks are stuck in processing with their file",
        "veza-ops: a check of the assets refused to trust the storage",
    ]


def test_a_dry_run_ends_no_trouble_and_makes_none(
    library: Library, instance: dg.DagsterInstance, channel: Receiver, watch: Watch
) -> None:
    for _ in range(3):
        library.add_ghost()
    limited = {"mark_orphans_failed": {"max_orphans": 2}}
    for ops in (limited, DRY, limited):
        run_job(library, instance, ops=ops)
        watch.look(channel.url, max_missing=1)
    assert channel.titles == ["veza-ops: cleanup_orphan_tracks found too many tracks without a file, and marked none"]


def test_looking_again_ends_no_trouble_of_the_audit(
    library: Library, instance: dg.DagsterInstance, channel: Receiver, watch: Watch
) -> None:
    for number in range(20):
        library.add(f"playable/new-{number}.flac", status="ready", content=b"music", age=timedelta(minutes=9))
    gone = library.add("playable/gone.flac", status="ready")
    first = run_job(library, instance, job="audit_track_files")
    watch.look(channel.url, max_missing=0)
    library.execute("DELETE FROM tracks WHERE id = :id", id=gone)
    again = {"audit_files": {"recheck": first.run_id}}
    assert run_job(library, instance, job="audit_track_files", ops=again).success
    watch.look(channel.url, max_missing=0)
    assert channel.titles == ["veza-ops: audit_track_files found many tracks without a file"]
    assert run_job(library, instance, job="audit_track_files").success
    watch.look(channel.url, max_missing=0)
    assert channel.titles[1:] == ["veza-ops: audit_track_files is well again"]


def test_with_no_channel_nothing_is_sent_and_the_sensor_says_so(
    library: Library, instance: dg.DagsterInstance, watch: Watch
) -> None:
    run_job(library, instance, database={"tracks_table": "nowhere"})
    assert watch.look("") == "VEZA_ALERT_URLS is not set: nobody is told."


def test_a_broken_channel_is_tried_again_until_somebody_was_told(
    library: Library, instance: dg.DagsterInstance, channel: Receiver, watch: Watch
) -> None:
    channel.status = 500
    run_job(library, instance, database={"tracks_table": "nowhere"})
    run_job(library, instance)
    assert watch.look(channel.url).startswith("Nobody could be told of run")
    channel.status = 200
    watch.look(channel.url)
    assert channel.titles == [
        "veza-ops: cleanup_orphan_tracks failed",
        "veza-ops: cleanup_orphan_tracks is well again",
    ]


def test_one_working_channel_is_enough_and_is_told_once(
    library: Library, instance: dg.DagsterInstance, channel: Receiver, watch: Watch
) -> None:
    run_job(library, instance, database={"tracks_table": "nowhere"})
    for _ in range(2):
        watch.look(f"json://127.0.0.1:1/, {channel.url}")
    assert channel.titles == ["veza-ops: cleanup_orphan_tracks failed"]


def test_no_secret_of_a_channel_reaches_a_log(
    library: Library,
    instance: dg.DagsterInstance,
    watch: Watch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    run_job(library, instance, database={"tracks_table": "nowhere"})
    reason = watch.look("json://someone:topsecret@127.0.0.1:1/, nonsense://topsecret")
    assert "topsecret" not in caplog.text + reason + "".join(capfd.readouterr())


def test_runs_of_another_code_location_are_not_spoken_of(
    instance: dg.DagsterInstance, channel: Receiver, watch: Watch
) -> None:
    @dg.op
    def fails() -> None:
        raise dg.Failure

    @dg.job
    def of_somebody_else() -> None:
        fails()

    of_somebody_else.execute_in_process(instance=instance, raise_on_error=False)
    assert watch.look(channel.url) == "Nothing new to tell. Known trouble: none."
    assert channel.titles == []


@pytest.mark.parametrize(
    ("web_url", "page"),
    [
        ("http://dagster.example/", "http://dagster.example/runs/ID"),
        ("https://dagster.example:8443/veza", "https://dagster.example:8443/veza/runs/ID"),
        (" http://[::1]:3000", "http://[::1]:3000/runs/ID"),
        ("https://someone:topsecret@dagster.example", "Run ID"),
        ("postgresql://someone:topsecret@db/veza", "Run ID"),
        ("javascript:alert(1)", "Run ID"),
        ("http://[broken", "Run ID"),
        ("", "Run ID"),
    ],
)
def test_only_a_plain_web_address_is_put_in_a_message(web_url: str, page: str) -> None:
    assert Alerts(web_url=web_url).page_of("ID") == page
