"""How many tracks one run may mark failed: where more files are missing, somebody is to look first."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from veza_ops.cleanup.rules import Checked, StaleBatch, oldest
from veza_ops.errors import ConfigurationError, VezaOpsError
from veza_ops.tracks.row import Judged


class TooManyOrphansError(VezaOpsError):
    """More files are missing than one run may mark tracks failed for. Nothing was marked."""

    def __init__(self, missing: int, most: int, some: Sequence[Judged], now: str, batch: int | None = None) -> None:
        """Of a run as a whole, or of its `batch` alone, where others may have been marked."""
        which, so = f"a run mark {most} failed", "none was"
        if batch is not None:
            which, so = f"batch {batch} mark {most} failed", "none of it was, since more is missing than was counted"
        super().__init__(
            f"The files of {missing} tracks are missing, and mark_orphans_failed.max_orphans lets {which}: {so}. Look "
            "through the table orphans of this run; a dry run lists them all. If they are right, launch the job once "
            "with a higher max_orphans, or with 0, which is no limit."
        )
        self.missing, self.most = missing, most
        self.some = some
        """The oldest of them."""
        self.now = now


def shared_out(
    batches: Sequence[StaleBatch], most: int, check: Callable[[StaleBatch], Checked]
) -> Iterator[StaleBatch]:
    """`batches`, each with how many it may mark, so that all together are `most` at most.

    A single batch may mark them all. The files of several are looked for now: each may mark as many as are missing of
    it, and a share of what is left. Raises TooManyOrphansError.
    """
    if len(batches) == 1:
        yield replace(batches[0], most=most)
        return
    missing: list[int] = []
    some: tuple[Judged, ...] = ()
    for each in batches:
        checked = check(each)
        missing.append(len(checked.missing))
        some = oldest((*some, *checked.missing))
    if sum(missing) > most:
        raise TooManyOrphansError(sum(missing), most, some, batches[0].sweep.now)
    spare, further = divmod(most - sum(missing), len(batches) or 1)
    for number, (each, own) in enumerate(zip(batches, missing, strict=True)):
        yield replace(each, most=own + spare + (number < further), share_of=most)


def require_few(checked: Checked, most: int) -> None:
    """Raises TooManyOrphansError for a batch of which more is missing than it may mark.

    `most` is the limit of the step that is to mark it, which may be another than that of the search: a run can be
    executed anew from this step. 0: no limit. Raises ConfigurationError where the search had none, and counted nothing.
    """
    if not most:
        return
    if checked.most is None:
        raise ConfigurationError(
            f"mark_orphans_failed.max_orphans is {most}, and the search that this step goes by had no limit, so it "
            "counted nothing. Nothing was marked. Launch the job anew, with the search."
        )
    if most < checked.share_of:
        raise ConfigurationError(
            f"mark_orphans_failed.max_orphans is {most}, and the search that this step goes by shared out "
            f"{checked.share_of} among several batches. Nothing of this one was marked. Launch the job anew, with the "
            "search."
        )
    batch = checked.batch.number if checked.share_of else None
    most = checked.most if checked.share_of else most
    if len(checked.missing) > most:
        raise TooManyOrphansError(len(checked.missing), most, oldest(checked.missing), checked.sweep.now, batch)
