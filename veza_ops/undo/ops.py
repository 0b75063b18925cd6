"""The steps of the undo: find what cleanups marked, and put back what has its file."""

import time
from collections.abc import Iterator
from dataclasses import asdict

import dagster as dg
from pydantic import Field

from veza_ops.looks import LISTED, Learned, Looking
from veza_ops.recording import RESTORE, Recorder
from veza_ops.resources import Database, EvidenceStore, Storage
from veza_ops.steps import (
    NOT_CONFIGURED,
    StepConfig,
    is_dry,
    plain_failures,
    refused,
    require_wanted,
    seconds_since_start,
    table,
)
from veza_ops.tracks.row import Judged, Place, Written
from veza_ops.undo.rules import (
    MarkedBatch,
    UndoCounts,
    Undone,
    batches_of_run,
    find_marked,
    of_regular_files,
    restore,
)
from veza_ops.witnesses import draw


class FindMarkedConfig(StepConfig):
    """Which marked tracks are looked at."""

    run_id: str = Field(
        default="",
        description="Run whose marks are undone, and no others. Empty: every track that carries the cleanup's message.",
    )
    batch_size: int = Field(default=20_000, ge=1, le=100_000, description="Tracks in one batch.")


class RestoreConfig(StepConfig):
    """Whether anything is written."""

    dry_run: bool = Field(default=True, description="Only say what would be restored. Set to false to restore.")


@dg.op(out=dg.DynamicOut(MarkedBatch), tags={"kind": "postgres"})
def find_marked_tracks(
    context: dg.OpExecutionContext,
    config: FindMarkedConfig,
    database: Database,
    storage: Storage,
    evidence: EvidenceStore,
) -> Iterator[dg.DynamicOutput[MarkedBatch]]:
    """Find the tracks that a cleanup marked failed: those of one run by its evidence, or all by their message."""
    if not database.is_configured:
        context.log.info(NOT_CONFIGURED)
        return
    with plain_failures(context):
        with database.tracks() as tracks:
            now, table = str(tracks.now()), tracks.identity
            sample = draw(tracks, storage.files().layout, storage.sample_size)
            found = [] if config.run_id else tracks.batches(tracks.marked(), size=config.batch_size)
        if config.run_id:
            records = evidence.of_run(config.run_id, context.instance)
            batches = batches_of_run(records, table, now, sample)
        else:
            batches = [MarkedBatch(batch.number, now, keyset=batch, sample=sample) for batch in found]
    for batch in batches:
        yield dg.DynamicOutput(batch, mapping_key=f"{batch.number:05}")


@dg.op(tags={"kind": "postgres"})
def restore_tracks(
    context: dg.OpExecutionContext,
    marked: MarkedBatch,
    config: RestoreConfig,
    database: Database,
    storage: Storage,
    evidence: EvidenceStore,
) -> Undone:
    """Put the tracks of the batch back to processing whose file is there and that still are as they were left."""
    began = time.monotonic()
    written = Written()
    earlier: set[Place] = set()
    with plain_failures(context):
        files = storage.files()
        records = evidence.of_run(context.run_id, context.instance)
        recorder = Recorder(records, marked.number, database.tracks, lambda: require_wanted(context))
        if not config.dry_run:
            earlier = {track.place for track in recorder.done_earlier(RESTORE)}
        found = find_marked(marked, evidence.of_run(marked.run_id, context.instance), database.tracks)
        looks = of_regular_files(Looking(files, Learned(marked.sample), database.tracks).at(found.tracks), files)
        if looks.present and not config.dry_run:
            written = restore(looks.present, found.messages, recorder)
    counts = UndoCounts.of(looks, changed=len({*found.changed} - earlier))
    if not config.dry_run:
        counts = counts.with_writes(written, len(earlier))
    if found.damaged:
        context.log.warning("%d lines of evidence are damaged or of another table, and were left out", found.damaged)
    places = {change.place for change in written.changes}
    shown = [track for track in looks.present if config.dry_run or track.place in places][:LISTED]
    listed = [Judged(track, "its file is there") for track in shown]
    context.add_output_metadata(
        {
            **asdict(counts),
            "proof": str(looks.proof),
            "seconds": round(time.monotonic() - began, 3),
            **({"damaged_lines": found.damaged} if found.damaged else {}),
            **({"tracks": table(listed, marked.now)} if listed else {}),
            **({"refused_tracks": table(written.refused[:LISTED], marked.now)} if written.refused else {}),
        }
    )
    return Undone(counts, looks.proof, found.damaged)


@dg.op(tags={"kind": "dagster"})
def report_restore(context: dg.OpExecutionContext, batches: list[Undone], storage: Storage) -> dict[str, int]:
    """Add up what became of all batches. The output is the run's counts.

    When no file was there and nothing proved the storage, the run fails: it looked in the wrong place.
    """
    undone = sum(batches, Undone())
    counts = asdict(undone.counts)
    dry_run = is_dry(context, restore_tracks)
    if undone.counts.unverifiable and not undone.counts.present:
        with plain_failures(context):
            undone.proof.require(storage.files().layout)
    context.add_output_metadata(
        counts
        | {"dry_run": dry_run, "damaged_lines": undone.damaged}
        | {**refused(undone.proof), "seconds": seconds_since_start(context)}
    )
    if dry_run:
        context.log.info("dry run: %d tracks would be restored, and nothing was changed", undone.counts.present)
    else:
        context.log.info(", ".join(f"{name} %d" for name in counts), *counts.values())
    return counts
