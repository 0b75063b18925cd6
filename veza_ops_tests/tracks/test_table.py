"""The tracks table: what is stale, how it is read, and every clause of the guarded write."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
import sqlalchemy as sa

from veza_ops.tracks.preflight import preflight
from veza_ops.tracks.row import ORPHAN_TRACK_AGE_THRESHOLD, Change, Track, age_hours, orphan_message
from veza_ops.tracks.table import Tracks
from veza_ops_tests.library import Id, Library, Schema, counts, run_job

MESSAGE = orphan_message(ORPHAN_TRACK_AGE_THRESHOLD)

# -- the guarded write ----------------------------------------------------------------------------------------------


def inspect(connection: sa.Connection) -> Tracks:
    """The table as the rules see it."""
    return Tracks(preflight(connection, schema="public", name="tracks"), connection)


def cutoff(connection: sa.Connection) -> str:
    """An hour ago, by the database's clock."""
    return str(inspect(connection).now() - timedelta(hours=1))


def checked(library: Library) -> list[Track]:
    """All stale tracks as they are now, as a check would have read them."""
    with library.engine.begin() as connection:
        tracks = inspect(connection)
        where = tracks.stale(cutoff(connection))
        return [track for batch in tracks.batches(where, size=10) for track in tracks.read(where, batch)]


def mark(library: Library, orphans: list[Track]) -> list[Change]:
    """Mark them failed, as the last step would."""
    with library.engine.begin() as connection:
        tracks = inspect(connection)
        return list(tracks.mark_failed(orphans, cutoff=cutoff(connection), message=MESSAGE).changes)


def test_the_write_tells_of_each_row_what_it_held_before_and_holds_now(library: Library) -> None:
    ghost = library.add_ghost(status_message="transcoding")
    (orphan,) = checked(library)
    (change,) = mark(library, [orphan])
    assert change.id == str(ghost)
    assert change.updated_at_before == orphan.updated_at
    assert change.updated_at_after != orphan.updated_at
    assert (change.status_before, change.status_message_before) == ("processing", "transcoding")
    assert (change.status_after, change.status_message_after) == ("failed", MESSAGE)


def test_a_row_without_a_status_is_not_playable(library: Library) -> None:
    library.execute("ALTER TABLE tracks ALTER COLUMN status DROP NOT NULL")
    library.add("odd/song.flac", status="ready")
    library.execute("UPDATE tracks SET status = NULL WHERE file_path = 'odd/song.flac'")
    with library.engine.begin() as connection:
        (row,) = inspect(connection).below("odd/", after=None, size=2)
    assert not row.is_playable


def test_a_row_whose_file_is_another_one_now_is_none_that_a_change_left(library: Library) -> None:
    ghost, other = library.add_ghost(), library.add_ghost()
    changes = {change.place: change for change in mark(library, checked(library))}
    library.execute("UPDATE tracks SET file_path = 'another.flac' WHERE id = :id", id=other)
    with library.engine.begin() as connection:
        assert [track.id for track in inspect(connection).changed_by(changes)] == [str(ghost)]


@pytest.mark.parametrize(
    "change",
    [
        "status = 'ready'",
        "status = 'uploading'",
        "created_at = now() - interval '59 minutes'",
        "file_path = 'uploads/moved.flac'",
        "file_path = NULL",
        "updated_at = updated_at + interval '1 microsecond'",
        "updated_at = NULL",
        "deleted_at = now()",
        "status_message = 'transcoding 4/5'",
    ],
)
def test_a_row_that_is_not_as_it_was_checked_is_not_written(change: str, library: Library) -> None:
    ghost = library.add_ghost()
    other = library.add_ghost()
    orphans = checked(library)
    library.execute(f"UPDATE tracks SET {change} WHERE id = :id", id=ghost)
    before = library.row(ghost)
    assert [change.id for change in mark(library, orphans)] == [str(other)]
    assert library.row(ghost) == before


def test_a_row_that_is_gone_is_not_missed(library: Library) -> None:
    ghost = library.add_ghost()
    orphans = checked(library)
    library.execute("DELETE FROM tracks WHERE id = :id", id=ghost)
    assert mark(library, orphans) == []


def test_a_row_whose_updated_at_is_null_can_be_marked(library: Library) -> None:
    ghost = library.add_ghost(updated_at=None)
    assert len(mark(library, checked(library))) == 1
    assert library.row(ghost)["updated_at"] is not None


def test_a_row_that_someone_has_locked_is_skipped_and_not_waited_for(library: Library) -> None:
    locked, free = library.add_ghost(), library.add_ghost()
    orphans = checked(library)
    with library.engine.begin() as api:
        api.execute(sa.text("SELECT 1 FROM tracks WHERE id = :id FOR UPDATE"), {"id": locked})
        assert [change.id for change in mark(library, orphans)] == [str(free)]
    assert library.status(locked) == "processing"


def test_a_row_that_others_refer_to_is_not_held_up_and_does_not_hold_them_up(library: Library) -> None:
    library.execute("CREATE TABLE plays (track uuid REFERENCES tracks (id))")
    ghost = library.add_ghost()
    orphans = checked(library)
    with library.engine.begin() as api:
        api.execute(sa.text("INSERT INTO plays VALUES (:id)"), {"id": ghost})
        assert len(mark(library, orphans)) == 1


def test_a_locked_row_is_counted_as_raced_by_the_run(library: Library, instance: dg.DagsterInstance) -> None:
    locked = library.add_ghost()
    library.add_ghost()
    with library.engine.begin() as api:
        api.execute(sa.text("SELECT 1 FROM tracks WHERE id = :id FOR UPDATE"), {"id": locked})
        said = counts(run_job(library, instance))
    assert (said["missing"], said["marked_failed"], said["raced"]) == (2, 1, 1)


def test_two_writes_of_the_same_rows_change_each_once(library: Library) -> None:
    for _ in range(20):
        library.add_ghost()
    orphans = checked(library)
    assert (len(mark(library, orphans)), len(mark(library, orphans))) == (20, 0)


@pytest.mark.parametrize(("set_to", "said"), [("off", "local"), ("on", "on"), ("remote_write", "remote_write")])
def test_a_commit_that_was_heard_of_lasts_however_the_server_is_set(set_to: str, said: str, library: Library) -> None:
    library.execute(f"ALTER DATABASE {library.database} SET synchronous_commit = '{set_to}'")
    library.engine.dispose()
    library.add_ghost()
    orphans = checked(library)
    with library.engine.begin() as connection:
        inspect(connection).mark_failed(orphans, cutoff=cutoff(connection), message=MESSAGE)
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == said


@pytest.mark.parametrize(
    ("kind", "tells"),
    [("timestamptz", True), ("timestamp(6)", True), ("timestamptz(3)", False), ("timestamp(0)", False), (None, False)],
)
def test_updated_at_tells_writes_apart_if_it_is_there_and_has_microseconds(
    kind: str | None, make_library: Callable[[Schema], Library], *, tells: bool
) -> None:
    library = make_library(Schema(updated_at=kind))
    with library.engine.begin() as connection:
        assert inspect(connection).tells_writes is tells


# -- reading --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 4, 10, 11])
@pytest.mark.parametrize("kind", ["uuid", "bigint"])
def test_batches_hold_every_stale_row_once_in_keyset_order(
    size: int, kind: str, make_library: Callable[[Schema], Library]
) -> None:
    library = make_library(Schema(id=kind))
    same_time = datetime.now(UTC) - timedelta(hours=5)
    ghosts: set[Id] = {library.add_ghost(created_at=same_time) for _ in range(5)}
    ghosts |= {library.add_ghost(age=timedelta(hours=2 + number)) for number in range(5)}
    with library.engine.begin() as connection:
        tracks = inspect(connection)
        where = tracks.stale(cutoff(connection))
        batches = tracks.batches(where, size=size)
        rows = [tracks.read(where, batch) for batch in batches]
    assert [len(batch) for batch in rows] == [batch.rows for batch in batches]
    assert all(len(batch) <= size for batch in rows)
    ids = [track.id for batch in rows for track in batch]
    assert len(ids) == 10
    assert set(ids) == {str(ghost) for ghost in ghosts}


def test_no_rows_make_no_batch(library: Library) -> None:
    assert checked(library) == []


def test_soft_deleted_tracks_are_not_stale(library: Library) -> None:
    library.add_ghost(deleted_at=datetime.now(UTC))
    assert checked(library) == []


@pytest.mark.parametrize(
    ("kind", "zone"),
    [
        *((kind, zone) for kind in ("timestamp", "timestamptz") for zone in ("UTC", "Pacific/Kiritimati")),
        ("timestamptz", "America/St_Johns"),
    ],
)
def test_times_are_read_as_utc_whatever_the_time_zone_of_the_session(
    zone: str, kind: str, make_library: Callable[[Schema], Library]
) -> None:
    library = make_library(Schema(created_at=kind, updated_at=kind))
    library.execute(f"ALTER DATABASE {library.database} SET timezone = '{zone}'")
    library.engine.dispose()
    stale = library.add_ghost(age=timedelta(minutes=61))
    library.add_ghost(age=timedelta(minutes=59))
    orphans = checked(library)
    assert [track.id for track in orphans] == [str(stale)]
    assert age_hours(orphans[0].created_at, str(datetime.now(UTC).replace(tzinfo=None))) == pytest.approx(
        1.02, abs=0.02
    )


def test_the_newest_playable_tracks_are_the_sample(library: Library) -> None:
    now = timedelta(0)
    library.add("newest.flac", status="ready", age=now)
    library.add("deleted.flac", status="ready", age=now, deleted_at=datetime.now(UTC))
    library.add("", status="ready", age=now)
    library.execute("ALTER TABLE tracks ALTER created_at DROP NOT NULL")
    no_date = library.add("no-date.flac", status="ready")
    library.execute("UPDATE tracks SET created_at = NULL WHERE id = :id", id=no_date)
    no_path = library.add("no-path.flac", status="ready", age=now)
    library.execute("UPDATE tracks SET file_path = NULL WHERE id = :id", id=no_path)
    for status in ("uploading", "processing", "failed"):
        library.add(f"{status}.flac", status=status, age=now)
    with library.engine.begin() as connection:
        tracks = inspect(connection)
        sample = tracks.newest_playable(2)
        whole = tracks.newest_playable(10)
    assert sample[0] == ("newest.flac", "ready")
    others = {f"playable/{number}.flac" for number in range(3)}
    assert sample[1].file_path in others
    assert {track.file_path for track in whole[:-1]} == {"newest.flac", *others}
    assert whole[-1] == ("no-date.flac", "ready")
