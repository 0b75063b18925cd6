"""The story: uploads, some of them killed; a cleanup; what it did and what it left alone; and a second cleanup."""

import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from demo.archive import BUCKET, Archive, Archived, Arrival
from demo.pipeline import JOB, PROJECT, Cleanup, DemoError, Pipeline, fresh_folder
from demo.processes import none_left_running
from demo.veza import Fate, Song, UploadFailedError, Veza
from veza_ops.tracks.row import ORPHAN_TRACK_AGE_THRESHOLD, orphan_message

FOLDER = PROJECT / ".demo"

SONGS = [
    Song("First Light", timedelta(days=9), Fate.COMPLETES),
    Song("Paper Boats", timedelta(days=6), Fate.COMPLETES),
    Song("Long Way Down", timedelta(days=3), Fate.KILLED),
    Song("Night Drive", timedelta(days=2), Fate.COMPLETES),
    Song("Glass Harbour", timedelta(hours=26), Fate.KILLED),
    Song("Undertow", timedelta(hours=5), Fate.KILLED),
    Song("Slow Burn", timedelta(hours=3), Fate.HANGS),
    Song("Half Asleep", timedelta(minutes=61), Fate.KILLED),
    Song("Fresh Paint", timedelta(minutes=4), Fate.GOES_ON),
]
"""No two uploads of the demo are alike: the dead ones are of any age, and so are those that are not dead."""

ARCHIVED = [
    Archived("Blue Hour", timedelta(days=8), "completed", Arrival.WHOLE),
    Archived("Old Maps", timedelta(days=7), "completed", Arrival.WHOLE),
    Archived("Tin Roof", timedelta(days=4), "completed", Arrival.WHOLE),
    Archived("Cloud Nine", timedelta(hours=8), "processing", Arrival.NOTHING),
    Archived("Wide Open", timedelta(hours=6), "processing", Arrival.PARTS),
    Archived("Low Tide", timedelta(hours=4), "processing", Arrival.WHOLE),
]
"""What belongs into the bucket: three that are played from there, and so tell that it is the right one; three stale."""


def add_rows(veza: Veza) -> None:
    """The tracks that no uploader of today leaves behind: an old failure, and those in the bucket."""
    veza.execute(
        "INSERT INTO tracks (title, file_path, status, status_message, created_at, updated_at) VALUES "
        "('Broken String', 'uploads/broken-string.flac', 'failed', 'unsupported codec', now() - %(d)s, now() - %(d)s)",
        d=timedelta(days=5),
    )
    veza.archive(ARCHIVED)


def show_library(console: Console, veza: Veza) -> None:
    """The library as it is."""
    table = Table("title", "age", "status", "file_path", "file is there", box=SIMPLE_HEAD)
    for track in veza.tracks():
        there = "yes" if veza.has_file(track["file_path"]) else "NO"
        table.add_row(track["title"], age(track["age"]), track["status"], track["file_path"], there)
    console.print(table)


def show_changes(console: Console, veza: Veza, before: list[dict[str, Any]], cleanup: Cleanup) -> None:
    """The library as it is now, what happened to each track, and why."""
    table = Table("title", "age", "status", "what happened", box=SIMPLE_HEAD)
    was = {track["id"]: track["status"] for track in before}
    for track in veza.tracks():
        changed = track["status"] != was[track["id"]]
        status = f"{was[track['id']]} -> {track['status']}" if changed else track["status"]
        table.add_row(
            track["title"],
            age(track["age"]),
            status,
            what_happened(veza, track, cleanup, changed=changed),
            style="bold red" if changed else None,
        )
    console.print(table)


def what_happened(veza: Veza, track: dict[str, Any], cleanup: Cleanup, *, changed: bool) -> str:
    """A plain sentence for each track."""
    if changed:
        return "marked failed: a ghost, its file never came"
    if track["status"] != "processing":
        return f"left alone: it is {track['status']}, not processing"
    if str(track["id"]) in cleanup.reasons:
        return f"left alone: {cleanup.reasons[str(track['id'])]}"
    if veza.has_file(track["file_path"]):
        return "left alone: its file is there, the upload is only slow"
    return "left alone: younger than an hour, the upload may be under way"


def age(value: timedelta) -> str:
    """A time span in its biggest unit."""
    minutes = round(value.total_seconds() / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // 1440} d"


def expect(what: str, seen: object, wanted: object) -> None:
    """Raises DemoError when something isn't as it should be."""
    if seen != wanted:
        raise DemoError(f"{what}: {wanted} was to be seen, but it is {seen}.")


def changed(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[str]:
    """The titles of the rows that differ in any column."""
    rows = {track["id"]: track | {"age": None} for track in before}
    return sorted(track["title"] for track in after if track | {"age": None} != rows.get(track["id"]))


def show_log(console: Console, cleanup: Cleanup) -> None:
    """What the steps said."""
    for line in cleanup.log:
        console.print(f"  {line}", style="dim", soft_wrap=True)


def tell(console: Console, folder: Path) -> None:
    """The story, from an empty folder on."""
    fresh_folder(folder)
    killed = [song.title for song in SONGS if song.fate is Fate.KILLED]
    dead = sorted([*killed, *(track.title for track in ARCHIVED if track.arrival is Arrival.NOTHING)])
    console.print("Starting a PostgreSQL and an object store of the demo's own ...")
    with Archive.starting() as archive, Veza.running(folder / "files", archive) as veza:
        console.print(f"Uploading {len(SONGS)} tracks, each by a process of its own:")
        alive = veza.upload(SONGS)
        for song in SONGS:
            console.print(f"  {song.title} {song.fate.value}")
        add_rows(veza)
        console.print(f"{len(ARCHIVED)} more tracks belong into the bucket s3://{BUCKET}:")
        for track in ARCHIVED:
            is_slow = track.arrival is Arrival.WHOLE and track.status == "processing"
            waits = ", but its row isn't completed" if is_slow else ""
            console.print(f"  {track.title}: {track.arrival.value}{waits}")
        console.print("All ages are set back, and an old failure is added. The library before the cleanup:")
        show_library(console, veza)

        before = veza.tracks()
        pipeline = Pipeline(folder, veza)
        console.print(f"Running: dagster job execute -m veza_ops.definitions -j {JOB}")
        first = pipeline.cleanup()
        show_log(console, first)
        after = veza.tracks()
        console.print("\nThe library after it:")
        show_changes(console, veza, before, first)
        expect("The tracks that the cleanup changed", changed(before, after), dead)
        message = orphan_message(ORPHAN_TRACK_AGE_THRESHOLD)
        ghosts = {(track["status"], track["status_message"]) for track in after if track["title"] in dead}
        expect("Their status and status_message", ghosts, {("failed", message)})
        console.print(f"status_message of each ghost: {message}")

        console.print("\nRunning the cleanup again:")
        second = pipeline.cleanup()
        show_log(console, second)
        expect("The tracks that the second cleanup changed", changed(after, veza.tracks()), [])
        console.print("It changed nothing: every row is as it was.")

        console.print("\nThe uploads that were left alone go on to their end:")
        for upload in alive:
            upload.finish()
            console.print(f"  {upload.song.title}: completed")
        for track in ARCHIVED:
            if track.status == "processing" and track.title not in dead:
                veza.finish(track)
                console.print(f"  {track.title}: completed")
        now = veza.tracks()
        without = [
            track["title"] for track in now if track["status"] == "completed" and not veza.has_file(track["file_path"])
        ]
        expect("The completed tracks without a file", without, [])
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
