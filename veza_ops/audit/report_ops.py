"""The last step of the audit: what was found is looked up again, put together, and told."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import chain, islice
from typing import Any

import dagster as dg

from veza_ops.audit import moved, sheet, sizes, unnamed
from veza_ops.audit.asset import of_audit
from veza_ops.audit.bucket_ops import audit_buckets
from veza_ops.audit.claims import Claims
from veza_ops.audit.ops import (
    DAMAGED,
    MISSING,
    MOVED,
    UNNAMED,
    UNVERIFIABLE,
    YET_DAMAGED,
    YET_LINKS,
    YET_UNNAMED,
    Audited,
    audit_files,
    find_unnamed_files,
    lists_of,
    recheck_of,
    sizes_of_files,
)
from veza_ops.audit.rounds import TABLE_MARK, mark_of
from veza_ops.audit.rules import Round
from veza_ops.audit.sizes import Compared
from veza_ops.audit.table import Table
from veza_ops.audit.tally import Bucketed
from veza_ops.audit.throttle import Throttle
from veza_ops.audit.unnamed import Unnamed
from veza_ops.errors import ConfigurationError
from veza_ops.evidence import Evidence
from veza_ops.findings import RECHECK, TRACK_FILES, of_proof, report
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
from veza_ops.storage.look import S3
from veza_ops.tracks.row import Track

_TABLES = {"damaged_files": DAMAGED, "unnamed_files": UNNAMED, "moved_files": MOVED}
_SHEET = "audit"
_AT_ONCE = 10_000
_NO_ANSWER = "Storage gave no answer as to where links lead, so any file may be a track's."


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

    The output is the round's counts. What an earlier run reported, looked at again, answers no check: it is a part.
    """
    both, proof = audited.round.and_buckets(buckets.round), audited.proof
    if not audited.now:
        context.add_output_metadata({"note": NOT_CONFIGURED})
        return asdict(both)
    recheck, compared = recheck_of(context), audited.sizes + buckets.sizes
    with plain_failures(context):
        proof |= buckets.proof
        proof.require(storage.files().layout)
        tracks = audited.missing or audited.unverifiable or buckets.missing or buckets.unverifiable
        is_listed = bool(tracks or walked.unnamed or buckets.unnamed.unnamed or compared.smaller)
        records = replace(lists_of(context, evidence), has_been_seen=is_listed)
        lists = _Lists(records, storage.files(), Table(database.tracks, database.size_column), context)
        found = lists.unnamed(walked + buckets.unnamed, knows_links=not recheck and _has_walked_all(context, walked))
        both, found = lists.damaged(both.with_sizes(compared), found, compared, is_whole=not recheck)
        in_buckets = lists.unnamed_in_buckets() + buckets.unnamed.unread_folders
        both = replace(both, unnamed_in_buckets=in_buckets)
        pairs, tracks_moved = lists.moved()
        written = lists.sheet()
        tables = {name: table_of(rows) for name, kind in _TABLES.items() if (rows := lists.first(kind))}
        lists.done()
    so_far = asdict(both)
    judged = {
        "missing_files": moved.told(pairs, (*audited.missing, *buckets.missing)[:LISTED]),
        "unverifiable_files": moved.told(pairs, (*audited.unverifiable, *buckets.unverifiable)[:LISTED]),
    }
    metadata = {
        **so_far,
        **asdict(found),
        "moved": tracks_moved,
        "sizes_compared": compared.known,
        **asdict(buckets.uploads),
        **({RECHECK: recheck, "recheck_cut_short": audited.cut_short} if recheck else {}),
        TABLE_MARK: mark_of(database),
        "proof": str(proof),
        **({"unsure_since": lists.unsure_since} if lists.unsure_since else {}),
        **refused(proof),
        **full_lists(records),
        **written,
        "seconds": seconds_since_start(context),
        **{name: table(rows, audited.now) for name, rows in judged.items() if rows},
        **tables,
    }
    context.add_output_metadata(metadata)
    context.log_event(dg.AssetObservation(TRACK_FILES, metadata=metadata))
    for finding in () if recheck else (of_proof(proof), *of_audit(both, found, buckets.uploads, lists.unsure_since)):
        report(context, finding)
    return so_far


def _rate(context: dg.OpExecutionContext) -> float:
    """The looks a second that the run may take where any of its steps may take just so many; 0 for any number."""
    steps = audit_files, find_unnamed_files, audit_buckets
    rates = (config_of(context, step).get("max_looks_per_second", 0.0) for step in steps)
    return min(filter(None, rates), default=0.0)


def _age_hours(context: dg.OpExecutionContext) -> float:
    """How old the youngest file may be that is told of."""
    steps = find_unnamed_files, audit_buckets
    return min(float(config_of(context, step).get("min_age_hours", 24)) for step in steps)


def _has_walked_all(context: dg.OpExecutionContext, walked: Unnamed) -> bool:
    """Whether the walk went through all that is below the root and where ``path_map`` leads to."""
    folders = config_of(context, find_unnamed_files).get("folders", ())
    return not (walked.cut_short or walked.unread_folders) and all(os.path.normpath(each) == "." for each in folders)


class _Lists:
    """The lists of a run, while they are put into their last form."""

    def __init__(self, records: Evidence, files: Files, table: Table, context: dg.OpExecutionContext) -> None:
        self._records, self._files, self._table = records, files, table
        self._rate, self._age_hours = _rate(context), _age_hours(context)
        self.unsure_since = ""
        """Why nobody can say which files no track names, if nobody can."""
        for kind in (UNNAMED, DAMAGED, MOVED):  # an earlier attempt's
            records.drop(*records.files(kind))

    def rows(self, *kinds: str) -> Iterator[dict[str, Any]]:
        """What the lists of some kinds hold."""
        paths = chain.from_iterable(map(self._records.files, kinds))
        return (row for path in paths for row in self._records.rows(path))

    def first(self, kind: str) -> list[dict[str, Any]]:
        """Those of the rows of a kind that a page shows."""
        return list(islice(self.rows(kind), LISTED))

    def unnamed(self, found: Unnamed, *, knows_links: bool) -> Unnamed:
        """The files that no track names even now; `found` is what the walk came to.

        `knows_links`: whether it has met all links.
        """
        self.unsure_since = self._table.cannot_tell(self._age_hours) if found.unnamed else ""
        claims = self._claims(knows_links=knows_links)
        self.unsure_since = self.unsure_since or ("" if claims.is_sure else _NO_ANSWER)
        number = size = candidates = unsure = 0
        rows, throttle = self.rows(YET_UNNAMED), Throttle(self._rate)
        again = unnamed.looked_up_again(self._files, rows, self._table.named, claims.is_taken, throttle)
        for at, (seen, some, unseen) in enumerate(again):
            told, untold = ([], some) if self.unsure_since else (seen, unseen)
            if told:
                self._records.write(UNNAMED, at, map(unnamed.row_of, told))
            number, size = number + len(told), size + sum(file.size for file in told)
            candidates, unsure = candidates + some, unsure + untold
        self._require_all("files", candidates, found.unnamed)
        return found.confirmed(number, size, candidates, unsure)

    def _require_all(self, what: str, read: int, written: int) -> None:
        """Raises ConfigurationError where lists hold fewer than were written to them."""
        if read < written:
            raise ConfigurationError(
                f"Of {written} {what} that were found, only {read} can be read in {self._records.of_run}. See to that "
                "place, and launch the audit once more."
            )

    def _claims(self, *, knows_links: bool) -> Claims:
        """What rows may mean of the files that no row was found to name: all rows are read for it.

        But not where nobody can tell, whatever they mean, or where there is no such file.
        """
        claims, throttle = Claims(self._files, knows_links=knows_links), Throttle(self._rate)
        if self.unsure_since or not any(self._records.files(YET_UNNAMED)):
            return claims
        claims.add(file.path for file in unnamed.files_of(self.rows(YET_UNNAMED)))
        for meet in self._to_be_met(claims):
            before = claims.asked
            meet()
            throttle.wait(claims.asked - before)
            if not claims.is_sure:  # nor will it be; and each page may have as many folders that hang
                break
        claims.settle()
        return claims

    def _to_be_met(self, claims: Claims) -> Iterator[Callable[[], None]]:
        """What `claims` has to be told, some at a time: links first of all."""
        links = (str(row.get("path")) for row in self.rows(YET_LINKS))
        while some := list(islice(links, _AT_ONCE)):
            yield partial(claims.meet_links, some)
        for rows in self._table.naming():
            yield partial(claims.meet, rows)

    def damaged(self, so_far: Round, found: Unnamed, compared: Compared, *, is_whole: bool) -> tuple[Round, Unnamed]:
        """The files that are damaged even now, in the count of the round.

        Where it `is_whole`, and the sizes of most differ, they are of something else: only empty files are damaged.
        """
        only_empty = is_whole and so_far.sizes_say_nothing
        if only_empty:  # nor is any that an earlier run of the round called truncated, when it had seen fewer
            so_far = replace(so_far, truncated=0)

        def read(ids: Sequence[str]) -> tuple[list[Track], dict[str, int]]:
            return self._table.playable(ids), self._table.sizes(ids)

        self._require_all("damaged files", sum(1 for _ in self.rows(YET_DAMAGED)), compared.smaller)

        def sizes_of(tracks: Sequence[Track]) -> dict[str, int]:
            return sizes_of_files(self._files, tracks)

        rows, throttle = self.rows(YET_DAMAGED), Throttle(self._rate)
        again = sizes.looked_up_again(rows, read, sizes_of, throttle, only_empty=only_empty)
        for at, (damaged, unsure) in enumerate(again):
            if damaged:
                self._records.write(DAMAGED, at, map(sizes.row_of, damaged))
            so_far, found = so_far.with_damaged(damaged), found + Unnamed(unsure=unsure)
        return so_far, found

    def unnamed_in_buckets(self) -> int:
        """How many of the files that no track names are in buckets."""
        return sum(file.path.startswith(S3) for file in unnamed.files_of(self.rows(UNNAMED)))

    def moved(self) -> tuple[list[moved.Moved], int]:
        """The tracks whose file wasn't seen, each with an unnamed one that may be its, and how many there are."""
        unseen = ((str(row["id"]), row["file_path"] or "") for row in self.rows(MISSING, UNVERIFIABLE))
        missing = list(islice(unseen, moved.MOST)) if any(self._records.files(UNNAMED)) else []
        known: dict[str, int] = {}
        for at in range(0, len(missing), _AT_ONCE):
            known |= self._table.sizes([identity for identity, _ in missing[at : at + _AT_ONCE]])
        pairs: list[moved.Moved] = []
        tracks: set[str] = set()
        for each in moved.moved_of(missing, known, unnamed.files_of(self.rows(UNNAMED))):
            tracks.add(each.id)
            if len(pairs) < moved.MOST_PAIRS:
                pairs.append(each)
        if pairs:
            self._records.write(MOVED, 0, (each.row for each in pairs))
        return pairs, len(tracks)

    def sheet(self) -> dict[str, Any]:
        """All of it as one table, if there is anything; where it is."""
        kinds = MISSING, UNVERIFIABLE, DAMAGED, UNNAMED, MOVED
        if not any(map(self._records.files, kinds)):
            return {}
        found = ((kind.removeprefix("audit_"), row) for kind in kinds for row in self.rows(kind))
        return {"sheet": dg.MetadataValue.path(str(self._records.write_sheet(_SHEET, sheet.lines(found))))}

    def done(self) -> None:
        """Remove what was found before it was looked up again."""
        for kind in (YET_UNNAMED, YET_DAMAGED, YET_LINKS):
            self._records.drop(*self._records.files(kind))
