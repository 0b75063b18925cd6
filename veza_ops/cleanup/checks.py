"""Asking for the library's health at any time: the looks that a cleanup takes, with nothing written."""

from collections.abc import Iterator

import dagster as dg

from veza_ops.cleanup import rules
from veza_ops.cleanup.asset import CHECKS, NO_ORPHAN_LEFT, NOTHING_STUCK, NOTHING_UNVERIFIABLE, of_stale
from veza_ops.cleanup.config import FindConfig
from veza_ops.cleanup.ops import look_through, search
from veza_ops.cleanup.rules import Outcome
from veza_ops.errors import StorageNotProvenError
from veza_ops.findings import Finding, asked_for, of_proof, of_refusal, unanswered
from veza_ops.resources import Database, Storage
from veza_ops.steps import NOT_CONFIGURED, plain_failures
from veza_ops.witnesses import draw


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
    with plain_failures(context.op_execution_context):
        findings = list(_look(config, database, storage))
    yield from asked_for(context, findings)


def _look(config: FindConfig, database: Database, storage: Storage) -> Iterator[Finding]:
    if not database.is_configured:
        yield from unanswered(NOT_CONFIGURED, *CHECKS)
        return
    files = storage.files()
    with database.tracks(writable=False) as tracks:
        found = search(tracks, config, storage)
        sample = draw(tracks, files.layout, storage.sample_size)
    outcomes: list[Outcome] = []
    try:
        files.require_root()
        for stale in found.batches:
            checked = look_through(stale, database, storage)
            outcomes.append(rules.outcome(checked, dry_run=True))
        outcome = rules.total(outcomes)
        proof = outcome.proof | files.prove(sample, sample.areas).proof()
        (outcome.proof if found.batches else proof).require(files.layout)
    except StorageNotProvenError as error:
        yield of_refusal(error)
        yield from unanswered(
            "The storage is not proven, so no file was looked for.",
            *(NO_ORPHAN_LEFT, NOTHING_UNVERIFIABLE, NOTHING_STUCK),
        )
        return
    yield of_proof(proof)
    findings = list(of_stale(outcome, config.stuck_hours, found.unseen))
    yield from findings
    if all(each.check is not NOTHING_STUCK for each in findings):
        yield from unanswered("Not all of the storage is proven, so there may be some that nobody saw.", NOTHING_STUCK)
