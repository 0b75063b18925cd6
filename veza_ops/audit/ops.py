"""The steps of the audit, and what they tell the web UI. They read, and write nothing but evidence."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import count, islice
from typing import Any, TypeVar

import dagster as dg
from pydantic import Field

from veza_ops.audit.asset import of_audit
from veza_ops.audit.buckets import are_served, elsewhere
from veza_ops.audit.rules import Incomplete, Round, Unnamed, look_at, unnamed_of
from veza_ops.audit.tally import Bucketed
from veza_ops.evidence import entry
from veza_ops.findings import TRACK_FILES, of_proof, report
from veza_ops.looks import LISTED, Learned, Looking, Looks
from veza_ops.resources import Database, EvidenceStore, Storage
from veza_ops.runs import Location, told_by_ours
from veza_ops.steps import NOT_CONFIGURED, StepConfig, full_lists, plain_failures, refused, seconds_since_start, table
from veza_ops.storage.look import S3
from veza_ops.storage.proof import Proof
from veza_ops.storage.walk import CUT
from veza_ops.tracks.row import Judged, Track
from veza_ops.witnesses import draw

Counts = TypeVar("Counts", Round, Unnamed, Incomplete)

MISSING, UNVERIFIABLE, UNNAMED = "audit_missing", "audit_unverifiable", "audit_unnamed"
"""The kinds of an audit's evidence."""


class AuditConfig(StepConfig):
    """How far one run goes; the next goes on from there."""

    max_tracks: int = Field(default=10_000_000, ge=1, description="Tracks looked at in this run, at most.")
    max_minutes: float = Field(
        default=60, gt=0, le=1440, description="Minutes after which this run looks at no more tracks."
    )
    page_size: int = Field(default=10_000, ge=1, le=100_000, description="Tracks that are read and looked at together.")
    start_over: bool = Field(default=False, description="Begin with the first track, wherever the last run ended.")


class WalkConfig(StepConfig):
    """Which files are looked up."""

    folders: list[str] = Field(
        default=["."], description="Folders of the storage root that hold nothing but tracks' files, relative to it."
    )
    max_files: int = Field(
        default=1_000_000, ge=0, description="Files looked up in this run, at most. 0: no files are walked."
    )
    page_size: int = Field(default=20_000, ge=1, le=100_000, description="Files that are looked up together.")


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


def last_audit(instance: dg.DagsterInstance, here: Location) -> tuple[Round, Unnamed, Incomplete] | None:
    """What the last audit of the code location `here` told the asset, if there was one."""
    for told in told_by_ours(instance, TRACK_FILES, here):
        so_far, unnamed = _counts(Round, {**told, "after_key": _after_key(told)}), _counts(Unnamed, told)
        if so_far and unnamed and so_far.audited == so_far.present + so_far.missing + so_far.unverifiable:
            return so_far, unnamed, _counts(Incomplete, told) or Incomplete(0, "the last audit didn't ask for them")
    return None


def _after_key(told: Mapping[str, Any]) -> str:
    """The place in buckets that was `told`; the first of all, in a round that was begun when none was told."""
    after = told.get("after_key")
    if isinstance(after, str) and (not after or after.startswith(S3)):
        return after
    return S3 if told.get("after") else ""


def last_round(instance: dg.DagsterInstance, here: Location) -> Round:
    """The round that the last run left unfinished, or a new one."""
    last = last_audit(instance, here)
    return last[0] if last and not last[0].is_complete else Round()


def _counts(kind: type[Counts], told: Mapping[str, Any]) -> Counts | None:
    """What was `told`, if it has all that belongs to `kind`: no count is negative, and nothing of another type."""
    values: dict[str, Any] = {each.name: told.get(each.name) for each in fields(kind)}
    for each in fields(kind):
        value = values[each.name]
        if type(value) is not each.type or (type(value) is int and value < 0):
            return None
    return kind(**values)


@dg.op(tags={"kind": "filesystem"})
def audit_files(
    context: dg.OpExecutionContext, config: AuditConfig, database: Database, storage: Storage, evidence: EvidenceStore
) -> Audited:
    """Look for the file of each playable track that isn't in a bucket, page by page, from where the last run ended."""
    if not database.is_configured:
        context.log.info(NOT_CONFIGURED)
        return Audited()
    began = time.monotonic()
    with plain_failures(context):
        files, records = storage.files(), evidence.of_run(context.run_id, context.instance)
    so_far = start = Round() if config.start_over else last_round(context.instance, Location.of_run(context.run))
    missing: list[Judged] = []
    unverifiable: list[Judged] = []
    proof = Proof(0, 0)
    with plain_failures(context):
        with database.tracks(writable=False) as tracks:
            now = str(tracks.now())
            looking = Looking(files, Learned(draw(tracks, files.layout, storage.sample_size)), database.tracks)
        if start.after_key and not start.after:
            return Audited(start, now)  # in this round, all of these are done
        sample = looking.learned.sample
        alone = not any(area.bucket for area in (*sample.areas, *sample.some))  # or what is in buckets may be proven

        def read_again(ids: list[str]) -> list[Track]:
            with database.tracks() as tracks:
                return tracks.of_ids(tracks.playable(), ids)

        for number in count():
            size = min(config.page_size, config.max_tracks - number * config.page_size)
            with database.tracks() as tracks:
                rows = tracks.page(tracks.playable(), after=so_far.after or None, size=size)
            own = elsewhere(files.layout, rows) if are_served() else rows
            looks = look_at(looking, own, read_again) if own or not rows else Looks([], (), ())
            proof |= looks.proof
            if looks.proof.whole and alone:
                proof.require(files.layout)
            kinds = (MISSING, looks.missing, missing), (UNVERIFIABLE, looks.unverifiable, unverifiable)
            for kind, judged, listed in kinds:
                if judged:
                    records.write(kind, number, map(entry, judged))
                    listed.extend(judged[: LISTED - len(listed)])
            so_far = so_far.with_page(looks, rows[-1].id if len(rows) == size else "")
            counts = so_far.audited, so_far.missing, so_far.unverifiable
            context.log.info("%d looked at, %d missing, %d unverifiable", *counts)
            is_enough = (number + 1) * config.page_size >= config.max_tracks
            if not so_far.after or is_enough or time.monotonic() - began > config.max_minutes * 60:
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


@dg.op(tags={"kind": "filesystem"})
def find_unnamed_files(
    context: dg.OpExecutionContext, config: WalkConfig, database: Database, storage: Storage, evidence: EvidenceStore
) -> Unnamed:
    """Walk through the storage, and count the files that no track names, whatever its state."""
    if not database.is_configured:
        return Unnamed()
    began = time.monotonic()
    with plain_failures(context):
        files, records = storage.files(), evidence.of_run(context.run_id, context.instance)
    found = Unnamed()
    with plain_failures(context):
        with database.tracks(writable=False) as tracks:
            sample = draw(tracks, files.layout, storage.sample_size)
        files.prove(sample, sample.areas).proof().require(files.layout)

        def named(file_paths: list[str]) -> set[str]:
            with database.tracks() as tracks:
                return tracks.named(file_paths)

        walk = files.walk(config.folders)
        for number in count():
            stored = list(islice(walk, min(config.page_size, config.max_files - found.walked)))
            if not stored:
                break
            unread = [file for file in stored if file.unread]
            unnamed = unnamed_of(files, [file for file in stored if not file.unread], named)
            if unnamed:
                records.write(UNNAMED, number, ({"path": file.path, "size": file.size} for file in unnamed))
            found = found.with_files(len(stored), unnamed, len(unread))
            found = replace(found, cut_short=found.cut_short or any(file.unread == CUT for file in unread))
        found = replace(found, cut_short=found.cut_short or next(walk, None) is not None)
    context.log.info("%d files walked, %d of them named by no track", found.walked, found.unnamed)
    context.add_output_metadata(asdict(found) | {"seconds": round(time.monotonic() - began, 3)})
    return found


@dg.op(tags={"kind": "dagster"})
def report_audit(
    context: dg.OpExecutionContext,
    audited: Audited,
    walked: Unnamed,
    buckets: Bucketed,
    storage: Storage,
    evidence: EvidenceStore,
) -> dict[str, Any]:
    """Tell the asset of Veza's files what the audit came to. The output is the round's counts."""
    both, unnamed, proof = audited.round.and_buckets(buckets.round), walked + buckets.unnamed, audited.proof
    so_far = asdict(both)
    if not audited.now:
        context.add_output_metadata({"note": NOT_CONFIGURED})
        return so_far
    tables = {
        name: table(rows, audited.now)
        for name, rows in (
            ("missing_files", (*audited.missing, *buckets.missing)[:LISTED]),
            ("unverifiable_files", (*audited.unverifiable, *buckets.unverifiable)[:LISTED]),
        )
        if rows
    }
    with plain_failures(context):
        proof |= buckets.proof
        proof.require(storage.files().layout)
        records = evidence.of_run(context.run_id, context.instance)
    metadata = {
        **so_far,
        **asdict(unnamed),
        **asdict(buckets.uploads),
        "proof": str(proof),
        **refused(proof),
        **full_lists(records),
        "seconds": seconds_since_start(context),
        **tables,
    }
    context.add_output_metadata(metadata)
    context.log_event(dg.AssetObservation(TRACK_FILES, metadata=metadata))
    for finding in (of_proof(proof), *of_audit(both, unnamed, buckets.uploads)):
        report(context, finding)
    return so_far
