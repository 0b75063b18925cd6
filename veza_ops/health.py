"""Whether the library is healthy, in plain words: what a run's counts mean for the person who reads them."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from veza_ops.audit import Round, Unnamed
from veza_ops.cleanup import Outcome
from veza_ops.storage import Proof

NO_ORPHAN_LEFT = "no_orphan_left"
NOTHING_UNVERIFIABLE = "nothing_unverifiable"
STORAGE_PROVEN = "storage_proven"

NO_FILE_MISSING = "no_file_missing"
NO_FILE_UNVERIFIABLE = "no_file_unverifiable"
NO_FILE_UNNAMED = "no_file_unnamed"


@dataclass(frozen=True)
class Finding:
    """One question about the library, and the answer."""

    check: str
    healthy: bool
    says: str
    certain: bool = True
    """False for an answer that asks to be watched rather than acted on at once."""
    numbers: dict[str, int] = field(default_factory=dict)


def of_stale(outcome: Outcome) -> Iterator[Finding]:
    """What became of the stale tracks, or what a mere look at them came to."""
    yield _orphans(outcome)
    yield _unverifiable(outcome)


def of_cleanup(outcome: Outcome) -> Iterator[Finding]:
    """What a cleanup says of the library. A storage that it didn't need isn't judged."""
    yield from of_stale(outcome)
    if outcome.counts.stale:
        yield of_proof(outcome.proof)


def of_proof(proof: Proof) -> Finding:
    """What a proof that wasn't refused says."""
    words = str(proof)
    return Finding(
        STORAGE_PROVEN,
        healthy=proof.sampled > 0,
        says=f"{words[0].upper()}{words[1:]}.",
        certain=False,
        numbers={"sampled": proof.sampled, "seen": proof.seen},
    )


def of_refusal(reason: str) -> Finding:
    """What a proof that was refused says."""
    return Finding(STORAGE_PROVEN, healthy=False, says=reason)


def of_audit(so_far: Round, unnamed: Unnamed) -> Iterator[Finding]:
    """What an audit says of Veza's files."""
    scope = f"{_tracks(so_far.audited)} looked at" + (", the round goes on with the next run" if so_far.after else "")
    yield Finding(
        NO_FILE_MISSING,
        healthy=not so_far.missing,
        says=f"{so_far.missing or 'No'} playable tracks without their file; {scope}.",
        numbers={"missing": so_far.missing, "audited": so_far.audited},
    )
    yield Finding(
        NO_FILE_UNVERIFIABLE,
        healthy=not so_far.unverifiable,
        says=f"{so_far.unverifiable or 'No'} playable tracks whose file nobody could look for; {scope}.",
        certain=False,
        numbers={"unverifiable": so_far.unverifiable, "audited": so_far.audited},
    )
    limits = [
        *(["the walk stopped at its limit"] if unnamed.cut_short else []),
        *([f"{unnamed.unread_folders} folders couldn't be read"] if unnamed.unread_folders else []),
    ]
    yield Finding(
        NO_FILE_UNNAMED,
        healthy=not unnamed.unnamed and not limits,
        says=f"{unnamed.unnamed or 'No'} files that no track names, {unnamed.unnamed_bytes} bytes in all; "
        f"{'; '.join([f'{unnamed.walked} looked up', *limits])}.",
        certain=False,
        numbers={"unnamed": unnamed.unnamed, "unnamed_bytes": unnamed.unnamed_bytes},
    )


def unanswered(reason: str, *checks: str) -> Iterator[Finding]:
    """Questions left open for `reason`: nobody may take them for a yes."""
    return (Finding(check, healthy=False, says=reason, certain=False) for check in checks)


def _orphans(outcome: Outcome) -> Finding:
    marked = outcome.counts.marked_failed
    left = outcome.counts.missing - marked
    if left and outcome.dry_run:
        says = f"{_tracks(left)} without a file, only looked for. The next cleanup marks them failed."
    elif left:
        says = f"{_tracks(left)} without a file were changed or locked by somebody else. The next cleanup looks again."
    else:
        says = (
            f"No orphan is left: {_tracks(marked)} marked failed." if marked else "No orphan is left; there was none."
        )
    return Finding(NO_ORPHAN_LEFT, healthy=not left, says=says, certain=False, numbers={"left": left})


def _unverifiable(outcome: Outcome) -> Finding:
    number = outcome.counts.unverifiable
    if number:
        says = f"{_tracks(number)} left alone, since nobody could look whether the file is there: see the run."
    else:
        says = "Every stale track's file could be looked for."
    return Finding(NOTHING_UNVERIFIABLE, healthy=not number, says=says, certain=False, numbers={"unverifiable": number})


def _tracks(number: int) -> str:
    return "1 track" if number == 1 else f"{number} tracks"
