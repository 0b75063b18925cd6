"""The story: uploads, some of them killed; a cleanup; what it did and what it left alone; and a second cleanup."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from demo.archive import BUCKET, Archive, Arrival
from demo.facts import expect, expect_first, expect_second
from demo.pipeline import COMMAND, PROJECT, SETTLE_SECONDS, Cleanup, DemoError, Pipeline, fresh_folder
from demo.processes import none_left_running
from demo.songs import ARCHIVED, DISK, GHOSTS, HELD, HOLD, ON_THE_DISK, SONGS, STUCK, UNSEEN, add_rows
from demo.tables import show_changes, show_library
from demo.veza import Upload, UploadFailedError, Veza, growing
from veza_ops.tracks.row import ORPHAN_TRACK_AGE_THRESHOLD, orphan_message

FOLDER = PROJECT / ".demo"

NEXT = {
    STUCK: "its file is whole: see why nothing came after the upload, and complete the row or upload it anew",
    HELD: f"ask who has set {HOLD}; the next cleanup after it is lifted marks the track failed",
    UNSEEN: f"mount the disk of {DISK}/; the next cleanup that sees the files there decides",
}
"""What somebody on call does about what a cleanup may not."""


def show_uploads(console: Console) -> None:
    """What becomes of each upload to the folder."""
    for song in SONGS:
        console.print(f"  {song.title} {song.fate.value}")


def show_rows(console: Console) -> None:
    """What else there is: the bucket's tracks, those of a disk that isn't mounted, and one that is held."""
    console.print(f"{len(ARCHIVED)} more tracks belong into the bucket s3://{BUCKET}:")
    for track in ARCHIVED:
        is_slow = track.arrival is Arrival.WHOLE and track.status == "processing"
        waits = ", but its row isn't completed" if is_slow else ""
        console.print(f"  {track.title}: {track.arrival.value}{waits}")
    told = f"{len(ON_THE_DISK)} more are on a second disk, which isn't mounted: its folder {DISK}/ is there, but empty."
    console.print(told)
    console.print(f"There is a legal hold on {HELD}: the constraint {HOLD} lets nobody change its status.")


def show_log(console: Console, cleanup: Cleanup) -> None:
    """What the steps said."""
    for line in cleanup.log:
        console.print(f"  {line}", style="dim", soft_wrap=True)


def clean_up(console: Console, veza: Veza, pipeline: Pipeline) -> None:
    """A cleanup, what it did and why, and another one, which does nothing."""
    before = veza.tracks()
    console.print(f"Running: {' '.join(COMMAND)}  # two looks, {SETTLE_SECONDS} s apart")
    first = pipeline.cleanup()
    show_log(console, first)
    after = veza.tracks()
    console.print("\nThe library after it:")
    show_changes(console, veza, before, first)
    expect_first(veza, before, after, first)
    console.print(f"status_message of each ghost: {orphan_message(ORPHAN_TRACK_AGE_THRESHOLD)}")
    console.print(f"The check nothing_stuck warns: {first.checks['nothing_stuck'].description}")

    console.print("\nRunning the cleanup again:")
    second = pipeline.cleanup()
    show_log(console, second)
    expect_second(veza, after, second)
    console.print("It changed nothing: every row is as it was.")


def finish(console: Console, veza: Veza, alive: list[Upload]) -> None:
    """Let the uploads that are alive come to their end, and say what is left for people to do."""
    console.print("\nThe uploads that were left alone go on to their end:")
    for upload in alive:
        upload.finish()
        console.print(f"  {upload.song.title}: completed")
    for track in ARCHIVED:
        if track.status == "processing" and track.title not in GHOSTS:
            veza.finish(track)
            console.print(f"  {track.title}: completed")
    now = veza.tracks()
    without = [track["title"] for track in now if is_without_file(veza, track)]
    unseen = [title for title, _, status in ON_THE_DISK if status == "completed"]
    expect("The completed tracks without a file", without, unseen)
    left = sorted(track["title"] for track in now if track["status"] == "processing")
    expect("The tracks that are still processing", left, sorted(NEXT))
    console.print("\nThree are left, for somebody on call:")
    for title, deed in NEXT.items():
        console.print(f"  {title}: {deed}")


def is_without_file(veza: Veza, track: dict[str, Any]) -> bool:
    """Whether a track should be played, and can't be."""
    return track["status"] == "completed" and not veza.has_file(track["file_path"])


def tell(console: Console, folder: Path) -> None:
    """The story, from an empty folder on."""
    fresh_folder(folder)
    console.print("Starting a PostgreSQL and an object store of the demo's own ...")
    with Archive.starting() as archive, Veza.running(folder / "files", archive) as veza:
        console.print(f"Uploading {len(SONGS)} tracks, each by a process of its own:")
        alive = veza.upload(SONGS)
        show_uploads(console)
        add_rows(veza)
        show_rows(console)
        console.print("All ages are set back, and an old failure is added. The library before the cleanup:")
        show_library(console, veza)
        with growing(alive, every_seconds=0.02):
            clean_up(console, veza, Pipeline(folder, veza))
        finish(console, veza, alive)
    console.print(f"\nAll as it should be. Dagster's full logs and the evidence of each run are in {folder}.")


def told(story: Callable[[], None]) -> int:
    """Tell a story that leaves nothing running, and how it ended; the exit code."""
    try:
        with none_left_running():
            story()
    except KeyboardInterrupt:
        print("\nStopped. Nothing is left running.")
        return 130
    except (DemoError, UploadFailedError) as error:
        print(f"\nThis went wrong. {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    screen = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    sys.exit(told(lambda: tell(screen, Path(sys.argv[1]).resolve() if sys.argv[1:] else FOLDER)))
