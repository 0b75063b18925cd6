"""The demo keeps its word: what it shows is so, it can be run again, and it leaves nothing behind."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import psutil
import pytest
import sqlalchemy as sa

from demo.ports import free_port
from veza_ops_tests.e2e.deployment import those

ROOT = Path(__file__).parent.parent

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


class Start(Protocol):
    def __call__(self, *command: str) -> subprocess.Popen[str]: ...


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a command of the demo in the test's own folder; it is over when the test is."""
    demos = []

    def start(*command: str) -> subprocess.Popen[str]:
        demo = subprocess.Popen(
            [sys.executable, "-m", *(command or ("demo",)), str(tmp_path / "demo")],
            cwd=ROOT,
            env={**os.environ, "COLUMNS": "200"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        demos.append(demo)
        return demo

    yield start
    for demo in demos:
        if demo.poll() is None:
            demo.terminate()
            demo.communicate(timeout=120)


def wait_for_line(demo: subprocess.Popen[str], beginning: str) -> None:
    """Read until the demo says so."""
    assert demo.stdout is not None
    said = []
    for line in demo.stdout:
        said.append(line)
        if line.startswith(beginning):
            return
    raise AssertionError("".join(said))


def is_alive(process: psutil.Process) -> bool:
    """Whether the process still does something: one that has ended and waits for its parent to notice doesn't."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_an_interrupted_demo_leaves_nothing_running_and_the_next_one_fails_the_ghosts_alone(start: Start) -> None:
    demo = start()
    wait_for_line(demo, "Running")
    me = psutil.Process(demo.pid)
    while not (cleanup := those(me.children(), lambda each: "dagster" in each.cmdline())):
        time.sleep(0.05)
    database = sa.make_url(cleanup[0].environ()["VEZA_DATABASE_URL"]).query["host"]
    server = psutil.Process(int(Path(str(database), "postmaster.pid").read_text().split()[0]))
    (store,) = those(me.children(), lambda each: each.name() == "weed")
    folder = store.cwd()
    processes = [server, *server.children(), *me.children(recursive=True)]
    demo.send_signal(signal.SIGINT)
    assert "Nothing is left running" in demo.communicate(timeout=120)[0]
    assert demo.returncode == 130
    assert [each for each in processes if is_alive(each)] == []
    assert not Path(str(database)).exists()
    assert not Path(folder).exists()

    said, _ = start().communicate(timeout=600)
    assert said.count("processing -> failed") == 4, said
    assert "Slow Burn       3 h      processing             left alone: its file is there, the upload is only" in said
    assert "Live Set        2 h      processing             left alone: its file is there and grows" in said
    assert "Lost Thread     30 h     processing             left alone: stuck, its file (524288 bytes) is there" in said
    assert "Court Date      26 h     processing             left alone: the database refuses it: the constraint" in said
    assert "Side Two        11 d     completed    vinyl/side-two.flac                 NO" in said
    assert "Needle Drop     20 h     processing             left alone: nothing proves vinyl: the files of only" in said
    assert "Cloud Nine      8 h      processing -> failed   marked failed: a ghost" in said
    assert (
        "Wide Open       6 h      processing             left alone: an upload of 'wide-open.flac' is under way" in said
    )
    assert "Low Tide        4 h      processing             left alone: its file is there" in said
    left_alone = "raced 0, refused 1, marked_failed {}, growing 1, waiting 3, empty 0"
    assert f"stale 11, present 4, missing 5, unverifiable 2, {left_alone.format(4)}" in said
    assert "The check nothing_stuck warns: 1 track stuck in processing for more than 24 h" in said
    assert f"stale 7, present 4, missing 1, unverifiable 2, {left_alone.format(0)}" in said
    assert "It changed nothing" in said
    for left in ("Lost Thread: its file is whole", "Court Date: ask who", "Needle Drop: mount the disk"):
        assert f"  {left}" in said
    assert "All as it should be" in said
    assert_fits_one_screen(said)
    assert_readme_shows(said)


def assert_fits_one_screen(said: str) -> None:
    """Each of the two tables is no longer and no wider than a screen."""
    tables = re.findall(r"^  title .*?(?=\n *\n)", said, re.MULTILINE | re.DOTALL)
    assert len(tables) == 2, said
    for table in tables:
        assert len(table.splitlines()) <= 24, table
        assert max(map(len, table.splitlines())) <= 120, table


def assert_readme_shows(said: str) -> None:
    """The rows that the README shows are those of the table after the cleanup."""
    readme = (ROOT / "README.md").read_text()
    _, rows = readme.split("title           age      status                 what happened\n")
    after = said.partition("The library after it:")[2]
    for row in rows.partition("```")[0].splitlines():
        assert f"  {row} " in after, row


def test_a_served_demo_that_is_interrupted_leaves_nothing_running(start: Start) -> None:
    port = free_port()
    demo = start("demo.dev", str(port))
    wait_for_line(demo, f"  http://localhost:{port}/runs/")
    processes = psutil.Process(demo.pid).children(recursive=True)
    assert those(processes, lambda each: "dagster._daemon" in each.cmdline())
    demo.send_signal(signal.SIGINT)
    assert "Nothing is left running" in demo.communicate(timeout=120)[0]
    assert [each for each in processes if is_alive(each)] == []


def test_a_port_that_is_taken_is_named(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        demo = start("demo.dev", str(port))
        said, _ = demo.communicate(timeout=120)
    assert demo.returncode == 1
    assert f"Port {port} is taken" in said


def test_two_demos_do_not_work_in_one_folder(start: Start) -> None:
    first = start()
    assert first.stdout is not None
    first.stdout.readline()
    first.send_signal(signal.SIGSTOP)  # on a busy machine it might have come to its end before the second looks
    second = start()
    said, _ = second.communicate(timeout=120)
    assert second.returncode == 1
    assert "Another demo is running in" in said
    first.send_signal(signal.SIGTERM)
    first.send_signal(signal.SIGCONT)
    first.communicate(timeout=120)
    assert first.returncode == 130


def test_a_folder_that_is_not_the_demos_is_not_emptied(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "song.flac").touch()
    demo = start()
    said, _ = demo.communicate(timeout=120)
    assert demo.returncode == 1
    assert "name another folder" in said
    assert [path.name for path in folder.iterdir()] == ["song.flac"]
