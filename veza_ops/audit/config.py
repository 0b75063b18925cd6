"""What can be set of an audit's steps."""

from pydantic import Field

from veza_ops.steps import StepConfig

_RATE = Field(
    default=0.0,
    ge=0,
    allow_inf_nan=False,
    description="Looks a second, on average, for storage that others need as well. 0: no limit.",
)

DROPPINGS = [
    "lost+found/",
    ".DS_Store",
    "._*",
    "Thumbs.db",
    "desktop.ini",
    ".nfs*",
    "@eaDir/",
    "\\#recycle/",
    "$RECYCLE.BIN/",
    ".Trash-*/",
    ".snapshot/",
    ".zfs/",
    ".stversions/",
]
"""What systems leave beside people's files."""

_AGE = Field(
    default=24.0,
    ge=0,
    le=87_600,
    description="Hours since a file was last written to, before it is told of: a younger one may get its track yet.",
)
_IGNORE = Field(
    default=DROPPINGS,
    description="Patterns, as in a .gitignore file at the top of the root or the bucket, of files that are no track's "
    "and are not told of. What is given takes the place of the usual ones, which systems leave behind.",
)


class PagesConfig(StepConfig):
    """How far one run goes; the next goes on from there."""

    max_tracks: int = Field(default=10_000_000, ge=1, description="Tracks looked at in this run, at most.")
    max_minutes: float = Field(
        default=60, gt=0, le=1440, description="Minutes after which this run looks at no more tracks."
    )
    page_size: int = Field(default=10_000, ge=1, le=100_000, description="Tracks that are read and looked at together.")
    start_over: bool = Field(default=False, description="Begin with the first track, wherever the last run ended.")
    max_looks_per_second: float = _RATE


class AuditConfig(PagesConfig):
    """How far one run goes, or what it looks at again."""

    recheck: str = Field(
        default="",
        description="The id of an earlier audit's run: look again at just what that one reported, tracks and files. "
        "The round stays where it is.",
    )


class WalkConfig(StepConfig):
    """Which files are looked up."""

    folders: list[str] = Field(
        default=["."],
        min_length=1,
        description="Folders of the storage root that hold nothing but tracks' files, relative to it. For none, set "
        "max_files to 0.",
    )
    max_files: int = Field(
        default=1_000_000, ge=0, description="Files looked up in this run, at most. 0: no files are walked."
    )
    max_minutes: float = Field(default=60, gt=0, le=1440, description="Minutes after which this run walks no further.")
    page_size: int = Field(default=20_000, ge=1, le=100_000, description="Files that are looked up together.")
    min_age_hours: float = _AGE
    ignore: list[str] = _IGNORE
    max_looks_per_second: float = _RATE


class BucketsConfig(PagesConfig):
    """How far one run goes in buckets, and what is told of them."""

    buckets: list[str] = Field(
        default=[],
        description="s3://BUCKET or s3://BUCKET/PREFIX that hold nothing but tracks' files: only there, files that no "
        "track names are told of. Empty: in all that tracks, storage.root or storage.path_map name.",
    )
    upload_hours: float = Field(
        default=24, ge=0, le=87_600, description="Hours after which an upload that nobody has completed is told of."
    )
    min_age_hours: float = _AGE
    ignore: list[str] = _IGNORE
