"""The step of the audit that compares buckets with the table, both ways."""

import time
from dataclasses import asdict
from datetime import UTC, timedelta

import dagster as dg

from veza_ops.audit.buckets import Buckets, Part, are_served, places_of, wanted_of
from veza_ops.audit.config import BucketsConfig
from veza_ops.audit.listing import begun_before
from veza_ops.audit.ops import (
    MISSING,
    OF_BUCKETS,
    UNVERIFIABLE,
    YET_DAMAGED,
    YET_UNNAMED,
    drop_earlier,
    lists_of,
    recheck_of,
)
from veza_ops.audit.rounds import last_round, mark_of
from veza_ops.audit.rules import Incomplete, Round
from veza_ops.audit.sizes import Compared, Damaged, compared
from veza_ops.audit.sizes import row_of as row_of_damaged
from veza_ops.audit.table import Table
from veza_ops.audit.tally import Bucketed, Tally
from veza_ops.audit.throttle import Throttle
from veza_ops.audit.unnamed import Sieve, row_of
from veza_ops.evidence import entry
from veza_ops.looks import Learned, Looking
from veza_ops.resources import Database, EvidenceStore, Storage
from veza_ops.runs import Location
from veza_ops.steps import plain_failures, refused
from veza_ops.storage.files import Files
from veza_ops.tracks.row import Track
from veza_ops.witnesses import draw

UPLOADS = "audit_uploads"
"""The kind of evidence that lists uploads which nobody has completed."""


@dg.op(tags={"kind": "s3"})
def audit_buckets(
    context: dg.OpExecutionContext, config: BucketsConfig, database: Database, storage: Storage, evidence: EvidenceStore
) -> Bucketed:
    """Compare what buckets list with what tracks name, both ways, from where the last run ended."""
    if not database.is_configured or not are_served() or recheck_of(context):
        return Bucketed()
    began, upto = time.monotonic(), ""
    until = began + config.max_minutes * 60
    here = Location.of_run(context.run)
    start = Round() if config.start_over else last_round(context.instance, here, mark_of(database))
    with plain_failures(context):
        files, records = storage.files(), lists_of(context, evidence)
        drop_earlier(records, MISSING, UNVERIFIABLE, YET_UNNAMED, YET_DAMAGED, UPLOADS, of_buckets=True)
        wanted, sieve = wanted_of(config.buckets), Sieve(files.layout, config.min_age_hours, config.ignore)
        with database.tracks(writable=False) as tracks:
            before = tracks.now().replace(tzinfo=UTC) - timedelta(hours=config.upload_hours)
            places = places_of(files.layout, tracks.buckets(), wanted)
            looking = Looking(files, Learned(draw(tracks, files.layout, storage.sample_size)), database.tracks)
        uploads, untold = begun_before(files, places, before, until)
        if uploads:
            records.write(UPLOADS, OF_BUCKETS, ({"bucket": where, **each._asdict()} for where, each in uploads))
        table, throttle = Table(database.tracks, database.size_column), Throttle(config.max_looks_per_second)
        page_size = throttle.size(min(config.page_size, config.max_tracks))
        audit = Buckets(looking, database.tracks, page_size, wanted)
        tally = Tally(Round(unnamed_before=start.unnamed_before))
        is_over = bool(start.after) and not start.after_key  # in this round, they are done
        for number, part in enumerate(() if is_over else audit.parts(places, start.after_key)):
            for kind, judged in ((MISSING, part.looks.missing), (UNVERIFIABLE, part.looks.unverifiable)):
                if judged:
                    records.write(kind, OF_BUCKETS + number, map(entry, judged))
            sifted = sieve.sift(part.unnamed)
            unnamed = records.write(YET_UNNAMED, OF_BUCKETS + number, map(row_of, sifted.told)) if sifted.told else None
            records.drop(*tally.take(part, sifted, unnamed))
            damaged, of_part = _damaged_of(part, files, table)
            tally.sizes += of_part
            if damaged:
                records.write(YET_DAMAGED, OF_BUCKETS + number, map(row_of_damaged, damaged))
            throttle.wait(max(part.walked, len(part.looks.present)) + len(part.looks.missing), until)
            counts = tally.round.audited, tally.round.missing, tally.round.unverifiable
            context.log.info("%d looked at, %d missing, %d unverifiable", *counts)
            if tally.round.audited >= config.max_tracks or time.monotonic() > until:
                upto = part.upto
                break
    found = tally.found(start.after_key, upto, Incomplete(len(uploads), untold), audit.proof)
    context.add_output_metadata(
        {
            "looked_at": found.round.audited,
            "missing": found.round.missing,
            "unverifiable": found.round.unverifiable,
            **asdict(found.unnamed),
            **asdict(found.uploads),
            "proof": str(found.proof),
            **refused(found.proof),
            "seconds": round(time.monotonic() - began, 3),
        }
    )
    return found


def _damaged_of(part: Part, files: Files, table: Table) -> tuple[list[Damaged], Compared]:
    """Those of the tracks of a stretch whose file may be damaged, by its listing."""

    def listed(track: Track) -> int | None:
        address = files.layout.resolve(track.file_path)
        return part.sizes.get(address) if isinstance(address, str) else None

    return compared(part.looks.present, table.sizes([track.id for track in part.looks.present]), listed)
