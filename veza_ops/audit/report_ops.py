"""The last step of the audit: what was found is looked up again, put together, and told."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import chain, islice
from typing import Any

import dagster as dg

from veza_ops.audit import moved, sheet, sizes, unnamed
from veza_ops.audit.asset import of_audit
from veza_ops.audit.ops import (
    DAMAGED,
    MISSING,
    MOVED,
    UNNAMED,
    UNVERIFIABLE,
    YET_DAMAGED,
    YET_DAMAGED_OBJECTS,
    YET_UNNAMED,
    YET_UNNAMED_OBJECTS,
    Audited,
    audit_files,
    sizes_of_files,
)
from veza_ops.audit.rounds import RECHECK
from veza_ops.audit.rules import Round
from veza_ops.audit.table import Table
from veza_ops.audit.tally import Bucketed
from veza_ops.audit.unnamed import Unnamed
from veza_ops.evidence import Evidence
from veza_ops.findings import TRACK_FILES, of_proof, report
from veza_ops.looks import LISTED
from veza_ops.resources import Database, EvidenceStore, Storage
from veza_ops.steps import (
    NOT_CONFIGURED,
    config_of,
    full_lists,
    plain_failures,
    refused,
    seconds_since_start,
    table,
    table_of,
)
from veza_ops.storage.files import Files
from veza_ops.tracks.row import Track

_OF_TRACKS = MISSING, UNVERIFIABLE, DAMAGED
_YET_UNNAMED, _YET_DAMAGED = (YET_UNNAMED, YET_UNNAMED_OBJECTS), (YET_DAMAGED, YET_DAMAGED_OBJECTS)
_SHEET = "audit"


@dg.op(tags={"kind": "dagster"})
def report_audit(
    context: dg.OpExecutionContext,
    audited: Audited,
    walked: Unnamed,
    buckets: Bucketed,
    database: Database,
    storage: Storage,
    evidence: EvidenceStore,
) -> dict[str, Any]:
    """Look up again what no track names and what is damaged, and tell the asset of Veza's files what the audit came to.

    The output is the round's counts.
    """
    both, proof = audited.round.and_buckets(buckets.round), audited.proof
    if not audited.now:
        context.add_output_metadata({"note": NOT_CONFIGURED})
        return asdict(both)
    with plain_failures(context):
        proof |= buckets.proof
        proof.require(storage.files().layout)
        records = evidence.of_run(context.run_id, context.instance)
        lists = _Lists(records, storage.files(), Table(database.tracks, database.size_column))
        both, found = lists.damaged(both), lists.unnamed(walked + buckets.unnamed)
        pairs = lists.moved()
        written = lists.sheet()
        lists.done()
    so_far = asdict(both)
    judged = {
        "missing_files": moved.told(pairs, (*audited.missing, *buckets.missing)[:LISTED]),
        "unverifiable_files": moved.told(pairs, (*audited.unverifiable, *buckets.unverifiable)[:LISTED]),
    }
    listed = {"damaged_files": DAMAGED, "unnamed_files": UNNAMED, "moved_files": MOVED}
    recheck = config_of(context, audit_files).get(RECHECK, "")
    metadata = {
        **so_far,
        **asdict(found),
        "moved": len(pairs),
        **asdict(buckets.uploads),
        **({RECHECK: recheck} if recheck else {}),
        "proof": str(proof),
        **refused(proof),
        **full_lists(records),
        **written,
        "seconds": seconds_since_start(context),
        **{name: table(rows, audited.now) for name, rows in judged.items() if rows},
        **{name: table_of(rows) for name, kind in listed.items() if (rows := list(islice(lists.rows(kind), LISTED)))},
    }
    context.add_output_metadata(metadata)
    context.log_event(dg.AssetObservation(TRACK_FILES, metadata=metadata))
    for finding in (of_proof(proof), *of_audit(both, found, buckets.uploads)):
        report(context, finding)
    return so_far


class _Lists:
    """The lists of a run, while they are put into their last form."""

    def __init__(self, records: Evidence, files: Files, table: Table) -> None:
        self._records, self._files, self._table = records, files, table
        for kind in (UNNAMED, DAMAGED, MOVED):  # an earlier attempt's
            records.drop(*records.files(kind))

    def rows(self, *kinds: str) -> Iterator[dict[str, Any]]:
        """What the lists of some kinds hold."""
        paths = chain.from_iterable(map(self._records.files, kinds))
        return (row for path in paths for row in self._records.rows(path))

    def unnamed(self, found: Unnamed) -> Unnamed:
        """The files that no track names even now; `found` is what the walk came to."""
        number = size = candidates = 0
        again = unnamed.looked_up_again(self._files, self.rows(*_YET_UNNAMED), self._table.named)
        for at, (told, some) in enumerate(again):
            if told:
                self._records.write(UNNAMED, at, map(unnamed.row_of, told))
            number, size, candidates = number + len(told), size + sum(file.size for file in told), candidates + some
        return found.confirmed(number, size, candidates)

    def damaged(self, so_far: Round) -> Round:
        """The files that are damaged even now, in the count of the round."""

        def read(ids: Sequence[str]) -> tuple[list[Track], dict[str, int]]:
            return self._table.playable(ids), self._table.sizes(ids)

        again = sizes.looked_up_again(
            self.rows(*_YET_DAMAGED), read, lambda tracks: sizes_of_files(self._files, tracks)
        )
        for at, damaged in enumerate(again):
            if damaged:
                self._records.write(DAMAGED, at, map(sizes.row_of, damaged))
            so_far = so_far.with_damaged(damaged)
        return so_far

    def moved(self) -> list[moved.Moved]:
        """The tracks whose file wasn't seen, each with an unnamed one that may be its."""
        unseen = islice(self.rows(MISSING, UNVERIFIABLE), moved.MOST)
        missing = [(str(row["id"]), row["file_path"] or "") for row in unseen]
        known = self._table.sizes([identity for identity, _ in missing])
        pairs = list(moved.moved_of(missing, known, unnamed.files_of(self.rows(UNNAMED))))
        if pairs:
            self._records.write(MOVED, 0, (each.row for each in pairs))
        return pairs

    def done(self) -> None:
        """Remove what was found before it was looked up again."""
        for kind in (*_YET_UNNAMED, *_YET_DAMAGED):
            self._records.drop(*self._records.files(kind))

    def sheet(self) -> dict[str, Any]:
        """All of it as one table, if there is anything; where it is."""
        kinds = *_OF_TRACKS, UNNAMED, MOVED
        if not any(map(self._records.files, kinds)):
            return {}
        found = ((kind.removeprefix("audit_"), row) for kind in kinds for row in self.rows(kind))
        return {"sheet": dg.MetadataValue.path(str(self._records.write_sheet(_SHEET, sheet.lines(found))))}
