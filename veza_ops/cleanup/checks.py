"""Asking for the library's health at any time: the looks that a cleanup takes, with nothing written."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace

import dagster as dg

from veza_ops.cleanup import rules
from veza_ops.cleanup.asset import CHECKS, NO_ORPHAN_LEFT, NOTHING_STUCK, NOTHING_UNVERIFIABLE, may_be_stuck, of_stale
from veza_ops.cleanup.config import SETTLE_SECONDS, FindConfig
from veza_ops.cleanup.ops import look_through, search
from veza_ops.cleanup.rules import Checked
from veza_ops.cleanup.stuck import may_grow
from veza_ops.errors import StorageNotProvenError
from veza_ops.findings import Finding, asked_for, of_proof, of_refusal, unanswered
from veza_ops.resources import Database, Storage
from veza_ops.steps import NOT_CONFIGURED, plain_failures
from veza_ops.storage.files import Files
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
    try:
        files.require_root()
        looks = _settled(files, (look_through(each, database, storage) for each in found.batches))
        outcome = rules.total(rules.outcome(each, dry_run=True) for each in looks)
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
    assert found.sweep is not None
    findings = list(of_stale(outcome, found.sweep, files.layout, found.unseen))
    yield from findings
    if all(each.check is not NOTHING_STUCK for each in findings):
        yield from unanswered(may_be_stuck(outcome, found.sweep, files.layout), NOTHING_STUCK)


def _settled(files: Files, looks: Iterable[Checked]) -> Iterator[Checked]:
    """`looks`, of which those that may take a file that grows for one that is stuck are measured again, after a while.

    What they have of such files comes by itself, last of all, so that all of them wait once.
    """
    growing: list[Checked] = []
    for each in looks:
        if may_grow(each.held, each.sweep.stuck, each.sweep.age_seconds):
            growing.append(replace(each, missing=(), unverifiable=()))
            yield replace(each, held=())
        else:
            yield each
    if growing:
        time.sleep(SETTLE_SECONDS)
    for each in growing:
        yield rules.measured_again(files, each)
