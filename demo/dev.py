"""`make dev`: the demo's Veza, a little history of runs, and the web UI to look at them: ``dev.py [PORT [FOLDER]]``."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from demo.__main__ import FOLDER, told
from demo.archive import Archive
from demo.pipeline import Pipeline, WebUI, fresh_folder, require_free
from demo.songs import SONGS, add_rows
from demo.veza import Fate, Song, Veza, growing

GHOSTS = (3, 0, 5, 1, 2)
"""How many uploads die before each cleanup that follows the first."""


@contextmanager
def ui(folder: Path, port: int) -> Iterator[WebUI]:
    """The web UI over a fresh library, when it has a history to look at."""
    require_free(port)
    fresh_folder(folder)
    print("Starting a PostgreSQL and an object store of the demo's own, and uploading tracks, some in vain ...")
    with Archive.starting() as archive, Veza.running(folder / "files", archive) as veza:
        alive = veza.upload(SONGS)
        add_rows(veza)
        pipeline = Pipeline(folder, veza)
        print("Starting the web UI and the daemon: dagster dev ...")
        with pipeline.served(port) as web:
            print(f"\nThe web UI is at {web.url}\n")
            with growing(alive, every_seconds=2):
                make_history(veza, web)
            yield web


def make_history(veza: Veza, web: WebUI) -> None:
    """Have cleanups run, each after some more uploads that die, and an audit."""
    print("The sensor starts a cleanup within a minute, since the code location was loaded ...")
    print(f"  {web.url}/runs/{web.finished_on_load()}")
    print("More uploads and cleanups, so that there is a history ...")
    for number, ghosts in enumerate(GHOSTS, start=1):
        veza.upload(
            [
                Song(f"Take {number}.{ghost}", timedelta(minutes=50 * ghost + 30 * number), Fate.KILLED)
                for ghost in range(1, ghosts + 1)
            ]
        )
        print(f"  {web.url}/runs/{web.launch()}")
    print("An audit of all files ...")
    print(f"  {web.url}/runs/{web.launch('audit_track_files')}")


def serve(port: int, folder: Path) -> None:
    """Serve until Ctrl-C."""
    with ui(folder, port) as web:
        print(f"\nReady: {web.url}  (Ctrl-C stops everything)")
        while True:
            time.sleep(60)


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # progress is to be seen through a pipe too
    chosen = sys.argv[1:] + ["3000", str(FOLDER)][len(sys.argv) - 1 :]
    sys.exit(told(lambda: serve(int(chosen[0]), Path(chosen[1]).resolve())))
