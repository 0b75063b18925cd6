"""Build the image, run the services of the compose file from it, and see a cleanup happen.

As root, on Debian with buildah and debootstrap (`apt-get install buildah debootstrap`). What follows `--` goes to
`buildah build`, for example the machine's own settings of pip: `-- --volume /etc/pip.conf:/etc/pip.conf:ro`.

In place of the database's image, which would have to be fetched, there is the PostgreSQL of the tests, whose socket the
containers see. They share the machine's network, and nothing else: each has the mounts, the user and the variables that
the file gives it, and no capabilities.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import sqlalchemy as sa

from demo.ports import free_port
from veza_ops_tests.conftest import new_server
from veza_ops_tests.containers import compose
from veza_ops_tests.containers.buildah import Buildah
from veza_ops_tests.e2e.deployment import ROOT, graphql, wait_for, webserver_answers
from veza_ops_tests.library import Id, Library

PATIENCE = 180
"""Seconds that any single thing may take here."""


@dataclass
class Containers:
    """Running services."""

    buildah: Buildah
    image: str
    services: dict[str, compose.Service]
    server: Path
    """The folder that the database server's socket is in."""
    volumes: dict[str, Path] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def volume(self, container: str, volume: compose.Volume) -> Path:
        """A folder of the machine. As with an engine, a new volume takes over what the image has in its place."""
        if os.path.isabs(volume.source):
            return Path(volume.source)
        if volume.source not in self.volumes:
            folder = self.buildah.folder / "volumes" / volume.source
            in_image = Path(self.buildah("mount", container) + volume.target)
            shutil.copytree(in_image, folder)
            shutil.copystat(in_image, folder)
            os.chown(folder, in_image.stat().st_uid, in_image.stat().st_gid)
            self.buildah("umount", container)
            self.volumes[volume.source] = folder
        return self.volumes[volume.source]

    def start(self, name: str, **changes: str) -> subprocess.Popen[bytes]:
        """Start a service in a new container; `changes` are of its command."""
        service = self.services[name]
        container = self.buildah("from", self.image)
        config = self.buildah.config(self.image)
        options = ["--isolation", "chroot", "--cap-drop", "all", "--user", service.user or config["User"]]
        for variable, value in service.environment.items():
            options += ["--env", f"{variable}={value}"]
        for each in service.volumes:
            mode = ":ro" if each.read_only else ""
            options += ["--volume", f"{self.volume(container, each)}:{each.target}{mode}"]
        options += ["--volume", f"{self.server}:{self.server}:ro"]
        command = [changes.get(word, word) for word in service.command]
        log = self.buildah.folder / f"{name}.log"
        with log.open("ab") as output:
            arguments = self.buildah.command("run", *options, container, "--", *config["Entrypoint"], *command)
            process = subprocess.Popen(arguments, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        self.processes[name] = process
        return process

    def inside(self, name: str) -> list[psutil.Process]:
        """The processes of a service's own."""
        family = psutil.Process(self.processes[name].pid).children(recursive=True)
        return [each for each in family if each.uids().real != 0]

    def stop(self, name: str, *, kill: bool = False) -> None:
        """Stop a service as an engine does: its first process is asked to end, or killed, and no other outlives it."""
        first, *others = self.inside(name)
        first.kill() if kill else first.terminate()
        psutil.wait_procs([first], PATIENCE)
        assert not first.is_running()
        for process in others:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.processes.pop(name).wait(PATIENCE)

    def stop_all(self) -> None:
        """Leave nothing running."""
        for process in self.processes.values():
            family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
            for each in family:
                with suppress(psutil.NoSuchProcess):
                    each.kill()
            process.wait(PATIENCE)


@contextmanager
def running(buildah: Buildah, image: str) -> Iterator[tuple[Containers, Library, int]]:
    """All services before a library of Veza's; the port that the pages are on."""
    with new_server() as server:
        server.psql("CREATE DATABASE dagster;")
        server.psql("CREATE DATABASE veza;")
        library = Library(server.get_uri("veza"), buildah.folder / "files")
        with library.engine.begin() as connection:  # as the API names what it has stored
            connection.exec_driver_sql("UPDATE tracks SET file_path = 'uploads/' || file_path")
        folder = str(sa.make_url(library.url).query["host"])
        Path(folder).chmod(0o711)  # its socket is in its own folder
        settings = {
            "DAGSTER_DB_PASSWORD": "letters",
            "VEZA_DATABASE_URL": library.url,
            "VEZA_UPLOADS": str(library.root),
            "VEZA_KEEP_RUNS_DAYS": "7",
        }
        services = compose.read(ROOT / "deploy" / "compose.yaml", settings)
        for service in services.values():
            address = service.environment["DAGSTER_POSTGRES_URL"]
            assert address.endswith("dagster:letters@storage/dagster")
            service.environment["DAGSTER_POSTGRES_URL"] = f"postgresql+psycopg2://postgres@/dagster?host={folder}"
        containers = Containers(buildah, image, services, Path(folder))
        port = free_port()
        try:
            assert containers.start("tables").wait(PATIENCE) == 0
            containers.processes.clear()
            containers.start("code")
            containers.start("daemon")
            containers.start("web", **{"3000": str(port), "0.0.0.0": "127.0.0.1"})
            yield containers, library, port
        except BaseException:
            for log in sorted(buildah.folder.glob("*.log")):
                print(f"== {log.name}\n{log.read_text(errors='replace')[-5000:]}", file=sys.stderr)
            raise
        finally:
            containers.stop_all()
            library.engine.dispose()


def see_it_work(containers: Containers, library: Library, port: int, say: Callable[[str], None]) -> None:
    """A cleanup happens; only the code server has the password; what is killed or stopped can be started again."""

    def is_cleaned_up(ghost: Id) -> bool | None:
        return library.status(ghost) == "failed" or None

    ghost = library.add_ghost(file_path="uploads/ghost.flac")
    wait_for("a cleanup", lambda: is_cleaned_up(ghost), seconds=PATIENCE)
    say("a track without a file was marked failed")
    wait_for("the pages", lambda: webserver_answers(port), seconds=PATIENCE)

    def have_succeeded() -> bool | None:
        runs = graphql(port, "{ runsOrError { ... on Runs { results { status } } } }")["runsOrError"]["results"]
        return (runs and all(run["status"] == "SUCCESS" for run in runs)) or None

    # One that is cut off would hold up the next until run monitoring ends it.
    wait_for("the end of the run, on the pages", have_succeeded, seconds=PATIENCE)
    say("the pages show that the run succeeded")

    users = {name: {each.uids().real for each in containers.inside(name)} for name in containers.processes}
    assert users == {"code": {900}, "daemon": {901}, "web": {901}}, users
    knowing = [
        name
        for name in containers.processes
        for each in containers.inside(name)
        if any(variable.startswith("VEZA_") for variable in each.environ())
    ]
    assert set(knowing) == {"code"}, knowing
    say("the code server alone has Veza's settings, and no process is root")

    containers.stop("code", kill=True)
    ghost = library.add_ghost(file_path="uploads/another.flac")
    containers.start("code")
    wait_for("a cleanup after a kill", lambda: is_cleaned_up(ghost), seconds=PATIENCE)
    say("a code server that was killed was started again, over the socket that it had left")

    for name in ("web", "daemon", "code"):
        started = time.monotonic()
        containers.stop(name)
        say(f"{name} ended {time.monotonic() - started:.1f} s after it was asked to")


def main() -> None:
    """Do all of it, and leave nothing behind."""
    parser = argparse.ArgumentParser(prog="python -m veza_ops_tests.containers", description=__doc__)
    parser.add_argument("--base", help="an image to build upon, instead of one made by debootstrap")
    parser.add_argument("--debian", type=Path, help="a folder that debootstrap has made, instead of a new one")
    parser.add_argument("options", nargs="*", help="more options for `buildah build`, after --")
    arguments = parser.parse_args()
    began = time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {what}", flush=True)

    folder = Path(tempfile.mkdtemp(prefix="veza-ops-image-"))
    folder.chmod(0o755)
    try:
        buildah = Buildah(folder)
        base = arguments.base or buildah.base(arguments.debian)
        say(f"there is a base image: {base}")
        image = buildah.build(ROOT, base, arguments.options)
        say("deploy/Dockerfile was built")
        with running(buildah, image) as (containers, library, port):
            see_it_work(containers, library, port, say)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
