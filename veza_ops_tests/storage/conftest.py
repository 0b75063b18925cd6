"""A small storage."""

from pathlib import Path

import pytest


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The storage root, with one album in it."""
    folder = tmp_path / "files"
    (folder / "album").mkdir(parents=True)
    (folder / "album" / "song.flac").write_bytes(b"music")
    return folder
