"""What is to be struck is struck: a way to the world that nobody counts would be one on which nothing can fail."""

from pathlib import Path

import psycopg
import pytest
import upath

from veza_ops.places import lines_of
from veza_ops.tracks.connection import Connection
from veza_ops_tests.faults.kinds import FAULTS
from veza_ops_tests.faults.process import come_to_an_end
from veza_ops_tests.faults.world import World


def test_the_reading_of_evidence_is_a_place(tmp_path: Path) -> None:
    file = tmp_path / "marked-00000.jsonl"
    file.write_bytes(b"{}\n")
    world = World()
    with world.watched():
        assert list(lines_of(upath.UPath(file))) == [b"{}\n"]
    assert world.places == ["disk: open in places._lines_of", "disk: read in places._lines_of"]


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_a_process_that_ends_by_itself_was_not_struck(name: str) -> None:
    fault = next(each for each in FAULTS if each.name == name)
    with pytest.raises(AssertionError, match="ended by itself"):
        come_to_an_end({}, fault, 1, None)


def test_a_connection_that_has_no_bound_of_its_own_is_one_that_hangs(database_url: str) -> None:
    fault = next(each for each in FAULTS if each.name == "a server that is silent and deaf")
    for seconds, hung in ((30.0, 0), (0.0, 1)):
        world = World(fault)
        with Connection.connect(database_url, autocommit=True) as connection:
            connection.answer_seconds = seconds
            with world.watched(), pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT")
        assert len(world.hung) == hung
