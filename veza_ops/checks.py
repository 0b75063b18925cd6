"""Asking for the library's health at any time: the looks that a cleanup takes, with nothing written."""

from collections.abc import Iterable, Iterator
from datetime import timedelta

import dagster as dg

from veza_ops import cleanup
from veza_ops.assets import AUDIT_CHECKS, CHECKS, result
from veza_ops.audit_ops import last_audit
from veza_ops.cleanup import Outcome
from veza_ops.errors import StorageNotProvenError
from veza_ops.health import (
    NO_ORPHAN_LEFT,
    NOTHING_UNVERIFIABLE,
    STORAGE_PROVEN,
    Finding,
    of_audit,
    of_proof,
    of_refusal,
    of_stale,
    unanswered,
)
from veza_ops.ops import NOT_CONFIGURED, FindConfig, plain_failures
from veza_ops.resources import Database, Storage


@dg.multi_asset_check(
    name="library_health",
    specs=CHECKS,
    can_subset=True,  # or the web UI doesn't let anybody execute them
    description="Prove the storage and look for every stale track's file, as a cleanup does. Nothing is changed.",
)
def library_health(
    context: dg.AssetCheckExecutionContext, config: FindConfig, database: Database, storage: Storage
) -> Iterator[dg.AssetCheckResult]:
    """Answer every check of the tracks asset by a look of its own."""
    with plain_failures():
        findings = list(_look(config, database, storage))
    yield from _asked_for(context, findings)


def _look(config: FindConfig, database: Database, storage: Storage) -> Iterator[Finding]:
    if not database.is_configured:
        yield from unanswered(NOT_CONFIGURED, NO_ORPHAN_LEFT, NOTHING_UNVERIFIABLE, STORAGE_PROVEN)
        return
    files = storage.files()
    with database.begin() as connection:
        tracks = database.tracks(connection, writable=False)
        found = cleanup.find_stale(
            connection,
            tracks,
            threshold=timedelta(minutes=config.age_threshold_minutes),
            batch_size=config.batch_size,
            sample_size=storage.sample_size,
        )
        sample = tracks.newest_playable(connection, storage.sample_size)
    outcomes: list[Outcome] = []
    try:
        proof = files.prove(sample)
        for stale in found.batches:
            with database.begin() as connection:
                rows = tracks.read(connection, tracks.stale(stale.sweep.cutoff), stale.batch)
            checked = cleanup.check(files, stale.sweep, stale.batch, rows)
            outcomes.append(cleanup.outcome(checked, marked=(), dry_run=True))
    except StorageNotProvenError as error:
        yield of_refusal(str(error))
        yield from unanswered(
            "The storage is not proven, so no file was looked for.", NO_ORPHAN_LEFT, NOTHING_UNVERIFIABLE
        )
        return
    yield of_proof(proof)
    yield from of_stale(cleanup.total(outcomes))


@dg.multi_asset_check(
    name="files_health",
    specs=AUDIT_CHECKS,
    can_subset=True,
    description="What the last audit found. To look anew, launch audit_track_files.",
)
def files_health(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
    """Answer every check of the files by what was last told of them."""
    last = last_audit(context.instance)
    none = unanswered("There was no audit yet: launch audit_track_files.", *(check.name for check in AUDIT_CHECKS))
    yield from _asked_for(context, of_audit(*last) if last else none)


def _asked_for(context: dg.AssetCheckExecutionContext, findings: Iterable[Finding]) -> Iterator[dg.AssetCheckResult]:
    names = {key.name for key in context.selected_asset_check_keys}
    return (result(finding) for finding in findings if finding.check in names)
