"""Storms on an object store: it is down, its bucket is gone, its login is revoked, an upload ends in mid-run."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from demo.store import IDENTITIES, Store
from veza_ops_tests import store_faults as faults
from veza_ops_tests.faulty_store import FaultyStore
from veza_ops_tests.library import Id, counts, run_job
from veza_ops_tests.storms.scene import (
    AFTER_LAST_PROOF,
    AFTER_LOOK,
    BEFORE_LOOK,
    BEFORE_SEARCH,
    BEFORE_SECOND_LOOK,
    BEFORE_SECOND_PROOF,
    Moment,
    Scene,
    unverifiable_reasons,
)

PATIENCE = {"look_timeout_seconds": 10}
SLOW, GHOSTS = "uploads/slow.flac", ["uploads/ghost.flac", "ghost.flac"]
PLAYABLE = ["uploads/1.flac", "uploads/2.flac", "3.flac", "4.flac"]


def settle(scene: Scene, bucket: str) -> list[Id]:
    """Let the library have tracks in a bucket as well; the ghosts among them."""
    for key in PLAYABLE:
        scene.library.add(f"s3://{bucket}/{key}", status="ready")
    scene.library.add(f"s3://{bucket}/{SLOW}")
    ghosts = [scene.library.add(f"s3://{bucket}/{key}") for key in GHOSTS]
    scene.ghosts += ghosts
    scene.remember()
    return ghosts


@pytest.fixture
def real(scene: Scene, store: Store, bucket: str, aws: None) -> str:  # noqa: ARG001 - sets the variables
    """A bucket of a real store, with tracks."""
    for key in (*PLAYABLE, SLOW):
        store.put(bucket, key)
    settle(scene, bucket)
    return bucket


@pytest.fixture
def faulty(scene: Scene, faulty: FaultyStore) -> FaultyStore:
    """A store that can be told to answer wrongly, with tracks in its bucket."""
    faulty.buckets["veza"].update(dict.fromkeys((*PLAYABLE, SLOW), b"music"))
    settle(scene, "veza")
    return faulty


def assert_only_the_disk_was_done(scene: Scene, result: dg.ExecuteInProcessResult, bucket: str) -> None:
    """What the store doesn't tell of costs its own rows, and no others."""
    scene.assert_no_good_track_changed()
    reasons = unverifiable_reasons(result)
    assert {path for path in reasons if path.startswith("s3://")} >= {f"s3://{bucket}/{key}" for key in GHOSTS}
    assert counts(result)["marked_failed"] == len(scene.ghosts) - len(GHOSTS)


@pytest.mark.parametrize("odd", ["uploads/" + "b" * 1100 + ".flac", "uploads/b\tb.flac", "uploads/"])
def test_a_key_that_no_store_takes_holds_up_no_other(scene: Scene, faulty: FaultyStore, odd: str) -> None:
    assert faulty
    scene.library.add(f"s3://veza/{odd}")
    scene.remember()
    scene.assert_next_run_finishes()


def test_ghosts_in_a_bucket_are_failed_in_the_first_run_and_no_others(scene: Scene, real: str) -> None:
    assert real
    assert counts(scene.run())["marked_failed"] == len(scene.ghosts)
    scene.assert_all_is_well()


def test_a_library_of_plain_keys_is_looked_for_in_the_bucket_that_is_its_root(scene: Scene, real: str) -> None:
    scene.library.execute("DELETE FROM tracks WHERE file_path NOT LIKE 's3://%'")
    scene.library.execute("UPDATE tracks SET file_path = replace(file_path, :start, '')", start=f"s3://{real}/")
    scene.ghosts = [ghost for ghost in scene.ghosts if ghost in scene.library.rows()]
    scene.remember()
    assert counts(scene.run(storage={"root": f"s3://{real}"}))["marked_failed"] == len(GHOSTS)
    scene.assert_all_is_well()


def test_a_ghost_whose_object_came_after_all_is_put_back_by_the_undo(scene: Scene, store: Store, real: str) -> None:
    marked = scene.run()
    store.put(real, GHOSTS[0])
    undo = {"find_marked_tracks": {"run_id": marked.run_id}, "restore_tracks": {"dry_run": False}}
    undone = run_job(scene.library, scene.instance, job="restore_orphan_tracks", ops=undo)
    assert undone.success
    assert [scene.library.status(ghost) for ghost in scene.ghosts[-2:]] == ["processing", "failed"]


def test_in_a_large_library_older_tracks_prove_the_prefix_that_they_are_in(scene: Scene, faulty: FaultyStore) -> None:
    """More newer tracks than are read of all, so that the database has to search for those of a prefix."""
    for number in range(60):
        faulty.buckets["veza"][f"new/{number}.flac"] = b"music"
        scene.library.add(f"s3://veza/new/{number}.flac", status="ready", age=timedelta(minutes=number))
    faulty.buckets["veza"]["old/1.flac"] = b"music"
    scene.library.add("s3://veza/old/1.flac", status="ready", age=timedelta(days=90))
    scene.library.add("s3://veza/older/1.flac", status="ready", age=timedelta(days=90))
    scene.ghosts.append(scene.library.add("s3://veza/old/ghost.flac"))
    lost = scene.library.add("s3://veza/older/slow.flac")
    scene.remember()
    reasons = unverifiable_reasons(scene.run(storage={"sample_size": 1}))
    assert "only 0 of the 1" in reasons["s3://veza/older/slow.flac"]
    assert scene.library.status(lost) == "processing"
    scene.assert_all_is_well()


def test_plain_keys_are_proven_by_their_own_among_many_paths_of_disks(scene: Scene, faulty: FaultyStore) -> None:
    scene.library.execute("DELETE FROM tracks WHERE file_path NOT LIKE 's3://%'")
    scene.library.execute("UPDATE tracks SET file_path = replace(file_path, 's3://veza/', '')")
    for number in range(60):
        path = scene.library.write(f"{number}.flac")
        scene.library.add(str(path), status="ready", age=timedelta(minutes=number))
    scene.ghosts = [ghost for ghost in scene.ghosts if ghost in scene.library.rows()]
    scene.ghosts.append(scene.library.add("fresh/ghost.flac"))
    scene.remember()
    assert faulty.buckets
    assert counts(scene.run(storage={"sample_size": 1, "root": "s3://veza"}))["marked_failed"] == len(GHOSTS) + 1
    scene.assert_all_is_well()


def test_a_store_that_is_down_costs_its_rows_only(scene: Scene, store: Store, real: str) -> None:
    store.stop()
    try:
        assert_only_the_disk_was_done(scene, scene.run(storage=PATIENCE), real)
    finally:
        store.start()
    scene.assert_next_run_finishes()


@pytest.mark.parametrize("moment", [BEFORE_LOOK, BEFORE_SECOND_LOOK], ids=str)
def test_a_store_that_stops_and_starts_in_mid_run_takes_no_good_track_with_it(
    scene: Scene, store: Store, real: str, moment: Moment, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment.arrange(monkeypatch, store.stop)
    try:
        assert_only_the_disk_was_done(scene, scene.run(storage=PATIENCE), real)
    finally:
        store.start()
    monkeypatch.undo()
    for name, value in store.environment().items():
        monkeypatch.setenv(name, value)
    scene.assert_next_run_finishes()


@pytest.mark.parametrize("moment", [BEFORE_LOOK, BEFORE_SECOND_LOOK], ids=str)
def test_a_login_that_is_revoked_in_mid_run_takes_no_good_track_with_it(
    scene: Scene, store: Store, real: str, moment: Moment, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment.arrange(monkeypatch, lambda: store.revoke("reader"))
    try:
        assert_only_the_disk_was_done(scene, scene.run(), real)
    finally:
        store.set_identities(IDENTITIES)


@pytest.mark.parametrize("moment", [BEFORE_LOOK, BEFORE_SECOND_LOOK], ids=str)
def test_a_bucket_that_is_removed_in_mid_run_takes_no_good_track_with_it(
    scene: Scene, store: Store, real: str, moment: Moment, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment.arrange(monkeypatch, lambda: store.remove_bucket(real))
    try:
        assert_only_the_disk_was_done(scene, scene.run(), real)
    finally:
        store.make_bucket(real)


DENIED = faults.error(403, "AccessDenied")
TROUBLES: dict[str, Callable[[FaultyStore], object]] = {
    "down": lambda faulty: faulty.fault(lambda _: True, faults.CLOSED),
    "denied": lambda faulty: faulty.fault(lambda _: True, DENIED),
    "overloaded": lambda faulty: faulty.fault(lambda _: True, faults.error(503, "SlowDown")),
    "gone": lambda faulty: faulty.buckets.pop("veza"),
    "emptied": lambda faulty: faulty.buckets["veza"].clear(),
}
MOMENTS = [BEFORE_SEARCH, BEFORE_LOOK, AFTER_LOOK, BEFORE_SECOND_PROOF, BEFORE_SECOND_LOOK, AFTER_LAST_PROOF]


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("moment", MOMENTS, ids=str)
def test_trouble_with_a_store_at_any_moment_takes_no_good_track_with_it(
    scene: Scene, faulty: FaultyStore, moment: Moment, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment.arrange(monkeypatch, lambda: TROUBLES[trouble](faulty))
    if moment is AFTER_LAST_PROOF:  # all looks were over, on a bucket that was proven on both sides of them
        scene.run()
        scene.assert_all_is_well()
    else:
        assert_only_the_disk_was_done(scene, scene.run(storage=PATIENCE), "veza")


@pytest.mark.parametrize("odd", ["other//odd.flac", "zz/"])
def test_an_odd_key_in_a_bucket_costs_no_ghost_elsewhere_in_it(scene: Scene, faulty: FaultyStore, odd: str) -> None:
    faulty.buckets["veza"][odd] = b""
    result = scene.run()
    reasons = unverifiable_reasons(result)
    assert {path for path in reasons if path.startswith("s3://veza/uploads")} == set()
    scene.assert_no_good_track_changed()


def test_a_store_without_the_files_of_playable_tracks_is_refused(scene: Scene, faulty: FaultyStore) -> None:
    faulty.buckets["veza"].clear()
    faulty.buckets["veza"]["something/else"] = b""
    result = scene.run()
    assert "only 0 of the" in unverifiable_reasons(result)["s3://veza/uploads/slow.flac"]
    assert_only_the_disk_was_done(scene, result, "veza")


@pytest.mark.parametrize("moment", [AFTER_LOOK, BEFORE_SECOND_PROOF, BEFORE_SECOND_LOOK], ids=str)
def test_an_upload_in_parts_that_is_completed_between_look_and_write_keeps_its_track(
    scene: Scene, store: Store, real: str, moment: Moment, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = store.begin_upload(real, "uploads/late.flac")
    scene.library.add(f"s3://{real}/uploads/late.flac")
    scene.remember()
    moment.arrange(monkeypatch, lambda: store.complete_upload(real, "uploads/late.flac", upload))
    assert counts(scene.run())["marked_failed"] == len(scene.ghosts)
    scene.assert_all_is_well()


@pytest.mark.parametrize("moment", [BEFORE_SEARCH, AFTER_LOOK, BEFORE_SECOND_LOOK], ids=str)
def test_an_upload_in_parts_that_is_under_way_keeps_its_track(
    scene: Scene, faulty: FaultyStore, moment: Moment, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.library.add("s3://veza/uploads/late.flac")
    scene.remember()
    began = datetime.now(UTC)
    moment.arrange(monkeypatch, lambda: faulty.uploads.setdefault("veza", []).append(("uploads/late.flac", began)))
    result = scene.run()
    assert "is under way since" in unverifiable_reasons(result)["s3://veza/uploads/late.flac"]
    scene.assert_all_is_well()


def test_a_ghost_whose_bucket_nothing_proves_is_left_alone(scene: Scene, faulty: FaultyStore) -> None:
    faulty.buckets["other"] = {"some/thing": b""}
    other = scene.library.add("s3://other/ghost.flac")
    scene.remember()
    result = scene.run()
    assert "no playable track has its file in s3://other" in unverifiable_reasons(result)["s3://other/ghost.flac"]
    assert scene.library.status(other) == "processing"
    scene.assert_all_is_well()


def test_a_whole_library_in_a_bucket_that_can_not_be_seen_fails_the_run_in_plain_words(
    scene: Scene, faulty: FaultyStore
) -> None:
    scene.library.execute("DELETE FROM tracks WHERE file_path NOT LIKE 's3://%'")
    scene.ghosts = [ghost for ghost in scene.ghosts if ghost in scene.library.rows()]
    scene.remember()
    faulty.fault(lambda request: request.is_listing, DENIED)
    scene.assert_refused(scene.run(), "s3://veza", "s3:ListBucket", "nothing is changed")
