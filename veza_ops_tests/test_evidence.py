"""Evidence lasts: nothing is written over, and a file that was cut off can still be read."""

import json
from pathlib import Path

import pytest
import upath

from veza_ops.errors import ConfigurationError
from veza_ops.evidence import MARKED, Evidence, read


@pytest.fixture
def evidence(tmp_path: Path) -> Evidence:
    """The evidence of a run."""
    return Evidence(upath.UPath(tmp_path), "run")


def test_a_step_that_is_resumed_writes_over_nothing(evidence: Evidence) -> None:
    for number in range(3):
        evidence.write(MARKED, 0, [{"id": number}])
    assert sorted(row["id"] for path in evidence.files(MARKED) for row in read(str(path))) == [0, 1, 2]


def test_a_last_line_that_was_cut_off_is_left_out(evidence: Evidence) -> None:
    path = evidence.write(MARKED, 0, [{"id": 1}, {"id": 2}])
    path.write_text(path.read_text() + json.dumps({"id": 3})[:5])
    assert [row["id"] for row in read(str(path))] == [1, 2]


def test_evidence_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.jsonl can't be read"):
        list(read(str(tmp_path / "nowhere.jsonl")))
