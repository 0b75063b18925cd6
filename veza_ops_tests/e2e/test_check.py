"""deploy/check.sh says that all is well only where it is: each thing that it looks for is done to it."""

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from veza_ops_tests.e2e.installation import Places, Users, check, folder_for_all, make, needs_users

VEZA = {"VEZA_DATABASE_URL": "postgresql://veza_ops:secret@localhost/veza"}


@dataclass
class Machine:
    """The files of an installation, and processes that stand for its own."""

    places: Places
    users: Users
    code: dict[str, str]
    dagster: dict[str, str]
    daemon: int | None = None
    """The user of the daemon, if it isn't the webserver's."""

    @property
    def evidence(self) -> Path:
        """A file of evidence."""
        return self.places.home / "storage" / "RUN" / "veza_ops" / "marked-00000.jsonl"

    def set_up(self) -> None:
        """As docs/deploy.md does."""
        owner, group = self.users.code, self.users.group
        for folder in (self.places.settings, self.places.home):
            folder.mkdir(mode=0o755)
        for name in ("veza.env", "dagster.env"):
            (self.places.settings / name).write_text("A=B\n")
            os.chown(self.places.settings / name, 0, self.users.group)
            (self.places.settings / name).chmod(0o600)
        make(self.places.home / "storage", owner, group, 0o700)
        make(self.places.home / "compute_logs", owner, group, 0o750)
        make(self.places.run, owner, group, 0o750)
        self.evidence.parent.mkdir(parents=True)
        self.evidence.touch(mode=0o600)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(self.places.socket))
        os.chown(self.places.socket, owner, group)
        self.places.socket.chmod(0o770)

    @contextmanager
    def running(self) -> Iterator[None]:
        """The three processes, all of which sleep."""
        kinds = {
            "code-server": (self.users.code, self.code),
            "dagster-daemon": (self.daemon or self.users.dagster, self.dagster),
            "dagster-webserver": (self.users.dagster, self.dagster),
        }
        processes = [
            subprocess.Popen(
                [name, "600"],
                executable=shutil.which("sleep"),
                user=user,
                group=self.users.group,
                extra_groups=[],
                env=environment,
            )
            for name, (user, environment) in kinds.items()
        ]
        try:
            yield
        finally:
            for process in processes:
                process.kill()
                process.wait()


@pytest.fixture
def machine() -> Iterator[Machine]:
    with folder_for_all() as folder:
        yield Machine(Places.below(folder), Users.new(), dict(VEZA), {})


def wrong(machine: Machine) -> list[str]:
    """What the script finds wrong."""
    code, said = check(machine.places, machine.users)
    found = [line.removeprefix("NOT OK  ") for line in said.splitlines() if not line.startswith("ok ")]
    assert code == (1 if found else 0), said
    return found


@needs_users
def test_all_is_well_where_the_docs_were_followed(machine: Machine) -> None:
    machine.set_up()
    with machine.running():
        assert wrong(machine) == []


def _socket_for_all(machine: Machine) -> None:
    machine.places.run.chmod(0o755)
    machine.places.socket.chmod(0o777)


@needs_users
@pytest.mark.parametrize(
    ("harm", "what"),
    [
        (lambda it: (it.places.settings / "veza.env").chmod(0o640), "/veza.env: yes"),
        (lambda it: (it.places.settings / "dagster.env").chmod(0o644), "/dagster.env: yes"),
        (lambda it: (it.places.settings / "veza.env").unlink(), "is there: no"),
        (_socket_for_all, "any other user can open the code server's socket: yes"),
        (lambda it: it.places.run.chmod(0o700), "can open the code server's socket: no"),
        (lambda it: (it.places.home / "compute_logs").chmod(0o755), "any other user can read the logs of steps: yes"),
        (lambda it: (it.places.home / "compute_logs").chmod(0o700), "can read the logs of steps: no"),
        (lambda it: (it.places.home / "storage").chmod(0o750), "can look into the storage of the runs: yes"),
        (lambda it: (it.places.home / "storage").chmod(0o705), "any other user can look into the storage"),
        (lambda it: it.evidence.chmod(0o640), "files of evidence: yes"),
        (lambda it: it.dagster.update(VEZA), "has the password: yes"),
        (lambda it: it.code.clear(), "the code server runs and has the password: no"),
    ],
)
def test_what_is_wrong_is_found(machine: Machine, harm: Callable[[Machine], None], what: str) -> None:
    machine.set_up()
    harm(machine)
    with machine.running():
        found = wrong(machine)
    assert found
    assert any(what in line for line in found), found


@needs_users
def test_one_user_for_all_is_found(machine: Machine) -> None:
    same = replace(machine, users=replace(machine.users, dagster=machine.users.code))
    same.set_up()
    with same.running():
        found = wrong(same)
    assert any("environment of the code server's process" in line for line in found)
    assert any("can read the memory of process" in line for line in found)


@needs_users
def test_a_daemon_that_runs_as_the_code_server_does_is_found(machine: Machine) -> None:
    machine.daemon = machine.users.code
    machine.set_up()
    with machine.running():
        assert wrong(machine) == [
            f"dagster-daemon runs as {machine.users.dagster}: no",
            "dagster-daemon runs as the code server's user: yes",
        ]


@needs_users
def test_a_machine_where_nothing_runs_shows_nothing(machine: Machine) -> None:
    machine.set_up()
    assert wrong(machine) == [
        "the code server runs and has the password: no",
        f"dagster-daemon runs as {machine.users.dagster}: no",
        f"dagster-webserver runs as {machine.users.dagster}: no",
    ]
