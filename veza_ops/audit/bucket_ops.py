"""The step of the audit that compares buckets with the table, both ways."""

import time
from dataclasses import asdict
from datetime import UTC, timedelta

import dagster as dg
from pydantic import Field

from veza_ops.audit.buckets import Buckets, are_served, places_of, wanted_of
from veza_ops.audit.listing import begun_before
from veza_ops.audit.ops import MISSING, UNNAMED, UNVERIFIABLE, AuditConfig, last_round
from veza_ops.audit.rules import Incomplete, Round
from veza_ops.audit.tally import Bucketed, Tally
from veza_ops.evidence import entry
from veza_ops.looks import Learned, Looking
from veza_ops.resources import Database, EvidenceStore, Storage
from veza_ops.runs import Location
from veza_ops.steps import plain_failures, refused
from veza_ops.witnesses import draw

UPLOADS = "audit_uploads"
"""The kind of evidence that lists uploads which nobody has completed."""


class BucketsConfig(AuditConfig):
    """How far one run goes in buckets, and what is told of them."""

    buckets: list[str] = Field(
        default=[],
        description="s3://BUCKET or s3://BUCKET/PREFIX that hold nothing but tracks' files: only there, files that no "
        "track names are told of. Empty: in all that tracks, storage.root or storage.path_map name.",
    )
    upload_hours: float = Field(
        default=24, ge=0, le=87_600, description="Hours after which an upload that nobody has completed is told of."
    )


@dg.op(tags={"kind": "s3"})
def audit_buckets(
    context: dg.OpExecutionContext, config: BucketsConfig, database: Database, storage: Storage, evidence: EvidenceStore
) -> Bucketed:
    """Compare what buckets list with what tracks name, both ways, from where the last run ended."""
    if not database.is_configured or not are_served():
        return Bucketed()
    began, upto = time.monotonic(), ""
    until = began + config.max_minutes * 60
    start = Round() if config.start_over else last_round(context.instance, Location.of_run(context.run))
    with plain_failures(context):
        files, records = storage.files(), evidence.of_run(context.run_id, context.instance)
        wanted = wanted_of(config.buckets)
        with database.tracks(writable=False) as tracks:
            before = tracks.now().replace(tzinfo=UTC) - timedelta(hours=config.upload_hours)
            places = places_of(files.layout, tracks.buckets(), wanted)
            looking = Looking(files, Learned(draw(tracks, files.layout, storage.sample_size)), database.tracks)
        uploads, untold = begun_before(files, places, before, until)
        if uploads:
            records.write(UPLOADS, 0, ({"bucket": where, **each._asdict()} for where, each in uploads))
        audit = Buckets(looking, database.tracks, min(config.page_size, config.max_tracks), wanted)
        tally = Tally()
        is_over = bool(start.after) and not start.after_key  # in this round, they are done
        for number, part in enumerate(() if is_over else audit.parts(places, start.after_key)):
            for kind, judged in ((MISSING, part.looks.missing), (UNVERIFIABLE, part.looks.unverifiable)):
                if judged:
                    records.write(kind, number, map(entry, judged))
            unnamed = [{"path": file.path, "size": file.size} for file in part.unnamed]
            records.drop(*tally.take(part, records.write(UNNAMED, number, unnamed) if unnamed else None))
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
