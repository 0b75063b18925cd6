"""What docs/deploy.md sets up, from the files under deploy/, in folders and as users of a test's own."""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from demo.ports import free_port
from veza_ops_tests.e2e.deployment import A_MINUTE_AND_THE_START, ROOT, Deployment, open_deployment, wait_for

DEPLOY = ROOT / "deploy"

_SHOW = r"""
for folder in $VEZA_OPS_SHUT; do
    over=$(mktemp -d)
    mount -t tmpfs tmpfs "$over"
    mkdir "$over/upper" "$over/work"
    mount -t overlay overlay -o "lowerdir=$folder,upperdir=$over/upper,workdir=$over/work" "$folder"
    chmod o+x "$folder"
    umount --lazy "$over"
    rmdir "$over"
done
umask "$VEZA_OPS_UMASK"
exec setpriv --reuid "$1" --regid "$2" --clear-groups -- env --unset=VEZA_OPS_SHUT --unset=VEZA_OPS_UMASK "${@:3}"
"""
"""Become a user who can enter the folders that Python and this checkout are in, even those that are shut for others: in
a view of the file system that is the process's own, so that nothing is opened for anybody else."""


@dataclass(frozen=True)
class Users:
    """Three users of a test's own, whom no other process on this machine belongs to. They need no names."""

    code: int
    dagster: int
    group: int

    @classmethod
    def new(cls) -> "Users":
        """The numbers depend on this process's, so that tests can run side by side."""
        first = 1_000_000 + 3 * os.getpid()
        return cls(first, first + 1, first + 2)


@cache
def why_no_users() -> str | None:
    """Why no process can be started as another user here, if so."""
    if os.geteuid() != 0:
        return "only root can start processes as other users"
    users = Users.new()
    try:
        tried = subprocess.run(
            [*_become(users.code, users.group), sys.executable, "-c", "import veza_ops_tests, dagster"],
            env=os.environ | _view("0022"),
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        return f"no process can be started as another user: {error}"
    return f"another user can't run this Python: {tried.stderr.strip()}" if tried.returncode else None


def _become(user: int, group: int) -> list[str]:
    private = ["unshare", "--mount"] if _shut() else []
    return [*private, "bash", "-ec", _SHOW, "bash", str(user), str(group)]


def _view(umask: str) -> dict[str, str]:
    return {"VEZA_OPS_SHUT": " ".join(map(str, _shut())), "VEZA_OPS_UMASK": umask}


def _shut() -> list[Path]:
    """The folders above this Python and this checkout that only their owner can enter."""
    above = {parent for path in (sys.base_prefix, sys.prefix, str(ROOT)) for parent in Path(path).resolve().parents}
    return sorted(folder for folder in above if not folder.stat().st_mode & 0o001)


needs_users = pytest.mark.usefixtures("users_can_be_had")
"""It takes a second to find out, which is for those to spend who run such a test."""


@dataclass(frozen=True)
class Places:
    """Folders of a test's own for those that the docs name."""

    settings: Path
    home: Path
    run: Path
    more: dict[str, str] = field(default_factory=dict)

    @classmethod
    def below(cls, folder: Path, **more: str) -> "Places":
        """Folders in one, which other users must be able to enter."""
        return cls(folder / "etc", folder / "home", folder / "run", more)

    @property
    def socket(self) -> Path:
        """The code server's."""
        return self.run / "code.sock"

    def put_into(self, text: str) -> str:
        """A file under deploy/, with these places."""
        for place, here in {
            "/etc/veza-ops": str(self.settings),
            "/var/lib/veza-ops": str(self.home),
            "/run/veza-ops": str(self.run),
            "/opt/veza-ops/.venv/bin/": "",
            **self.more,
        }.items():
            text = text.replace(place, here)
        return text


def check(places: Places, users: Users) -> tuple[int, str]:
    """Run deploy/check.sh; its exit code and what it said."""
    names = "code=veza-ops dagster=veza-ops-dagster group=veza-ops\n"
    script = (DEPLOY / "check.sh").read_text()
    assert names in script
    script = script.replace(names, f"code={users.code} dagster={users.dagster} group={users.group}\n")
    done = subprocess.run(["sh", "-c", places.put_into(script)], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@dataclass
class Unit:
    """A unit file, its places being those of the test."""

    text: str

    def all(self, name: str) -> list[str]:
        """The values that a setting has."""
        lines = self.text.splitlines()
        return [line.removeprefix(f"{name}=") for line in lines if line.startswith(f"{name}=")]

    def one(self, name: str, default: str = "") -> str:
        """The value of a setting that is given once or not at all."""
        (value,) = self.all(name) or [default]
        return value

    @property
    def environment(self) -> dict[str, str]:
        """The variables of its env files."""
        return {
            name: value
            for path in self.all("EnvironmentFile")
            for name, value in variables(Path(path).read_text()).items()
        }


def variables(text: str) -> dict[str, str]:
    """What an env file sets."""
    return dict(line.split("=", 1) for line in text.splitlines() if line and not line.startswith("#"))


@dataclass
class Installation:
    """The installed files, and the processes that were started from them."""

    places: Places
    deployment: Deployment
    users: Users | None
    port: int = field(default_factory=free_port)

    def unit(self, name: str) -> Unit:
        """One of the unit files."""
        return Unit(self.places.put_into((DEPLOY / "systemd" / f"veza-ops-{name}.service").read_text()))

    def start(self, name: str, *more: str, **other: str) -> subprocess.Popen[bytes]:
        """Start the process of a unit file as systemd does: as its user, with the variables of its env files."""
        unit = self.unit(name)
        line = unit.one("ExecStart")
        for old, new in {"--port 3000": f"--port {self.port}", **other}.items():
            line = line.replace(old, new)
        through: list[str] = []
        environment = unit.environment
        if self.users:
            if mode := unit.one("RuntimeDirectoryMode"):
                make(self.places.run, self.users.code, self.users.group, int(mode, 8))
            assert unit.one("Group", "veza-ops") == "veza-ops"
            user = {"veza-ops": self.users.code, "veza-ops-dagster": self.users.dagster}[unit.one("User")]
            through = _become(user, self.users.group)
            environment |= _view(unit.one("UMask", "0022"))
        return self.deployment.start(*shlex.split(line), *more, environment=environment, through=through)

    def start_code_server(self) -> subprocess.Popen[bytes]:
        """Start the code server, and wait for its socket."""
        process = self.start("code")
        wait_for(
            "the code server's socket", lambda: self.places.socket.exists() or None, seconds=A_MINUTE_AND_THE_START
        )
        return process


def make(folder: Path, user: int, group: int, mode: int) -> None:
    """`install --directory`, as the docs have it."""
    folder.mkdir(exist_ok=True)
    os.chown(folder, user, group)
    folder.chmod(mode)


@contextmanager
def folder_for_all() -> Iterator[Path]:
    """A new folder that other users can enter, which pytest's own is not."""
    folder = Path(tempfile.mkdtemp(prefix="veza-ops-"))  # short: the path of a socket may have 107 characters
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def env_file(name: str, server: Mapping[str, str], places: Places) -> str:
    """A file of variables under deploy/, its databases being those on the test's server."""
    values = {
        key: sa.make_url(value)
        .set(host="", port=None, database=server[str(sa.make_url(value).database)], query={"host": server["host"]})
        .render_as_string(hide_password=False)
        if "://" in value
        else places.put_into(value)
        for key, value in variables((DEPLOY / name).read_text()).items()
    }
    return "".join(f"{key}={value}\n" for key, value in values.items())


@contextmanager
def install(server: Mapping[str, str], files: Path, users: Users | None) -> Iterator[Installation]:
    """The files of deploy/ in folders of their own instead of /etc, /run and /var/lib.

    `server` has the socket folder of a database server as `host`, and the databases there that stand for those of the
    files. The `files` are Veza's.
    """
    with folder_for_all() as folder:
        places = Places.below(folder, **{"/srv/veza": str(files)})
        settings, home = places.settings, places.home
        settings.mkdir()
        for name in ("dagster.env", "veza.env"):
            (settings / name).touch(mode=0o600)
            (settings / name).write_text(env_file(name, server, places))
        for name in ("workspace.yaml", "dagster.yaml"):
            (settings / name).write_text(places.put_into((DEPLOY / name).read_text()))
        for deployment in open_deployment(home, {}, settings=settings / "dagster.yaml"):
            deployment.environment = {
                "HOME": str(home),
                **{name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "PYTHONPATH")},
                "PYTHONWARNINGS": "default",
            }
            deployment.folder = home
            if users:
                make(home / "storage", users.code, users.group, 0o700)
                make(home / "compute_logs", users.code, users.group, 0o750)
            else:
                places.run.mkdir()
            yield Installation(places, deployment, users)
        if users:
            wait_for("the end of all processes", lambda: not strays(users) or None, seconds=60)


def strays(users: Users) -> list[psutil.Process]:
    """Processes of these users that are running still; one that nobody has asked after doesn't."""
    ours = (users.code, users.dagster)
    running = [each for each in psutil.process_iter(["uids", "status"]) if each.info["status"] != psutil.STATUS_ZOMBIE]
    return [each for each in running if each.info["uids"] and each.info["uids"].real in ours]
