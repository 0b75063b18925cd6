"""What row-level security lets this role see and change of a table."""

from dataclasses import dataclass

import sqlalchemy as sa

_POLICIES = """
    WITH relation AS (SELECT CAST(:relation AS oid) AS oid),
    applied AS (
        SELECT polpermissive AS allows,
               polcmd IN ('r', '*') AS reads,
               polcmd IN ('w', '*') AS writes,
               pg_get_expr(polqual, polrelid) AS rows
        FROM relation JOIN pg_policy ON polrelid = relation.oid
        WHERE EXISTS (
            SELECT FROM unnest(polroles) AS role
            WHERE CASE WHEN role = 0 THEN true ELSE pg_has_role(current_user, role, 'USAGE') END
        )
    )
    SELECT row_security_active(relation.oid) AS active,
           NOT EXISTS (SELECT FROM applied WHERE allows AND reads AND rows IS NOT NULL) AS sees_none,
           EXISTS (SELECT FROM applied WHERE allows AND reads AND rows = 'true')
               AND NOT EXISTS (SELECT FROM applied WHERE NOT allows AND reads AND rows <> 'true') AS sees_all,
           NOT EXISTS (SELECT FROM applied WHERE allows AND writes AND rows IS NOT NULL) AS changes_none
    FROM relation JOIN pg_class ON pg_class.oid = relation.oid AND relkind IN ('r', 'p')
"""
# A policy that allows rows and names none, as one FOR UPDATE with nothing but a WITH CHECK, lets no row through.


@dataclass(frozen=True)
class RowSecurity:
    """Row-level security on a table, for the role that asks. The policies say nothing while it isn't active."""

    active: bool = False
    sees_none: bool = False
    """No policy shows it a row."""
    sees_all: bool = False
    """A policy shows it every row, and none takes any back."""
    changes_none: bool = False
    """No policy lets it change a row."""

    @property
    def may_hide(self) -> bool:
        """Whether there may be rows that the role doesn't see."""
        return self.active and not self.sees_all

    @property
    def says(self) -> str:
        """What an operator should know of it; nothing, when the role sees all rows."""
        if not self.may_hide:
            return ""
        return (
            "Row-level security may hide tracks from this role, and what it doesn't see is neither checked nor "
            "counted: give it BYPASSRLS or a policy FOR SELECT USING (true)."
        )

    def bars(self, where: str, *, writable: bool) -> list[str]:
        """Why nothing can be done with the table `where`, in a sentence each."""
        if not self.active:
            return []
        why = []
        if self.sees_none:
            why.append(
                f"Row-level security lets this role see no row of {where}: it has no policy for SELECT, so every row "
                "is hidden. Let the table's owner give it a policy FOR SELECT USING (true), or BYPASSRLS."
            )
        if writable and self.changes_none:
            why.append(
                f"Row-level security lets this role change no row of {where}: it has no policy for UPDATE, so nothing "
                "can be marked. Let the table's owner give it a policy FOR UPDATE USING (true), or BYPASSRLS."
            )
        return why


def row_security(connection: sa.Connection, relation: int) -> RowSecurity:
    """Row-level security for the current role on a table, by its number in pg_class.

    There is none on views and foreign tables.
    """
    found = connection.execute(sa.text(_POLICIES), {"relation": relation}).one_or_none()
    return RowSecurity() if found is None else RowSecurity(*found)
