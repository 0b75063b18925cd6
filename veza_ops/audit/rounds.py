"""Where the audits before this one came to, as they told the asset of Veza's files."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

import dagster as dg

from veza_ops.audit.rules import Incomplete, Round
from veza_ops.audit.unnamed import Unnamed
from veza_ops.findings import RECHECK, TRACK_FILES
from veza_ops.resources import Database
from veza_ops.runs import Location, stands_for, told_by_ours
from veza_ops.storage.look import S3

Counts = TypeVar("Counts", Round, Unnamed, Incomplete)

TABLE_MARK = "table_mark"
"""What an observation calls the mark of the table that was audited: a place in one is none in another."""


def mark_of(database: Database) -> str:
    """What tells the table of `database` from others, and nothing of its address."""
    return stands_for(database.url, database.db_schema, database.tracks_table)


def table_of_run(instance: dg.DagsterInstance, run_id: str) -> str | None:
    """The mark of the table that an audit's run was of; None where nobody knows it any more."""
    for record in instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_OBSERVATION):
        if (seen := record.asset_observation) and seen.asset_key == TRACK_FILES and TABLE_MARK in seen.metadata:
            return str(seen.metadata[TABLE_MARK].value)
    return None


def last_audit(
    instance: dg.DagsterInstance, here: Location, mark: str | None = None
) -> tuple[Round, Unnamed, Incomplete] | None:
    """What the last audit of the code location `here` told the asset, if there was one.

    Of the table with this `mark` only, if it is given. An earlier version told none.
    """
    for told in told_by_ours(instance, TRACK_FILES, here):
        if told.get(RECHECK) or "audited" not in told:
            continue
        if mark is not None and told.get(TABLE_MARK, mark) != mark:
            continue
        so_far, unnamed = _counts(Round, {**told, "after_key": _after_key(told)}), _counts(Unnamed, told)
        if so_far and unnamed and so_far.audited == so_far.present + so_far.missing + so_far.unverifiable:
            return so_far, unnamed, _counts(Incomplete, told) or Incomplete(0, "the last audit didn't ask for them")
    return None


def last_round(instance: dg.DagsterInstance, here: Location, mark: str | None = None) -> Round:
    """The round that the last run left unfinished, or a new one; of the table with this `mark`, as above."""
    last = last_audit(instance, here, mark)
    return last[0].going_on if last and not last[0].is_complete else Round()


def _after_key(told: Mapping[str, Any]) -> str:
    """The place in buckets that was `told`; the first of all, in a round that was begun when none was told."""
    after = told.get("after_key")
    if isinstance(after, str) and (not after or after.startswith(S3)):
        return after
    return S3 if told.get("after") else ""


def _counts(kind: type[Counts], told: Mapping[str, Any]) -> Counts | None:
    """What was `told`, if it has all that belongs to `kind`: no count is negative, and nothing of another type.

    What an earlier version didn't count is as the kind has it.
    """
    values: dict[str, Any] = {}
    for each in fields(kind):
        value = told.get(each.name, each.default if each.name in _LATER else MISSING)
        if type(value) is not each.type or (type(value) is int and value < 0):
            return None
        values[each.name] = value
    return kind(**values)


_LATER = frozenset(
    {
        *("empty", "truncated", "unnamed_young", "unnamed_ignored", "unnamed_unconfirmed", "unsure"),
        *("sizes_known", "sizes_differing", "unnamed_before", "unnamed_in_buckets"),
    }
)
