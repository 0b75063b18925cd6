"""Storage is believed when the files of tracks known to be good are seen on it."""

from pathlib import Path

import pytest

from veza_ops.errors import StorageNotProvenError
from veza_ops.storage.files import Files
from veza_ops.storage.layout import Layout


@pytest.mark.parametrize(
    ("seen", "unseen", "proven"),
    [(20, 0, True), (11, 9, True), (10, 10, False), (0, 20, False), (1, 0, True), (0, 1, False)],
)
def test_storage_is_proven_when_more_than_half_of_the_sample_is_seen(
    root: Path, seen: int, unseen: int, *, proven: bool
) -> None:
    sample = ["album/song.flac"] * seen + ["none.flac"] * unseen
    files = Files(Layout(str(root)))
    if proven:
        assert files.prove(sample).seen == seen
    else:
        with pytest.raises(StorageNotProvenError, match=f"only {seen} of the {seen + unseen} newest playable tracks"):
            files.prove(sample)


def test_files_that_cannot_be_looked_at_do_not_prove_storage(root: Path) -> None:
    with pytest.raises(StorageNotProvenError, match="s3:// addresses"):
        Files(Layout(str(root))).prove(["s3://bucket/a"] * 3)


def test_without_a_sample_storage_is_taken_on_trust_and_said_so(root: Path) -> None:
    assert "taken on trust" in str(Files(Layout(str(root))).prove([]))


@pytest.mark.parametrize("broken", ["nowhere", "album/song.flac"])
def test_a_root_that_is_not_a_folder_is_refused_even_without_a_sample(root: Path, broken: str) -> None:
    with pytest.raises(StorageNotProvenError, match="can't be used"):
        Files(Layout(str(root / broken))).prove([])
