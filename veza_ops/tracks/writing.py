"""The guarded write: a row is changed only if it still is as it was read, and costs itself alone if it can't be.

The database has the last word on each row. What it won't change is found by dividing, each part of a part under a
savepoint of its own; and what a row is after the write decides what it is counted as.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import starmap
from typing import Any, NamedTuple

import sqlalchemy as sa

from veza_ops.tracks.database import of_a_row
from veza_ops.tracks.playable import PlayableTracks, Where, as_json, has_zone, listed
from veza_ops.tracks.preflight import facts_of
from veza_ops.tracks.row import Change, Judged, Track, Written

DIVIDING_SECONDS = 10.0
"""So long at most is a part divided at a time, since what was written of it stays locked until the commit."""

_BEGIN = """
    SELECT CASE WHEN current_setting('synchronous_commit') = 'off'
                THEN set_config('synchronous_commit', 'local', true) END
"""
"""A commit that was heard of lasts, whatever the server does without being asked."""


@dataclass(frozen=True)
class Aim:
    """What a write makes of rows."""

    premise: Where
    status: str
    stamp: str | None
    """The time that becomes ``updated_at``, as `WritingTracks.stamp` gives it."""
    message: str | None = None
    messages: Mapping[str, str | None] | None = None
    """The message of each row by its id, where they differ; `message` for all others."""

    def message_of(self, track: Track) -> str | None:
        """The ``status_message`` that `track` gets."""
        return self.message if self.messages is None else self.messages.get(track.id, self.message)


class _Held(NamedTuple):
    """A row that was as it was read, and what it is after the write; None if the write did nothing to it."""

    id: str
    file_path: str
    status_before: str
    status_message_before: str | None
    updated_at_before: str | None
    status_after: str | None
    status_message_after: str | None
    updated_at_after: str | None


class _NotAsMeant(Exception):  # noqa: N818 - no error: it takes a savepoint back
    """Rows that are something else after the write than it was to make of them."""

    def __init__(self, refused: Sequence[Judged]) -> None:
        self.refused = refused


class WritingTracks(PlayableTracks):
    """Veza's tracks table, and the one way in which it is written."""

    @property
    def identity(self) -> str:
        """The table's name, its database's and its server's, by which evidence is told from that of another."""
        return facts_of(self.table).identity

    def stamp(self) -> str | None:
        """The database's time as ``updated_at`` holds it, which a write sets; None without such a column."""
        updated = self._optional("updated_at")
        if updated is None:
            return None
        now = sa.cast(self._now(updated.type), updated.type)
        return self.connection.scalar(sa.select(sa.cast(now, sa.Text)))

    def write(self, tracks: Sequence[Track], aim: Aim) -> Written:
        """Change `tracks` where the whole premise still holds, and say what became of them."""
        if not tracks:
            return Written()
        self.connection.execute(sa.text(_BEGIN))
        # What would be found wrong at the commit only is found now, with the row that it is about.
        self.connection.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")
        changes: list[Change] = []
        refused: list[Judged] = []
        untried: list[Track] = []
        began = time.monotonic()
        waiting = [list(tracks)]
        while waiting:
            part = waiting.pop()
            if refused and time.monotonic() - began > DIVIDING_SECONDS:
                untried.extend(part)
                continue
            try:
                with self.connection.begin_nested():
                    changes.extend(self._change(part, aim))
            except _NotAsMeant as found:
                refused.extend(found.refused)
                those = {judged.track for judged in found.refused}
                waiting.append([track for track in part if track not in those])
            except sa.exc.DBAPIError as error:
                reason = of_a_row(error)
                if reason is None:
                    raise
                if len(part) == 1:
                    refused.append(Judged(part[0], reason))
                else:
                    half = len(part) // 2
                    waiting += part[half:], part[:half]
            waiting = [each for each in waiting if each]
        if facts_of(self.table).security.active:
            done = {change.id for change in changes} | {each.id for each in (*untried, *(each for each, _ in refused))}
            withheld = self._withheld([track for track in tracks if track.id not in done], aim)
            refused.extend(Judged(track, "row-level security keeps this role from changing it") for track in withheld)
        return Written(tuple(changes), tuple(refused), tuple(untried))

    def _change(self, tracks: Sequence[Track], aim: Aim) -> list[Change]:
        """The one statement that changes rows.

        The premise is asked for twice: of the rows that are locked, and of the very row that is changed, since in a
        view one id may stand for several. A row that somebody else has locked is skipped. The lock is the one that an
        UPDATE of these columns takes, so it doesn't stand in the way of rows elsewhere that refer to a track.

        Raises _NotAsMeant for rows that are not what they were to become.
        """
        table, updated = self.table, self._optional("updated_at")
        checked = self._as_rows(tracks, aim)
        held = (
            sa.select(
                table.c.id,
                self._text("status").label("status"),
                self._text("updated_at").label("updated_at_before"),
                *(column for column in checked.c if column.name != "id"),
            )
            .join(checked, table.c.id == checked.c.id)
            .where(*aim.premise, *self._unchanged(checked))
            .with_for_update(key_share=True, skip_locked=True, of=table)
            .cte("held")
        )
        before = (
            sa.cast(held.c.id, sa.Text).label("id"),
            held.c.file_path,
            held.c.status.label("status_before"),
            held.c.status_message.label("status_message_before"),
            held.c.updated_at_before,
        )
        values: dict[str, Any] = {"status": aim.status, "status_message": aim.message}
        if aim.messages is not None:
            values["status_message"] = sa.cast(held.c.becomes, table.c.status_message.type)
        if updated is not None:
            values["updated_at"] = sa.cast(sa.literal(aim.stamp, sa.Text), updated.type)
        written = (
            sa.update(table)
            .values(values)
            .where(table.c.id == held.c.id, *aim.premise, *self._unchanged(held))
            .returning(
                *before,
                self._text("status").label("status_after"),
                self._text("status_message").label("status_message_after"),
                self._text("updated_at").label("updated_at_after"),
            )
            .cte("written")
        )
        # Not a join, which the planner would take for one of a few rows.
        places = sa.select(written.c.id, written.c.file_path)
        spared = sa.select(*before, *[sa.cast(sa.null(), sa.Text)] * 3).where(sa.tuple_(*before[:2]).not_in(places))
        rows = self.connection.execute(sa.select(written).union_all(spared))
        return self._as_meant(tracks, list(starmap(_Held, rows)), aim)

    def _as_rows(self, tracks: Sequence[Track], aim: Aim) -> sa.TableValuedAlias:
        """`tracks` as they were read, as a table named ``checked``."""
        updated = self._optional("updated_at")
        fields = [
            sa.column("id", self.table.c.id.type),
            sa.column("file_path", sa.Text),
            sa.column("status_message", sa.Text),
            *([] if updated is None else [sa.column("updated_at", updated.type)]),
            *([] if aim.messages is None else [sa.column("becomes", sa.Text)]),
        ]
        rows = [
            track._asdict() | ({} if aim.messages is None else {"becomes": aim.message_of(track)}) for track in tracks
        ]
        table = sa.func.json_to_recordset(as_json(rows)).table_valued(*fields, name="checked")
        return table.render_derived(with_types=True)

    def _unchanged(self, read: sa.FromClause) -> list[sa.ColumnElement[bool]]:
        """The row is as it was `read`: nobody has touched it since."""
        updated = self._optional("updated_at")
        unchanged = [
            self._letters("file_path") == read.c.file_path,
            self._letters("status_message").is_not_distinct_from(read.c.status_message),
        ]
        if updated is not None:
            unchanged.append(updated.is_not_distinct_from(read.c.updated_at))
        return unchanged

    def _as_meant(self, tracks: Sequence[Track], held: list[_Held], aim: Aim) -> list[Change]:
        """The changes, if each row that was held is now what it was to become. Raises _NotAsMeant."""
        if not facts_of(self.table).is_plain:
            held = self._read_back(held)
        by_place = {(track.id, track.file_path): track for track in tracks}
        wrong = [
            Judged(by_place[row.id, row.file_path], _why_not(row.status_after, aim.status))
            for row in held
            if row.status_after != aim.status
        ]
        if wrong:
            raise _NotAsMeant(wrong)
        return [Change._make(row) for row in held]

    def _read_back(self, held: list[_Held]) -> list[_Held]:
        """What the rows really are now: triggers and rules may have changed them after they were returned."""
        wanted = listed([row.id for row in held], "id")
        columns = [self._text(name) for name in ("id", "file_path", "status", "status_message", "updated_at")]
        query = sa.select(*columns).join(wanted, self.table.c.id == sa.cast(wanted.c.id, self.table.c.id.type))
        now = {(identity, path): after for identity, path, *after in self.connection.execute(query)}
        gone = facts_of(self.table).is_view  # a view of what is processing shows a row no longer that is failed
        return [
            row
            if row.status_after is None
            else _Held(*row[:5], *now.get((row.id, row.file_path), row[5:] if gone else (None, None, None)))
            for row in held
        ]

    def _withheld(self, tracks: Sequence[Track], aim: Aim) -> list[Track]:
        """Those of `tracks` that are as they were read, and can't be locked though nobody holds them.

        A policy hides them from a write, which says nothing of it.
        """
        seen = set(self.connection.scalars(self._as_read(tracks, aim)))
        left = [track for track in tracks if track.id in seen]
        if not left:
            return []
        to_lock = self._as_read(left, aim).with_for_update(key_share=True, nowait=True, of=self.table)
        try:
            with self.connection.begin_nested():
                free = set(self.connection.scalars(to_lock))
        except sa.exc.DBAPIError:  # somebody holds one of them
            half = len(left) // 2
            return [] if not half else self._withheld(left[:half], aim) + self._withheld(left[half:], aim)
        return [track for track in left if track.id not in free]

    def _as_read(self, tracks: Sequence[Track], aim: Aim) -> sa.Select[Any]:
        """The ids of those of `tracks` that still are as they were read."""
        checked = self._as_rows(tracks, aim)
        same = sa.select(self._text("id")).join(checked, self.table.c.id == checked.c.id)
        return same.where(*aim.premise, *self._unchanged(checked))

    @staticmethod
    def _now(kind: sa.types.TypeEngine[Any]) -> sa.ColumnElement[Any]:
        return sa.func.now() if has_zone(kind) else sa.func.timezone("UTC", sa.func.now())


def _why_not(status: str | None, wanted: str) -> str:
    if status is None:
        return "a trigger, a rule or a policy of the database's keeps it from being changed"
    return f"a trigger or a rule of the database's made it {status} where it was to be {wanted}"
