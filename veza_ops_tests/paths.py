"""Generated paths, and a folder in which they mean something."""

import unicodedata
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st

same_every_time = settings(derandomize=True, deadline=None, database=None, max_examples=400)

THERE = ["song.flac", "empty.flac", "album", "album/song.flac", "link.flac", unicodedata.normalize("NFD", "é.flac")]
NOT_TO_BE_FOLLOWED = ["dangling", "dangling/song.flac", "loop", "loop/song.flac", "song.flac/song.flac"]

# Parts of paths that mean something in the folder below, or to the system, or nothing at all.
PARTS = ["", ".", "..", "album", "song.flac", "empty.flac", "link.flac", "dangling", "loop", "outside", " "]
PARTS += ["é.flac", unicodedata.normalize("NFD", "é.flac"), "a" * 255, "a" * 256, "\0", chr(0xDCE9)]
parts = st.one_of(st.sampled_from(PARTS), st.text(max_size=8))
relative_paths = st.lists(parts, min_size=1, max_size=6).map("/".join).filter(lambda path: not path.startswith("/"))


def lay_out(root: Path) -> Path:
    """Make `root` a folder with files, links of every kind, and a neighbour that nobody may look at."""
    (root / "album").mkdir(parents=True)
    (root.parent / "outside").mkdir()
    for path in ("song.flac", "empty.flac", "album/song.flac", unicodedata.normalize("NFD", "é.flac")):
        (root / path).touch()
    (root / "link.flac").symlink_to("song.flac")
    (root / "dangling").symlink_to("/not/mounted/today")
    (root / "loop").symlink_to("loop")
    return root
