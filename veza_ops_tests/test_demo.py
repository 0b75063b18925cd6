"""The demo keeps its word: what it shows is so, it can be run again, and it leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

ROOT = Path(__file__).parent.parent

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("demo")]


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "demo", str(folder)],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_demo_fails_the_ghosts_alone_and_can_be_run_again(tmp_path: Path) -> None:
    for _ in range(2):
        demo = start(tmp_path / "demo")
        said, _ = demo.communicate(timeout=240)
        assert demo.returncode == 0, said
        assert said.count("processing -> failed") == 4
        assert "Slow Burn       3 h      processing             left alone: its file is there" in said
        assert "stale 6, present 1, missing 4, unverifiable 1, raced 0, marked_failed 4" in said
        assert "It changed nothing" in said


def test_a_demo_that_is_interrupted_leaves_nothing_running(tmp_path: Path) -> None:
    demo = start(tmp_path / "demo")
    assert demo.stdout is not None
    for line in demo.stdout:
        if line.startswith("Running"):
            break
    me = psutil.Process(demo.pid)
    while not (cleanup := [each for each in me.children() if "dagster" in each.cmdline()]):
        time.sleep(0.05)
    socket = sa.make_url(cleanup[0].environ()["VEZA_DATABASE_URL"]).query["host"]
    server = psutil.Process(int(Path(str(socket), "postmaster.pid").read_text().split()[0]))
    processes = [server, *server.children(), *me.children(recursive=True)]
    demo.send_signal(signal.SIGINT)
    assert "Nothing is left running" in demo.communicate(timeout=60)[0]
    assert demo.returncode == 130
    assert [each for each in processes if each.is_running()] == []
    assert not Path(str(socket)).exists()


def test_two_demos_do_not_work_in_one_folder(tmp_path: Path) -> None:
    first = start(tmp_path / "demo")
    assert first.stdout is not None
    first.stdout.readline()
    second = start(tmp_path / "demo")
    said, _ = second.communicate(timeout=60)
    assert second.returncode == 1
    assert "Another demo is running in" in said
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=60)
    assert first.returncode == 130


def test_a_folder_that_is_not_the_demos_is_not_emptied(tmp_path: Path) -> None:
    (tmp_path / "song.flac").touch()
    demo = start(tmp_path)
    said, _ = demo.communicate(timeout=60)
    assert demo.returncode == 1
    assert "name another folder" in said
    assert [path.name for path in tmp_path.iterdir()] == ["song.flac"]
