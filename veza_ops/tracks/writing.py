"""The guarded write: a row is changed only if it still is as it was read, and costs itself alone if it can't be.

The database has the last word on each row. What it won't change is found by dividing, each part of a part under a
savepoint of its own; and what a row is after the write decides what it is counted as.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from veza_ops.tracks.database import LOCK_SHARE, of_a_row
from veza_ops.tracks.playable import PlayableTracks, Where, as_json, has_zone, listed
from veza_ops.tracks.preflight import facts_of
from veza_ops.tracks.row import Change, Judged, Place, Track, Written, changes_of, many

DIVIDING_SECONDS = 10.0
"""So long at most is a part divided at a time, since what was written of it stays locked until the commit."""

_BEGIN = """
    SELECT CASE WHEN current_setting('synchronous_commit') = 'off'
                THEN set_config('synchronous_commit', 'local', true) END
"""
"""A commit that was heard of lasts, whatever the server does without being asked."""
_LIMIT = """
    SELECT set_config(name, least(nullif(own, 0), CAST(:milliseconds * share AS integer))::text, true)
    FROM (VALUES ('statement_timeout', 1), ('lock_timeout', CAST(:lock_share AS real))) AS limits (name, share)
    CROSS JOIN LATERAL CAST(1000 * extract(epoch FROM current_setting(name)::interval) AS integer) AS own
"""
_SHORTEST_SECONDS = 10.0
"""A statement has so long at least."""


@dataclass(frozen=True)
class Aim:
    """What a write makes of rows."""

    premise: Where
    before: str
    """The status that the premise asks for."""
    status: str
    stamp: str | None
    """The time that becomes ``updated_at``, as `WritingTracks.stamp` gives it."""
    message: str | None = None
    messages: Mapping[Place, str | None] | None = None
    """The message of each row, where they differ; `message` for all others."""

    def message_of(self, track: Track) -> str | None:
        """The ``status_message`` that `track` gets."""
        return self.message if self.messages is None else self.messages.get(track.place, self.message)

    def changes(self, tracks: Sequence[Track]) -> list[Change]:
        """What it makes of `tracks`, if it makes something of them."""
        return changes_of(tracks, self.before, self.status, map(self.message_of, tracks), self.stamp)


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

    def limit(self, seconds: float) -> None:
        """Let the server give up each statement of this transaction after `seconds`, unless it does so before."""
        limit = {"milliseconds": 1000 * max(seconds, _SHORTEST_SECONDS), "lock_share": LOCK_SHARE}
        self.connection.execute(sa.text(_LIMIT), limit)

    def write(self, tracks: Sequence[Track], aim: Aim) -> Written:
        """Change `tracks` where the whole premise still holds, and say what became of them."""
        if not tracks:
            return Written()
        self.connection.execute(sa.text(_BEGIN))
        # What would be found wrong at the commit only is found now, with the row that it is about.
        self.connection.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")
        undone: dict[Place, Judged] = {}
        while True:
            try:
                with nullcontext() if facts_of(self.table).is_plain else self.connection.begin_nested():
                    left = [each for each in tracks if each.place not in undone] if undone else [*tracks]
                    changes, dividing = self._divided(left, aim)
                break
            except _NotAsMeant as found:
                undone |= {judged.track.place: judged for judged in found.refused}
        dividing.refused.extend(undone.values())
        refused = [*dividing.refused, *self._by_policy(tracks, changes, dividing, aim)]
        return Written(tuple(changes), tuple(refused), tuple(dividing.untried))

    def _divided(self, tracks: list[Track], aim: Aim) -> tuple[list[Change], "_Dividing"]:
        """Change `tracks`, in as many parts as it takes. Raises _NotAsMeant for rows that a later part has undone."""
        dividing = _Dividing([tracks] if tracks else [])
        changes: list[Change] = []
        while part := dividing.next_part():
            try:
                with self.connection.begin_nested():
                    changes.extend(self._change(part, aim))
                dividing.accepted = True
            except _NotAsMeant as found:
                dividing.refuse(part, found.refused)
            except sa.exc.DBAPIError as error:
                dividing.divide(part, error)
        if dividing.began and not facts_of(self.table).is_plain:
            changes, undone = self._told_apart(changes, tracks, aim)
            if undone:
                raise _NotAsMeant(undone)
        return changes, dividing

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
        write = sa.update(table).values(values).where(table.c.id == held.c.id, *aim.premise, *self._unchanged(held))
        if facts_of(self.table).is_plain:  # what was changed was as it was read, and is what it was to become
            is_as_meant = sa.and_(
                self._text("status") == aim.status,
                self._text("status_message").is_not_distinct_from(sa.cast(values["status_message"], sa.Text)),
                *([] if updated is None else [updated.is_not_distinct_from(values["updated_at"])]),
            )
            rows = self.connection.execute(write.returning(sa.cast(held.c.id, sa.Text), is_as_meant)).all()
            done = {row[0]: row[1] for row in rows}
            changes = aim.changes(tracks if len(done) == len(tracks) else [each for each in tracks if each.id in done])
            if all(done.values()):
                return changes
            return self._require_meant(changes, tracks, aim)  # a trigger that wasn't there when the run began
        written = write.returning(
            *before,
            self._text("status").label("status_after"),
            self._text("status_message").label("status_message_after"),
            self._text("updated_at").label("updated_at_after"),
        ).cte("written")
        # Not a join, which the planner would take for one of a few rows.
        places = sa.select(written.c.id, written.c.file_path)
        spared = sa.select(*before, *[sa.cast(sa.null(), sa.Text)] * 3).where(sa.tuple_(*before[:2]).not_in(places))
        changed = many(Change, self.connection.execute(sa.select(written).union_all(spared)).all())
        return self._require_meant(changed, tracks, aim)

    def _require_meant(self, rows: Sequence[Change], tracks: Sequence[Track], aim: Aim) -> list[Change]:
        """The rows as they really are now. Raises _NotAsMeant."""
        changes, refused = self._told_apart(rows, tracks, aim)
        if refused:
            raise _NotAsMeant(refused)
        return changes

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
            {
                "id": track.id,
                "file_path": track.file_path,
                "status_message": track.status_message,
                "updated_at": track.updated_at,
            }
            for track in tracks
        ]
        if aim.messages is not None:
            rows = [row | {"becomes": aim.message_of(track)} for row, track in zip(rows, tracks, strict=True)]
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

    def _told_apart(
        self, rows: Sequence[Change], tracks: Sequence[Track], aim: Aim
    ) -> tuple[list[Change], list[Judged]]:
        """The rows that are now what they were to become, and those that aren't, each once."""
        now = self._read_back(rows)
        wrong = {row.place: row.status_after for row in now if row.status_after != aim.status}
        refused = {
            track.place: Judged(track, _why_not(wrong[track.place], aim.status))
            for track in (tracks if wrong else ())
            if track.place in wrong
        }
        return [row for row in now if row.place not in wrong] if wrong else now, list(refused.values())

    def _read_back(self, rows: Sequence[Change]) -> list[Change]:
        """What the rows really are now: triggers and rules may have changed them after they were returned."""
        wanted = listed([row.id for row in rows if row.status_after is not None], "id")
        columns = [self._text(name) for name in ("id", "file_path", "status", "status_message", "updated_at")]
        query = sa.select(*columns).join(wanted, self.table.c.id == sa.cast(wanted.c.id, self.table.c.id.type))
        now = {(identity, path): after for identity, path, *after in self.connection.execute(query).all()}
        is_view = facts_of(self.table).is_view  # one of what is processing shows a row no longer that is failed
        return [
            row
            if row.status_after is None
            else Change(*row[:5], *now.get(row.place, row[5:] if is_view else (None, None, None)))
            for row in rows
        ]

    def _by_policy(
        self, tracks: Sequence[Track], changes: Sequence[Change], dividing: "_Dividing", aim: Aim
    ) -> list[Judged]:
        """Those that row-level security keeps from this role, of which a write says nothing."""
        others = [*dividing.untried, *(track for track, _ in dividing.refused)]
        facts = facts_of(self.table)
        if len(changes) + len(others) >= len(tracks):
            return []
        if not (facts.security.active or (facts.is_view and self.may_be_hidden())):
            return []
        done = {change.place for change in changes} | {track.place for track in others}
        withheld = self._withheld([track for track in tracks if track.place not in done], aim)
        return [Judged(track, "row-level security keeps this role from changing it") for track in withheld]

    def _withheld(self, tracks: Sequence[Track], aim: Aim) -> list[Track]:
        """Those of `tracks` that are as they were read, and can't be locked though nobody holds them."""
        seen = set(map(tuple, self.connection.execute(self._as_read(tracks, aim))))
        left = [track for track in tracks if track.place in seen]
        if not left:
            return []
        # The weakest lock, which those that others write don't stand in the way of; a policy does all the same.
        to_lock = self._as_read(left, aim).with_for_update(read=True, key_share=True, skip_locked=True, of=self.table)
        free = set(map(tuple, self.connection.execute(to_lock)))
        began = time.monotonic()
        doubtful = [track for track in left if track.place not in free]
        return [
            track for track in doubtful if time.monotonic() - began < DIVIDING_SECONDS and not self._is_held(track, aim)
        ]

    def _is_held(self, track: Track, aim: Aim) -> bool:
        """Whether somebody holds a row in a way that lets nobody lock it at all."""
        to_lock = self._as_read([track], aim).with_for_update(read=True, key_share=True, nowait=True, of=self.table)
        try:
            with self.connection.begin_nested():
                return self.connection.execute(to_lock).first() is not None
        except sa.exc.DBAPIError:
            return True

    def _as_read(self, tracks: Sequence[Track], aim: Aim) -> sa.Select[Any]:
        """The places of those of `tracks` that still are as they were read."""
        checked = self._as_rows(tracks, aim)
        same = sa.select(self._text("id"), self._text("file_path")).join(checked, self.table.c.id == checked.c.id)
        return same.where(*aim.premise, *self._unchanged(checked))

    @staticmethod
    def _now(kind: sa.types.TypeEngine[Any]) -> sa.ColumnElement[Any]:
        return sa.func.now() if has_zone(kind) else sa.func.timezone("UTC", sa.func.now())


@dataclass
class _Dividing:
    """The parts of a part that are still to be tried, and what was found out so far."""

    waiting: list[list[Track]]
    refused: list[Judged] = field(default_factory=list)
    untried: list[Track] = field(default_factory=list)
    began: float | None = None
    """When the first part was refused."""
    accepted: bool = False

    def next_part(self) -> list[Track] | None:
        """The next part that is to be tried, unless it took too long already: then all others are left."""
        is_getting_on = bool(self.refused or self.accepted)
        if self.began and is_getting_on and time.monotonic() - self.began > DIVIDING_SECONDS:
            self.untried.extend(track for part in reversed(self.waiting) for track in part)
            self.waiting.clear()
        return self.waiting.pop() if self.waiting else None

    def refuse(self, part: list[Track], refused: Sequence[Judged]) -> None:
        """Try `part` again without those that are `refused`."""
        self.began = self.began or time.monotonic()
        self.refused.extend(refused)
        places = {track.place for track, _ in refused}
        if others := [track for track in part if track.place not in places]:
            self.waiting.append(others)

    def divide(self, part: list[Track], error: sa.exc.DBAPIError) -> None:
        """Try the two halves of `part`, or have found the row that `error` is about. Raises it if it is of no row."""
        self.began = self.began or time.monotonic()
        reason = of_a_row(error)
        if reason is None:
            raise error
        if len(part) == 1:
            self.refused.append(Judged(part[0], reason))
        else:
            half = len(part) // 2
            self.waiting += part[half:], part[:half]


def _why_not(status: str | None, wanted: str) -> str:
    if status is None:
        return "a trigger, a rule or a policy of the database's keeps it from being changed"
    return f"a trigger or a rule of the database's made it {status} where it was to be {wanted}"
