"""The files of Veza's tracks as an asset, and whether all is well with them: what an audit says."""

from collections.abc import Iterator

import dagster as dg

from veza_ops.audit.rules import Incomplete, Round
from veza_ops.audit.unnamed import Unnamed
from veza_ops.findings import TRACK_FILES, TRACKS, Finding, some_tracks

ASSET = dg.AssetSpec(
    TRACK_FILES,
    deps=[TRACKS],
    description="The files of Veza's tracks. Every audit observes them: how many of the playable tracks have theirs, "
    "and which files no track names.",
    group_name="veza",
    owners=["team:veza-ops"],
    kinds={"file"},
    tags={"domain": "tracks"},
)

NO_FILE_MISSING = dg.AssetCheckSpec(
    "no_file_missing", asset=TRACK_FILES, description="Every playable track that was looked at has its file."
)
NO_FILE_UNVERIFIABLE = dg.AssetCheckSpec(
    "no_file_unverifiable",
    asset=TRACK_FILES,
    description="For every playable track, somebody could look whether its file is there.",
)
NO_FILE_UNNAMED = dg.AssetCheckSpec(
    "no_file_unnamed",
    asset=TRACK_FILES,
    description="Every file in the storage is named by a track. Others take up disk, or belong to something else: "
    "nothing is ever removed.",
)
NO_UPLOAD_INCOMPLETE = dg.AssetCheckSpec(
    "no_upload_incomplete",
    asset=TRACK_FILES,
    description="No bucket keeps the parts of uploads that were begun more than a day ago and never completed: they "
    "are no objects, but cost as much.",
)
NO_FILE_DAMAGED = dg.AssetCheckSpec(
    "no_file_damaged",
    asset=TRACK_FILES,
    description="No playable track's file is empty, or smaller than the table says. Asked only where the table has the "
    "sizes of files (database.size_column).",
)
CHECKS = (NO_FILE_MISSING, NO_FILE_UNVERIFIABLE, NO_FILE_UNNAMED, NO_UPLOAD_INCOMPLETE, NO_FILE_DAMAGED)


def of_audit(so_far: Round, unnamed: Unnamed, uploads: Incomplete, unsure_since: str = "") -> Iterator[Finding]:
    """What an audit says of Veza's files; `unsure_since` says why nobody could tell of those that no track names."""
    scope = f"{some_tracks(so_far.audited)} looked at" + (
        "" if so_far.is_complete else ", the round goes on with the next run"
    )
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
    yield Finding(
        NO_FILE_DAMAGED,
        healthy=not (so_far.empty or so_far.truncated),
        says=f"{_of_sizes(so_far)}; {scope}.",
        numbers={"empty": so_far.empty, "truncated": so_far.truncated},
    )
    before, why = so_far.unnamed_before, f" ({unsure_since.rstrip('.')})" if unsure_since else ""
    limits = [
        *(["the walk stopped at its limit"] if unnamed.cut_short else []),
        *([f"{unnamed.unread_folders} folders or buckets couldn't be read"] if unnamed.unread_folders else []),
        *([f"{unnamed.unsure} more of which nobody could tell at the end{why}"] if unnamed.unsure else []),
        *([f"{before} more were found in buckets, or buckets not read, earlier in this round"] if before else []),
    ]
    left_out = [
        *([f"{unnamed.unnamed_young} more are too young to tell"] if unnamed.unnamed_young else []),
        *([f"{unnamed.unnamed_ignored} more are ignored"] if unnamed.unnamed_ignored else []),
    ]
    if unnamed.unnamed_unconfirmed:
        left_out.append(f"{unnamed.unnamed_unconfirmed} more got a track, changed or went, or may be meant by one")
    yield Finding(
        NO_FILE_UNNAMED,
        healthy=not unnamed.unnamed and not limits,
        says=f"{unnamed.unnamed or 'No'} files that no track names, {unnamed.unnamed_bytes} bytes in all; "
        f"{'; '.join([f'{unnamed.walked} looked up', *left_out, *limits])}.",
        certain=False,
        numbers={"unnamed": unnamed.unnamed, "unnamed_bytes": unnamed.unnamed_bytes},
    )
    number, untold = uploads.incomplete_uploads, uploads.uploads_untold
    yield Finding(
        NO_UPLOAD_INCOMPLETE,
        healthy=not number and not untold,
        says=f"{number or 'No'} uploads to buckets were begun more than a day ago and never completed."
        + (" Abort them, or have the bucket abort such uploads by a lifecycle rule." if number else "")
        + (f" There may be more: {untold}." if untold else ""),
        certain=False,
        numbers={"incomplete_uploads": number},
    )


def _of_sizes(so_far: Round) -> str:
    """What the sizes of files say of them."""
    damaged = so_far.empty + so_far.truncated
    if so_far.sizes_say_nothing:
        return (
            f"The sizes of {so_far.sizes_differing} of {so_far.sizes_known} files differ from the table's, so these "
            "are taken for the sizes of something else. Set database.size_column to the column that has those of "
            f"files, or to nothing. Only empty files are told of: {so_far.empty or 'none'}"
        )
    if not (so_far.sizes_known or damaged):
        return (
            "No sizes were compared, so nobody knows whether files are damaged: the table has none of the files that "
            "were seen (database.size_column)"
        )
    empty = f", {so_far.empty} of them empty" if damaged else ""
    return f"{damaged or 'No'} files are smaller than the table says{empty}"
