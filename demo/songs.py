"""The library of the demo: what is uploaded, what belongs into the bucket and onto a disk, and what is held."""

from datetime import timedelta

from demo.archive import Archived, Arrival
from demo.veza import Fate, Song, Veza

SONGS = [
    Song("First Light", timedelta(days=9), Fate.COMPLETES),
    Song("Paper Boats", timedelta(days=6), Fate.COMPLETES),
    Song("Long Way Down", timedelta(days=3), Fate.KILLED),
    Song("Night Drive", timedelta(days=2), Fate.COMPLETES),
    Song("Lost Thread", timedelta(hours=30), Fate.FORGOTTEN),
    Song("Court Date", timedelta(hours=26), Fate.KILLED),
    Song("Undertow", timedelta(hours=5), Fate.KILLED),
    Song("Slow Burn", timedelta(hours=3), Fate.HANGS),
    Song("Live Set", timedelta(hours=2), Fate.GROWS),
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

DISK = "vinyl"
"""The folder of the second disk, which isn't mounted: what is seen is the empty folder that it belongs on."""

ON_THE_DISK = [
    ("Side One", timedelta(days=12), "completed"),
    ("Side Two", timedelta(days=11), "completed"),
    ("Needle Drop", timedelta(hours=20), "processing"),
]
"""What is on it: two that are played from there, of which no file is seen now, and a stale one."""

STUCK, HELD, UNSEEN, GROWN = "Lost Thread", "Court Date", "Needle Drop", "Live Set"
"""One that nobody completes, one that nobody may change, one that nobody can look for, and one that still comes."""
HOLD = "under_litigation"
"""The constraint that lets nobody change a track's status while there is a legal hold on it."""

GHOSTS = sorted(
    [
        *(song.title for song in SONGS if song.fate is Fate.KILLED and song.title != HELD),
        *(track.title for track in ARCHIVED if track.arrival is Arrival.NOTHING),
    ]
)
"""What the cleanup is to mark failed."""


def add_rows(veza: Veza) -> None:
    """What no uploader of today leaves behind: an old failure, a bucket, a disk that isn't mounted, a legal hold."""
    _add(veza, "Broken String", "uploads/broken-string.flac", timedelta(days=5), "failed", "unsupported codec")
    veza.archive(ARCHIVED)
    (veza.root / DISK).mkdir()
    for title, age, status in ON_THE_DISK:
        _add(veza, title, f"{DISK}/{title.lower().replace(' ', '-')}.flac", age, status)
    veza.execute("ALTER TABLE tracks ADD legal_hold boolean NOT NULL DEFAULT false")
    veza.execute("UPDATE tracks SET legal_hold = true WHERE title = %(title)s", title=HELD)
    veza.execute(f"ALTER TABLE tracks ADD CONSTRAINT {HOLD} CHECK (status = 'processing' OR NOT legal_hold)")


def _add(veza: Veza, title: str, file_path: str, age: timedelta, status: str, message: str | None = None) -> None:
    veza.execute(
        "INSERT INTO tracks (title, file_path, status, status_message, created_at, updated_at) VALUES "
        "(%(title)s, %(file_path)s, %(status)s, %(message)s, now() - %(age)s, now() - %(age)s)",
        title=title,
        file_path=file_path,
        age=age,
        status=status,
        message=message,
    )
