"""The steps of the cleanup: read the config, call one rule, attach what an operator wants to know."""

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from veza_ops.cleanup import page, rules
from veza_ops.cleanup.asset import STUCK_TABLE, of_cleanup, of_too_many
from veza_ops.cleanup.config import FindConfig, MarkConfig
from veza_ops.cleanup.handed import Handed
from veza_ops.cleanup.limit import TooManyOrphansError, require_few, shared_out
from veza_ops.cleanup.lists import earlier_lists, keep_once
from veza_ops.cleanup.marking import Marking
from veza_ops.cleanup.page import failures_told
from veza_ops.cleanup.rules import Checked, Found, Outcome, StaleBatch
from veza_ops.cleanup.stuck import Stuck
from veza_ops.errors import ConfigurationError, VezaOpsError
from veza_ops.findings import MAX_ORPHANS, TRACKS, report
from veza_ops.heartbeat import beat
from veza_ops.recording import Recorder
from veza_ops.resources import Alerts, Database, EvidenceStore, Storage
from veza_ops.runs import WRONG_SETTING
from veza_ops.steps import (
    NOT_CONFIGURED,
    config_of,
    full_lists,
    is_dry,
    refused,
    require_wanted,
    seconds_since_start,
    table,
    table_of,
)
from veza_ops.text import in_utc, shown
from veza_ops.tracks.row import age_hours
from veza_ops.witnesses import draw

if TYPE_CHECKING:  # loads SQLAlchemy
    from veza_ops.tracks.table import Tracks


def search(tracks: "Tracks", config: FindConfig, storage: Storage) -> Found:
    """Find the stale rows, with what the config and the resource say."""
    threshold = timedelta(minutes=config.age_threshold_minutes)
    return rules.find_stale(
        tracks,
        storage.files().layout,
        threshold=threshold,
        batch_size=config.batch_size,
        sample_size=storage.sample_size,
        quiet=timedelta(minutes=config.quiet_minutes),
        stuck=timedelta(hours=config.stuck_hours),
    )


def look_through(stale: StaleBatch, database: Database, storage: Storage) -> Checked:
    """Read the rows of a batch, and look for their files."""
    with database.tracks() as tracks:
        rows = tracks.read(stale.sweep.stale(tracks), stale.batch)
    checked = rules.check(storage.files(), stale.sweep, stale.batch, rows, database.tracks, database.drawn)
    return replace(checked, most=stale.most, share_of=stale.share_of)


@contextmanager
def _told_of_too_many(context: dg.OpExecutionContext) -> Iterator[None]:
    """Fail the step where more files are missing than may be, with a table of them, and tell the tracks asset."""
    try:
        yield
    except TooManyOrphansError as error:
        report(context, of_too_many(error))
        metadata: dict[str, Any] = {"missing": error.missing, MAX_ORPHANS: error.most}
        orphans = table(error.some, error.now)
        raise dg.Failure(str(error), metadata | {"orphans": orphans}, allow_retries=False) from None


@dg.op(out={"found": dg.Out(Found), "batches": dg.DynamicOut(StaleBatch)}, tags={"kind": "postgres"})
def find_stale_tracks(
    context: dg.OpExecutionContext,
    config: FindConfig,
    database: Database,
    storage: Storage,
    evidence: EvidenceStore,
) -> Iterator[dg.Output[Found] | dg.DynamicOutput[StaleBatch]]:
    """Find the tracks that have been in processing for too long, and lay them out in batches.

    The cutoff is taken once, from the database's clock. Nothing is locked.
    """
    if not database.is_configured:
        context.log.info(NOT_CONFIGURED)
        yield dg.Output(Found(None), "found", metadata={"stale": 0, "note": NOT_CONFIGURED})
        return
    began = time.monotonic()
    with failures_told(context, evidence, mark_orphans_failed):
        _require_right_settings(context)
        storage.files().require_root()
        evidence.require()
        with database.tracks() as tracks:
            found = search(tracks, config, storage)
        if most := _limit(context):
            with _told_of_too_many(context):
                some = shared_out(found.batches, most, lambda each: _counted(context, each, database, storage))
                found = replace(found, batches=tuple(some))
    sweep = found.sweep
    assert sweep is not None
    if found.advice:
        context.log.warning("This run has to read the whole table. An index spares it: %s;", "; ".join(found.advice))
    if found.unseen:
        context.log.warning(found.unseen)
    context.log.info("%d stale tracks, created before %s UTC", found.stale, sweep.cutoff)
    yield dg.Output(
        found,
        "found",
        metadata={
            "stale": found.stale,
            "batches": len(found.batches),
            "cutoff": f"{sweep.cutoff} UTC",
            "sample": len(sweep.sample.whole),
            "seconds": round(time.monotonic() - began, 3),
            **({"index_advice": "; ".join(found.advice)} if found.advice else {}),
            **({"row_security": found.unseen} if found.unseen else {}),
        },
    )
    for each in found.batches:
        yield dg.DynamicOutput(
            each, output_name="batches", mapping_key=f"{each.batch.number:05}", metadata={"rows": each.batch.rows}
        )


def _require_right_settings(context: dg.OpExecutionContext) -> None:
    """Raises ConfigurationError if a variable was set wrong where the run was created, or is in this very process."""
    if wrong := context.job_def.tags.get(WRONG_SETTING):
        raise ConfigurationError(wrong)
    if wrong := context.run.tags.get(WRONG_SETTING):
        raise ConfigurationError(f"{wrong} The run was created while that was so: launch a new one.")


def _counted(context: dg.OpExecutionContext, stale: StaleBatch, database: Database, storage: Storage) -> Checked:
    """The looks at one of several batches, before any of them is marked; not if the run was ended meanwhile."""
    require_wanted(context)
    return look_through(stale, database, storage)


def _limit(context: dg.OpExecutionContext) -> int:
    """How many tracks the run may mark failed, as its writing step says; 0 for any number."""
    config = config_of(context, mark_orphans_failed)
    return 0 if config.get("dry_run") else config.get("max_orphans", 0)


def say_what_is_asked_singly(context: dg.OpExecutionContext, folders: Iterable[str]) -> dict[str, str]:
    """Warn of folders that aren't read, if there are any; what their step has to say of them."""
    if not (names := ", ".join(sorted(map(shown, folders)))):
        return {}
    context.log.warning("Too large or too slow to be read, and asked for single names: %s", names)
    return {"asked_singly": names}


@dg.op(tags={"kind": "filesystem"})
def check_files(
    context: dg.OpExecutionContext, stale: StaleBatch, database: Database, storage: Storage, evidence: EvidenceStore
) -> Handed:
    """Prove the storage, then look for the file of each track of the batch."""
    began = time.monotonic()
    with failures_told(context, evidence, mark_orphans_failed, stale.sweep.now):
        checked = look_through(stale, database, storage)
    said = {
        "present": len(checked.held),
        "missing": len(checked.missing),
        "unverifiable": len(checked.unverifiable),
        "proof": str(checked.proof),
    }
    context.log.info("%d present, %d missing, %d unverifiable; %s", *said.values())
    said |= say_what_is_asked_singly(context, checked.learned.singly)
    context.add_output_metadata(said | {"seconds": round(time.monotonic() - began, 3)})
    return Handed.of(checked)


@dg.op(tags={"kind": "postgres"})
def mark_orphans_failed(
    context: dg.OpExecutionContext,
    handed: Handed,
    config: MarkConfig,
    database: Database,
    storage: Storage,
    evidence: EvidenceStore,
) -> Outcome:
    """Look for each missing file once more, and mark the tracks failed that still are as they were read.

    Each part of the batch is one transaction; what it is to change is written down before, what it changed after.
    """
    began = time.monotonic()
    now = handed.checked.sweep.now
    with failures_told(context, evidence, mark_orphans_failed, now), _told_of_too_many(context):
        _require_right_settings(context)
        checked = handed.taken()
        require_few(checked, 0 if config.dry_run else config.max_orphans)
        records = evidence.of_run(context.run_id, context.instance)
        recorder = Recorder(records, checked.batch.number, database.tracks, lambda: require_wanted(context))
        time.sleep(rules.seconds_to_settle(checked, timedelta(seconds=config.settle_seconds), database.tracks))
        known = checked.learned.singly.copy()
        outcome = rules.total(Marking(storage.files(), recorder, config.dry_run).batch(checked))
    counts = outcome.counts
    if config.dry_run:
        context.log.info("dry run: %d would be marked failed", counts.missing)
    else:
        context.log.info("%d marked failed, %d raced, %d refused", counts.marked_failed, counts.raced, counts.refused)
    context.add_output_metadata(
        {
            **asdict(counts),
            **full_lists(records),
            **say_what_is_asked_singly(context, checked.learned.singly - known),
            "proof": str(outcome.proof),
            "seconds": round(time.monotonic() - began, 3),
        }
    )
    return outcome


@dg.op(tags={"kind": "dagster"})
def report_cleanup(
    context: dg.OpExecutionContext,
    found: Found,
    outcomes: list[Outcome],
    database: Database,
    storage: Storage,
    evidence: EvidenceStore,
    alerts: Alerts,
) -> dict[str, int]:
    """Add up what became of all batches, and tell the tracks asset: its counts, and whether it is healthy.

    The output is the run's counts. When nothing at all proved the storage, the run fails.
    """
    outcome = rules.total(outcomes)
    now = found.sweep.now if found.sweep else ""
    with failures_told(context, evidence, mark_orphans_failed, now):
        outcome.proof.require(storage.files().layout)
    counts = asdict(outcome.counts)
    context.log.info(", ".join(f"{name} %d" for name in counts), *counts.values())
    if found.sweep is None:
        context.add_output_metadata(counts | {"note": NOT_CONFIGURED})
        return counts
    with failures_told(context, evidence, mark_orphans_failed, now):
        records = evidence.of_run(context.run_id, context.instance)
        undoable = context.run if outcome.counts.marked_failed and page.has_marked(records) else None
        earlier = page.told_before(context)
        kept = keep_once(records, outcome.digest, earlier_lists(each.told for each in earlier))
    findings = list(of_cleanup(outcome, found.sweep, storage.files().layout, found.unseen))
    dry_run = is_dry(context, mark_orphans_failed)
    metadata = {
        **({} if dry_run else page.of_cleanup(undoable, findings, outcome.counts, earlier, now)),
        **counts,
        "stuck": outcome.standing.stuck,
        "dry_run": dry_run,
        **_story(found, outcome),
        **full_lists(records),
        **kept.told,
        "seconds": seconds_since_start(context),
    }
    context.add_output_metadata(metadata)
    context.log_event(dg.AssetObservation(TRACKS, metadata=metadata))
    for finding in findings:
        report(context, finding)
    if alerts.heartbeat_url.strip() and not dry_run:
        _show_life(context, outcome, database, storage, alerts.heartbeat_url.strip())
    return counts


def _show_life(
    context: dg.OpExecutionContext, outcome: Outcome, database: Database, storage: Storage, url: str
) -> None:
    """Send the heartbeat if the storage is proven, also where it has no stale tracks."""
    try:
        files = storage.files()
        with database.tracks(writable=False) as tracks:
            sample = draw(tracks, files.layout, storage.sample_size)
        now = files.prove(sample, sample.areas).proof()
    except Exception as error:  # noqa: BLE001 - a mere sign of life ends no run
        why = shown(str(error)) if isinstance(error, VezaOpsError) else type(error).__name__
        context.log.warning("No heartbeat, since the storage couldn't be proven: %s", why)
        return
    proof = outcome.proof | now
    if proof.refused or now.whole:
        context.log.warning("No heartbeat: %s", proof if proof.refused else now.whole)
    elif refusal := beat(url):
        context.log.warning("The heartbeat wasn't taken: %s", refusal)
    else:
        context.log.info("The heartbeat was taken.")


def _as_shown(held: Stuck, now: str) -> dict[str, Any]:
    """A track that has its file, as a page shows it."""
    age, measure = age_hours(held.created_at, now), held.measure
    return {
        "id": held.id,
        "file_path": held.file_path or "",
        "age_hours": round(age, 1) if age < math.inf else "infinite",
        "state": str(held.state),
        "size": measure.size if measure else "unknown",
        "last_written": in_utc(measure.modified) if measure else "unknown",
    }


def _story(found: Found, outcome: Outcome) -> dict[str, Any]:
    """What an operator wants to know of a whole run, beside its counts."""
    now = found.sweep.now if found.sweep else ""
    ages = {
        f"{which}_age_hours": round(age, 2)
        for which, created_at in (
            ("oldest_orphan", outcome.oldest_orphan),
            ("newest_orphan", outcome.newest_orphan),
            ("oldest_present", next((each.created_at for each in outcome.standing.oldest), None)),
        )
        if created_at and (age := age_hours(created_at, now)) < math.inf
    }
    listed = {
        "orphans": outcome.orphans,
        "unverifiable_tracks": outcome.unverifiable,
        "refused_tracks": outcome.refused,
    }
    tables = {name: table(rows, now) for name, rows in listed.items() if rows}
    if outcome.standing.oldest:
        tables[STUCK_TABLE] = table_of([_as_shown(each, now) for each in outcome.standing.oldest])
    return {
        "proof": str(outcome.proof) if outcome.counts.stale else "storage not needed: nothing to look for",
        **refused(outcome.proof),
        **({"row_security": found.unseen} if found.unseen else {}),
        **ages,
        **tables,
    }
