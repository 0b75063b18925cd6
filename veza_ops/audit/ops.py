"""The steps of the audit that look at disks, and what they tell the web UI. They write nothing but evidence."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, count, islice

import dagster as dg

from veza_ops.audit.buckets import are_served, elsewhere
from veza_ops.audit.config import AuditConfig, WalkConfig
from veza_ops.audit.rounds import last_round, mark_of, table_of_run
from veza_ops.audit.rules import Round, look_at
from veza_ops.audit.sizes import Compared, Damaged, compared
from veza_ops.audit.sizes import row_of as row_of_damaged
from veza_ops.audit.table import Table
from veza_ops.audit.throttle import Throttle
from veza_ops.audit.unnamed import Sieve, Unnamed, files_of, row_of, unnamed_of
from veza_ops.errors import ConfigurationError
from veza_ops.evidence import Evidence, entry
from veza_ops.looks import LISTED, Learned, Looking, Looks
from veza_ops.resources import Database, EvidenceStore, Storage
from veza_ops.runs import Location
from veza_ops.steps import NOT_CONFIGURED, config_of, plain_failures, refused
from veza_ops.storage.files import Files
from veza_ops.storage.proof import Proof
from veza_ops.storage.walk import CUT, inside
from veza_ops.tracks.row import Judged, Track
from veza_ops.witnesses import draw

MISSING, UNVERIFIABLE = "audit_missing", "audit_unverifiable"
UNNAMED, DAMAGED, MOVED = "audit_unnamed", "audit_damaged", "audit_moved"
"""The kinds of an audit's evidence."""
YET_UNNAMED, YET_DAMAGED = "audit_yet_unnamed", "audit_yet_damaged"
"""What was found so far, and is looked up again at the end."""
YET_LINKS = "audit_yet_links"
"""The links that were walked past: a file that one leads to isn't nobody's."""
OF_BUCKETS = 1_000_000
"""From this number on, lists are of what is in buckets, so that each step knows its own."""

_IS_RESUMED = "dagster/is_resume_retry"
"""The tag of a run that does over only what had failed."""


@dataclass(frozen=True)
class Audited:
    """What one run's looks came to, within its round."""

    round: Round = field(default_factory=Round)
    now: str = ""
    """The database's time; empty when there is no database."""
    proof: Proof = field(default_factory=lambda: Proof(0, 0))
    missing: tuple[Judged, ...] = ()
    unverifiable: tuple[Judged, ...] = ()
    """The first of this run; `LISTED` at most."""
    sizes: Compared = field(default_factory=Compared)
    cut_short: bool = False
    """Whether some of what an earlier run reported wasn't looked at again."""


def recheck_of(context: dg.OpExecutionContext) -> str:
    """The run whose findings are looked at again, if any."""
    return str(config_of(context, audit_files).get("recheck", "")).strip()


def lists_of(context: dg.OpExecutionContext, evidence: EvidenceStore) -> Evidence:
    """Where the lists of the audit are: those of the run that this one goes on with after a failure, if it does."""
    run = context.run
    while run.parent_run_id and run.tags.get(_IS_RESUMED) == "true":
        before = context.instance.get_run_by_id(run.parent_run_id)
        if before is None:
            break
        run = before
    return evidence.of_run(run.run_id, context.instance)


def drop_earlier(records: Evidence, *kinds: str, of_buckets: bool) -> None:
    """Remove what an earlier attempt of the step has listed."""
    for path in chain.from_iterable(map(records.files, kinds)):
        number = int(path.name.rpartition("-")[2].partition(".")[0])
        if (number >= OF_BUCKETS) is of_buckets:
            records.drop(path)


@dg.op(tags={"kind": "filesystem"})
def audit_files(
    context: dg.OpExecutionContext, config: AuditConfig, database: Database, storage: Storage, evidence: EvidenceStore
) -> Audited:
    """Look for the file of each playable track that isn't in a bucket, page by page, from where the last run ended.

    Or for those that an earlier run reported, wherever they are.
    """
    if not database.is_configured:
        context.log.info(NOT_CONFIGURED)
        return Audited()
    began = time.monotonic()
    with plain_failures(context):
        files, records = storage.files(), lists_of(context, evidence)
        again = of_earlier(context, evidence, mark_of(database))
        drop_earlier(records, MISSING, UNVERIFIABLE, YET_DAMAGED, of_buckets=False)
    so_far = start = (
        Round()
        if again or config.start_over
        else last_round(context.instance, Location.of_run(context.run), mark_of(database))
    )
    missing: list[Judged] = []
    unverifiable: list[Judged] = []
    proof, sizes, is_cut = Proof(0, 0), Compared(), False
    with plain_failures(context):
        table = Table(database.tracks, database.size_column)
        with database.tracks(writable=False) as tracks:
            now = str(tracks.now())
            looking = Looking(files, Learned(draw(tracks, files.layout, storage.sample_size)), database.tracks)
        if start.after_key and not start.after:
            return Audited(start, now)  # in this round, all of these are done
        sample = looking.learned.sample
        alone = not any(area.bucket for area in (*sample.areas, *sample.some))  # or what is in buckets may be proven
        throttle = Throttle(config.max_looks_per_second)
        size = throttle.size(config.page_size)
        pages = _reported(again, table, size) if again else _pages(table, start.after, size, config.max_tracks)
        for number, (rows, after) in enumerate(pages):
            own = elsewhere(files.layout, rows) if are_served() and not again else rows
            looks = look_at(looking, own, table.playable) if own or not rows else Looks([], (), ())
            proof |= looks.proof
            if looks.proof.whole and alone:
                proof.require(files.layout)
            kinds = (MISSING, looks.missing, missing), (UNVERIFIABLE, looks.unverifiable, unverifiable)
            for kind, judged, listed in kinds:
                if judged:
                    records.write(kind, number, map(entry, judged))
                    listed.extend(judged[: LISTED - len(listed)])
            damaged, of_page = _damaged_of(looks.present, files, table)
            if damaged:
                records.write(YET_DAMAGED, number, map(row_of_damaged, damaged))
            sizes += of_page
            so_far = so_far.with_page(looks, after)
            counts = so_far.audited, so_far.missing, so_far.unverifiable
            context.log.info("%d looked at, %d missing, %d unverifiable", *counts)
            throttle.wait(len(own) + 2 * looks.proof.sampled + of_page.known, began + config.max_minutes * 60)
            if time.monotonic() - began > config.max_minutes * 60:
                is_cut = again is not None and next(pages, None) is not None
                break
        if alone:
            proof.require(files.layout)
    context.add_output_metadata(
        {
            "looked_at": so_far.audited - start.audited,
            "missing": so_far.missing - start.missing,
            "unverifiable": so_far.unverifiable - start.unverifiable,
            "proof": str(proof),
            **refused(proof),
            "seconds": round(time.monotonic() - began, 3),
        }
    )
    return Audited(so_far, now, proof, tuple(missing), tuple(unverifiable), sizes, is_cut)


def of_earlier(context: dg.OpExecutionContext, evidence: EvidenceStore, mark: str) -> Evidence | None:
    """What the run that is to be looked at again has reported, if one is.

    Raises ConfigurationError if it has nothing, or audited another table than that of this `mark`.
    """
    run_id = recheck_of(context)
    if not run_id:
        return None
    records = evidence.of_run(run_id, context.instance).required(
        "audit_files.recheck", "A run that found nothing has none. Without recheck, all tracks are looked at."
    )
    if table_of_run(context.instance, run_id) not in (None, mark):
        raise ConfigurationError(
            f"Run {run_id} audited another table, whose tracks and files aren't looked for here. Launch this where "
            "that table is configured."
        )
    if any(map(records.files, (YET_UNNAMED, YET_DAMAGED))):
        raise ConfigurationError(
            f"Run {run_id} didn't come to its end, so what it had found by then isn't told of. Launch an audit without "
            "recheck."
        )
    if not any(map(records.files, (MISSING, UNVERIFIABLE, DAMAGED, UNNAMED))):
        raise ConfigurationError(
            f"Run {run_id} has no list of an audit's, so there is nothing to look at again: give audit_files.recheck "
            "the id of an audit's run that reported something."
        )
    return records


def _pages(table: Table, after: str, page_size: int, most: int) -> Iterator[tuple[list[Track], str]]:
    """The playable tracks after an id, `most` of them, each page with the id that the next run goes on after."""
    done = 0
    while True:
        size = min(page_size, most - done)
        rows = table.page(after, size)
        after, done = rows[-1].id if len(rows) == size else "", done + size
        yield rows, after
        if not after or done >= most:
            return


def _reported(records: Evidence, table: Table, page_size: int) -> Iterator[tuple[list[Track], str]]:
    """The tracks that a run reported, and that are playable still."""
    kinds = (MISSING, UNVERIFIABLE, DAMAGED)
    rows = (row for kind in kinds for path in records.files(kind) for row in records.rows(path))
    ids = (row["id"] for row in rows if isinstance(row.get("id"), str))
    while some := list(islice(ids, page_size)):
        yield table.playable(some), ""


def _damaged_of(present: Sequence[Track], files: Files, table: Table) -> tuple[list[Damaged], Compared]:
    """Those of some tracks that have their file whose file may be damaged."""
    expected = table.sizes([track.id for track in present])
    found = sizes_of_files(files, [track for track in present if track.id in expected])
    return compared(present, expected, lambda track: found.get(track.id))


def sizes_of_files(files: Files, tracks: Sequence[Track]) -> dict[str, int]:
    """How large the files of tracks are, by id; without those of which nobody can tell."""
    measured = files.measure_rows(track.file_path for track in tracks)
    return {track.id: each.size for track, each in zip(tracks, measured, strict=True) if each}


@dg.op(tags={"kind": "filesystem"})
def find_unnamed_files(
    context: dg.OpExecutionContext, config: WalkConfig, database: Database, storage: Storage, evidence: EvidenceStore
) -> Unnamed:
    """Walk through the storage, and find the files that no track names, whatever its state.

    Or take those that an earlier run reported, wherever they are.
    """
    if not database.is_configured:
        return Unnamed()
    began = time.monotonic()
    until = began + config.max_minutes * 60
    with plain_failures(context):
        files, records = storage.files(), lists_of(context, evidence)
        earlier = of_earlier(context, evidence, mark_of(database))
        sieve = Sieve(files.layout, config.min_age_hours, config.ignore)
        folders = inside(files.layout.top, config.folders)
        drop_earlier(records, YET_UNNAMED, YET_LINKS, of_buckets=False)
    found = Unnamed()
    with plain_failures(context):
        with database.tracks(writable=False) as tracks:
            sample = draw(tracks, files.layout, storage.sample_size)
        files.prove(sample, sample.areas).proof().require(files.layout)
        named, throttle = Table(database.tracks, "").named, Throttle(config.max_looks_per_second)
        if earlier:
            return _taken_over(earlier, records)
        walk = files.walk(folders)
        for number in count():
            stored = list(islice(walk, min(throttle.size(config.page_size), config.max_files - found.walked)))
            if not stored:
                break
            unread = [file for file in stored if file.unread]
            unnamed = unnamed_of(files, [file for file in stored if not (file.unread or file.is_link)], named)
            sifted = sieve.sift(unnamed)
            if sifted.told:
                records.write(YET_UNNAMED, number, map(row_of, sifted.told))
            found = found.with_files(len(stored), sifted, len(unread))
            found = replace(found, cut_short=found.cut_short or any(file.unread == CUT for file in unread))
            if links := [{"path": file.path} for file in stored if file.is_link]:
                records.write(YET_LINKS, number, links)
            throttle.wait(len(stored), until)
            if time.monotonic() > until:
                break
        found = replace(found, cut_short=found.cut_short or next(walk, None) is not None)
    context.log.info("%d files walked, %d of them named by no track", found.walked, found.unnamed)
    context.add_output_metadata(asdict(found) | {"seconds": round(time.monotonic() - began, 3)})
    return found


def _taken_over(earlier: Evidence, records: Evidence) -> Unnamed:
    """The files that an `earlier` run reported as unnamed, to be looked up again at the end of this one."""
    found = Unnamed()
    for number, path in enumerate(earlier.files(UNNAMED)):
        rows = list(earlier.rows(path))
        records.write(YET_UNNAMED, number, rows)
        found += Unnamed(walked=len(rows), unnamed=sum(1 for _ in files_of(rows)))
    return found
