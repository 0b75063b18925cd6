"""Row-level security: what a role sees and changes of a table, as the server itself counts it."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from veza_ops.errors import TracksTableError
from veza_ops.tracks.preflight import facts_of, preflight
from veza_ops.tracks.security import RowSecurity, row_security
from veza_ops.tracks.table import Tracks
from veza_ops_tests.library import Library


@pytest.fixture
def role(library: Library) -> Iterator[str]:
    """A role with the rights of deploy/grants.sql, a member of a group, on a table with row-level security."""
    name = f"cleaner_{library.database}"
    for statement in (
        f"CREATE ROLE {name}",
        f"CREATE ROLE {name}_group",
        f"GRANT {name}_group TO {name}",
        f"CREATE ROLE {name}_other",
        f"GRANT SELECT (id, status, status_message, file_path, created_at, updated_at, deleted_at) ON tracks TO {name}",
        f"GRANT UPDATE (status, status_message, updated_at) ON tracks TO {name}",
        "ALTER TABLE tracks ENABLE ROW LEVEL SECURITY",
    ):
        library.execute(statement)
    yield name
    for made in (name, f"{name}_group", f"{name}_other"):
        library.execute(f"DROP OWNED BY {made}")
        library.execute(f"DROP ROLE {made}")


@pytest.fixture
def connection(library: Library, role: str) -> Iterator[sa.Connection]:
    """A connection of the role's, in a transaction of its own."""
    with library.engine.begin() as connection:
        connection.exec_driver_sql(f"SET LOCAL ROLE {role}")
        yield connection


def policies(library: Library, role: str, *texts: str) -> None:
    for number, text in enumerate(texts):
        library.execute(f"CREATE POLICY p{number} ON tracks {text.format(role=role)}")


def seen_and_changed(connection: sa.Connection) -> tuple[int, int]:
    """How many rows there really are for the role."""
    seen = connection.execute(sa.text("SELECT id FROM tracks")).rowcount
    with connection.begin_nested() as attempt:
        changed = connection.execute(sa.text("UPDATE tracks SET status = 'failed' WHERE id IS NOT NULL")).rowcount
        attempt.rollback()
    return seen, changed


NOTHING = RowSecurity(active=True, sees_none=True, changes_none=True)
SEES_ALL = RowSecurity(active=True, sees_all=True, changes_none=True)
ALL = RowSecurity(active=True, sees_all=True)
SOME = RowSecurity(active=True)


@pytest.mark.parametrize(
    ("texts", "expected", "rows"),
    [
        ([], NOTHING, (0, 0)),
        (["USING (true)"], ALL, (3, 3)),
        (["TO {role} USING (true)"], ALL, (3, 3)),
        (["TO {role}_group USING (true)"], ALL, (3, 3)),
        (["TO {role}_other USING (true)"], NOTHING, (0, 0)),
        (["FOR SELECT USING (true)"], SEES_ALL, (3, 0)),
        (["FOR SELECT USING (true)", "FOR UPDATE USING (true)"], ALL, (3, 3)),
        (["FOR SELECT USING (true)", "FOR UPDATE WITH CHECK (true)"], SEES_ALL, (3, 0)),
        (["FOR SELECT"], NOTHING, (0, 0)),
        (["FOR UPDATE USING (true)"], RowSecurity(active=True, sees_none=True), (0, 0)),
        (["FOR INSERT WITH CHECK (true)", "FOR DELETE USING (true)"], NOTHING, (0, 0)),
        (["USING (status <> 'hidden')"], SOME, (3, 3)),
        (["USING (true)", "AS RESTRICTIVE USING (status <> 'ready')"], SOME, (0, 0)),
        (["USING (true)", "AS RESTRICTIVE USING (true)"], ALL, (3, 3)),
        (["USING (true)", "AS RESTRICTIVE FOR DELETE USING (false)"], ALL, (3, 3)),
        (["USING (true)", "AS RESTRICTIVE TO {role}_other USING (false)"], ALL, (3, 3)),
        (["AS RESTRICTIVE USING (true)"], NOTHING, (0, 0)),
    ],
)
def test_policies_are_counted_as_the_server_counts_them(
    texts: list[str],
    expected: RowSecurity,
    rows: tuple[int, int],
    library: Library,
    role: str,
    connection: sa.Connection,
) -> None:
    policies(library, role, *texts)
    assert row_security(connection, number_of(connection, "tracks")) == expected
    assert seen_and_changed(connection) == rows


def number_of(connection: sa.Connection, relation: str) -> int:
    """A table's number in pg_class."""
    return int(connection.scalar(sa.text("SELECT CAST(to_regclass(:it) AS oid)"), {"it": relation}) or 0)


def test_a_role_that_passes_by_all_policies_has_none_active(library: Library, role: str) -> None:
    policies(library, role, "USING (false)")
    with library.engine.begin() as connection:
        found = row_security(connection, number_of(connection, "tracks"))
    assert not found.active
    assert not found.says


def test_a_role_that_passes_by_row_security_needs_no_policy(library: Library, role: str) -> None:
    assert role
    with library.engine.begin() as connection:
        assert not facts_of(preflight(connection, schema="public", name="tracks")).security.active


def test_there_is_no_row_security_on_a_view(library: Library, connection: sa.Connection) -> None:
    library.execute("CREATE VIEW songs AS SELECT * FROM tracks")
    assert row_security(connection, number_of(connection, "songs")) == RowSecurity()


def test_a_view_may_hide_what_the_policies_of_its_table_do(library: Library) -> None:
    library.execute("CREATE VIEW songs AS SELECT * FROM tracks")
    for secured in (False, True):
        if secured:
            library.execute("ALTER TABLE tracks ENABLE ROW LEVEL SECURITY")
        with library.engine.begin() as connection:
            songs = preflight(connection, schema="public", name="songs", writable=False)
            assert Tracks(songs, connection).may_be_hidden() is secured


def test_a_table_of_which_the_role_sees_no_row_is_refused(connection: sa.Connection) -> None:
    with pytest.raises(TracksTableError) as caught:
        preflight(connection, schema="public", name="tracks", writable=False)
    assert "Row-level security lets this role see no row of public.tracks" in str(caught.value)
    assert "change no row" not in str(caught.value)


def test_a_table_of_which_the_role_changes_no_row_is_refused_unless_it_is_only_read(
    library: Library, role: str, connection: sa.Connection
) -> None:
    policies(library, role, "FOR SELECT USING (true)")
    with pytest.raises(TracksTableError, match=r"Row-level security lets this role change no row of public\.tracks"):
        preflight(connection, schema="public", name="tracks")
    assert not facts_of(preflight(connection, schema="public", name="tracks", writable=False)).security.says


def test_an_operator_is_told_that_rows_may_be_hidden(library: Library, role: str, connection: sa.Connection) -> None:
    policies(library, role, "USING (status <> 'hidden')")
    security = facts_of(preflight(connection, schema="public", name="tracks")).security
    assert security.may_hide
    assert security.says.startswith("Row-level security may hide tracks from this role")


def test_all_that_is_wrong_is_named_with_what_row_security_bars(library: Library, connection: sa.Connection) -> None:
    library.execute("ALTER TABLE tracks DROP file_path")
    with pytest.raises(TracksTableError) as caught:
        preflight(connection, schema="public", name="tracks")
    for said in ("column file_path is missing", "see no row", "change no row"):
        assert said in str(caught.value)


def test_the_least_of_rights_is_enough_to_know_the_table(
    library: Library, role: str, connection: sa.Connection
) -> None:
    policies(library, role, "USING (true)")
    facts = facts_of(preflight(connection, schema="public", name="tracks"))
    assert facts.security == ALL
    assert facts.is_plain
    assert facts.identity.startswith(f"public.tracks in {library.database}")
