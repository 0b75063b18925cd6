"""The steps of the audit that look at disks, and what they tell the web UI. They write nothing but evidence."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import count, islice

import dagster as dg

from veza_ops.audit.buckets import are_served, elsewhere
from veza_ops.audit.config import AuditConfig, WalkConfig
from veza_ops.audit.rounds import last_round
from veza_ops.audit.rules import Round, look_at
from veza_ops.audit.sizes import Damaged, damaged_of
from veza_ops.audit.sizes import row_of as row_of_damaged
from veza_ops.audit.table import Table
from veza_ops.audit.throttle import Throttle
from veza_ops.audit.unnamed import Sieve, Sifted, Unnamed, row_of, unnamed_of
from veza_ops.evidence import Evidence, entry
from veza_ops.looks import LISTED, Learned, Looking, Looks
from veza_ops.resources import Database, EvidenceStore, Storage
from veza_ops.runs import Location
from veza_ops.steps import NOT_CONFIGURED, config_of, plain_failures, refused
from veza_ops.storage.files import Files
from veza_ops.storage.proof import Proof
from veza_ops.storage.walk import CUT
from veza_ops.tracks.row import Judged, Track
from veza_ops.witnesses import draw

MISSING, UNVERIFIABLE = "audit_missing", "audit_unverifiable"
UNNAMED, DAMAGED, MOVED = "audit_unnamed", "audit_damaged", "audit_moved"
"""The kinds of an audit's evidence."""
YET_UNNAMED, YET_DAMAGED = "audit_yet_unnamed", "audit_yet_damaged"
YET_UNNAMED_OBJECTS, YET_DAMAGED_OBJECTS = "audit_yet_unnamed_objects", "audit_yet_damaged_objects"
"""What was found so far, on disks and in buckets, and is looked up again at the end."""


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
        files, records = storage.files(), evidence.of_run(context.run_id, context.instance)
        again = of_earlier(config.recheck, evidence, context.instance)
        records.drop(*records.files(YET_DAMAGED))  # an earlier attempt's
    so_far = start = (
        Round() if again or config.start_over else last_round(context.instance, Location.of_run(context.run))
    )
    missing: list[Judged] = []
    unverifiable: list[Judged] = []
    proof = Proof(0, 0)
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
            if damaged := _damaged_of(looks.present, files, table):
                records.write(YET_DAMAGED, number, map(row_of_damaged, damaged))
            so_far = so_far.with_page(looks, after)
            counts = so_far.audited, so_far.missing, so_far.unverifiable
            context.log.info("%d looked at, %d missing, %d unverifiable", *counts)
            throttle.wait(len(own) + 2 * looks.proof.sampled)
            if time.monotonic() - began > config.max_minutes * 60:
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
    return Audited(so_far, now, proof, tuple(missing), tuple(unverifiable))


def of_earlier(run_id: str, evidence: EvidenceStore, instance: dg.DagsterInstance) -> Evidence | None:
    """What an earlier run has reported; None where none is asked for. Raises ConfigurationError if it has nothing."""
    if not run_id.strip():
        return None
    return evidence.of_run(run_id.strip(), instance).required(
        "audit_files.recheck", "A run that found nothing has none. Without recheck, all tracks are looked at."
    )


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


def _damaged_of(present: Sequence[Track], files: Files, table: Table) -> list[Damaged]:
    """Those of some tracks that have their file whose file may be damaged."""
    expected = table.sizes([track.id for track in present])
    found = sizes_of_files(files, [track for track in present if track.id in expected])
    return damaged_of(present, expected, lambda track: found.get(track.id))


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
    with plain_failures(context):
        files, records = storage.files(), evidence.of_run(context.run_id, context.instance)
        earlier = of_earlier(config_of(context, audit_files).get("recheck", ""), evidence, context.instance)
        sieve = Sieve(files.layout, config.min_age_hours, config.ignore)
        records.drop(*records.files(YET_UNNAMED))  # an earlier attempt's
    found = Unnamed()
    with plain_failures(context):
        with database.tracks(writable=False) as tracks:
            sample = draw(tracks, files.layout, storage.sample_size)
        files.prove(sample, sample.areas).proof().require(files.layout)
        named, throttle = Table(database.tracks, "").named, Throttle(config.max_looks_per_second)
        if earlier:
            return _taken_over(earlier, records)
        walk = files.walk(config.folders)
        for number in count():
            stored = list(islice(walk, min(throttle.size(config.page_size), config.max_files - found.walked)))
            if not stored:
                break
            unread = [file for file in stored if file.unread]
            unnamed = unnamed_of(files, [file for file in stored if not file.unread], named)
            sifted = sieve.sift(unnamed)
            if sifted.told:
                records.write(YET_UNNAMED, number, map(row_of, sifted.told))
            found = found.with_files(len(stored), sifted, len(unread))
            found = replace(found, cut_short=found.cut_short or any(file.unread == CUT for file in unread))
            throttle.wait(len(stored))
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
        found = found.with_files(len(rows), Sifted(), 0)
    return found
