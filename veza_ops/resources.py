"""What a run works with: the database and the storage, their configuration and their lifetime.

Rules stay in `tracks` and `storage`; here is what an operator can set, checked when it is first used so that a wrong
value fails its step with one clear error. SQLAlchemy is loaded by then only: it would be a fifth of what importing this
package takes.
"""

from __future__ import annotations

import gc
import re
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

import dagster as dg
import upath
from pydantic import ConfigDict, Field, PrivateAttr
from pydantic.config import JsonDict

from veza_ops.errors import ConfigurationError, RunEndedError
from veza_ops.evidence import Evidence
from veza_ops.places import ANSWER_SECONDS, lasting
from veza_ops.storage.files import Files
from veza_ops.storage.layout import Layout
from veza_ops.text import keep_secret, reveal
from veza_ops.tracks.row import NOT_PLAYABLE, SIZE_COLUMN

if TYPE_CHECKING:
    import sqlalchemy as sa

    from veza_ops.storage.look import Area
    from veza_ops.storage.proof import Known
    from veza_ops.tracks.table import Tracks


_SHARED_SECONDS = 60.0

SECRET: JsonDict = {"writeOnly": True}
"""Marks a field that holds a secret, in JSON Schema's words."""


class Resource(dg.ConfigurableResource[Any]):
    """What can be set, whose errors don't repeat what it was set to."""

    model_config = ConfigDict(hide_input_in_errors=True)

    wrong: ClassVar[tuple[str, ...]] = ()
    """What is wrong with the variables of the environment that set it."""

    def require_right(self) -> None:
        """Raises ConfigurationError when a variable of the environment sets it wrong."""
        if self.wrong:
            raise ConfigurationError(" ".join(self.wrong))


class Database(Resource):
    """Veza's PostgreSQL database. Without a url nothing is looked for, and every run says so."""

    url: str = Field(
        default="",
        description="Address of Veza's database: postgresql://USER:PASSWORD@HOST:PORT/DATABASE. Use "
        "{env: VEZA_DATABASE_URL} so that the password stays out of run config. Empty: nothing to do.",
        json_schema_extra=SECRET,
    )
    db_schema: str = Field(default="public", description="Schema of the tracks table.")
    tracks_table: str = Field(default="tracks", description="Name of the tracks table.")
    not_playable: list[str] = Field(
        default=list(NOT_PLAYABLE),
        description="Statuses of tracks that need have no file, in any letter case. In any other, the file of a track "
        "is expected to be there, and proves the storage.",
    )
    size_column: str = Field(
        default=SIZE_COLUMN,
        description="Column of the tracks table with the sizes of files in bytes, which the audit compares with the "
        "files, if there is such a column. Empty: nothing is compared.",
    )
    connect_timeout_seconds: int = Field(default=10, ge=1, le=300, description="Give up connecting after this long.")
    statement_timeout_seconds: int = Field(
        default=120, ge=1, le=3600, description="The server cancels a statement of ours after this long."
    )
    lock_timeout_seconds: int = Field(
        default=5, ge=1, le=300, description="Give up waiting for a lock on the whole table after this long."
    )

    _engine: sa.Engine | None = PrivateAttr(default=None)
    _table: sa.Table | None = PrivateAttr(default=None)
    _is_over: bool = PrivateAttr(default=False)
    _drawn: dict[Area, tuple[Known, ...]] = PrivateAttr(default_factory=dict)
    _drawn_since: float = PrivateAttr(default=0.0)

    @property
    def drawn(self) -> dict[Area, tuple[Known, ...]]:
        """The samples of areas that this process has drawn for its run: its batches share them, each for a minute.

        By then, an area may have playable tracks that had none.
        """
        if time.monotonic() - self._drawn_since > _SHARED_SECONDS:
            self._drawn, self._drawn_since = {}, time.monotonic()
        return self._drawn

    @property
    def is_configured(self) -> bool:
        """Whether there is a database to look at."""
        return bool(self.url.strip())

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Generator[Database]:  # noqa: ARG002 - the hook's signature
        """Dagster's hook: the connections are closed when the process that ran steps is done with them."""
        # While rows come and go by the hundred thousand, the garbage collector would walk through all that Dagster has
        # loaded, and through the rows, again and again: nearly half of a large run's time.
        ordinary = gc.get_threshold()
        gc.freeze()
        gc.set_threshold(100_000, *ordinary[1:])
        self._is_over = False
        try:
            yield self
        finally:
            self._is_over = True
            gc.set_threshold(*ordinary)
            gc.unfreeze()
            if self._engine is not None:
                self._engine.dispose()

    @contextmanager
    def tracks(self, *, writable: bool = True) -> Iterator[Tracks]:
        """The tracks table in a transaction of its own, committed at the end.

        Its types are read from the database once in this process. Raises ConfigurationError for a url that isn't one,
        DatabaseUnavailableError when the server can't be reached or cuts the connection, DatabaseRefusedError for what
        it will not do, TracksTableError for a table that can't serve. No message holds the password.
        """
        from veza_ops.tracks.address import parse_url  # noqa: PLC0415 - loads the driver
        from veza_ops.tracks.database import create_engine, plain_errors  # noqa: PLC0415 - loads SQLAlchemy
        from veza_ops.tracks.preflight import preflight  # noqa: PLC0415 - the same
        from veza_ops.tracks.table import Tracks  # noqa: PLC0415 - the same

        if self._is_over:  # a thread that nobody waits for any more
            raise RunEndedError("The run is over. Nothing more is asked of the database.")
        self.require_right()
        keep_secret(self.url)
        address = parse_url(self.url)
        if self._engine is None:
            self._engine = create_engine(
                address,
                connect_timeout_seconds=self.connect_timeout_seconds,
                statement_timeout_seconds=self.statement_timeout_seconds,
                lock_timeout_seconds=self.lock_timeout_seconds,
            )
        with plain_errors(address), self._engine.begin() as connection:
            if self._table is None:
                self._table = preflight(connection, schema=self.db_schema, name=self.tracks_table, writable=writable)
                reveal(self.db_schema)
                reveal(self.tracks_table)
            yield Tracks(self._table, connection, tuple(self.not_playable))


class Storage(Resource):
    """The disks and buckets that Veza's files are on, as this machine sees them."""

    root: str = Field(
        default="",
        description="Absolute folder, or s3://BUCKET/PREFIX, that a relative file_path is joined to: the API's working "
        "folder. Empty: tracks with a relative path are left alone.",
    )
    path_map: dict[str, str] = Field(
        default={},
        description="Prefixes of absolute paths, as the database has them, and where this machine has them. Whole path "
        "components only; the longest match counts. Any prefix may lead to s3://BUCKET/PREFIX.",
    )
    sample_size: int = Field(
        default=20,
        ge=0,
        le=1000,
        description="How many of the newest playable tracks prove the storage, and each area of it that stale tracks "
        "are in. 0 switches the proof off.",
    )
    max_threads: int = Field(
        default=32,
        ge=1,
        le=256,
        description="Threads that look for files while storage is slow, and requests to an object store at once.",
    )
    look_timeout_seconds: float = Field(
        default=30.0,
        gt=0,
        le=600,
        description="A look at a file is given up after this long, with all tries, and the track is left alone. And a "
        "track is marked so long after the look at its file at most.",
    )

    def files(self) -> Files:
        """Veza's files as configured here. Raises ConfigurationError for a path that isn't absolute."""
        self.require_right()
        return Files(Layout(self.root, self.path_map), self.max_threads, self.look_timeout_seconds)


class EvidenceStore(Resource):
    """Where runs write down each row that they changed."""

    folder: str = Field(
        default="",
        description="Absolute folder, or address of an object store, for the lists of changed rows. Empty: each run's "
        "own folder in Dagster's storage.",
    )
    timeout_seconds: float = Field(
        default=ANSWER_SECONDS,
        gt=0,
        le=600,
        description="Evidence of which nothing is written or read for so long is given up, and the run with it.",
    )

    def require(self) -> None:
        """Raises ConfigurationError for a folder that doesn't last."""
        self.require_right()
        if self.folder.strip():
            lasting(self.folder)

    def of_run(self, run_id: str, instance: dg.DagsterInstance) -> Evidence:
        """The evidence of one run. Raises ConfigurationError for a folder that doesn't last."""
        self.require_right()
        folder = lasting(self.folder) if self.folder.strip() else upath.UPath(instance.storage_directory())
        return Evidence(folder, run_id, self.timeout_seconds)


class History(Resource):
    """How long Dagster remembers the runs of this code location."""

    keep_days: int = Field(
        default=30,
        ge=0,
        le=36_500,
        description="Days after which a finished run is removed with its outputs, evidence and logs. 0: keep all.",
    )
    max_runs: int = Field(default=1000, ge=1, le=100_000, description="Runs removed at a time; the rest the next day.")


_PLAIN_HOST = re.compile(r"[\w.-]+(:\d+)?|\[[\da-fA-F:.]+\](:\d+)?")
"""Of an address: a host without a login."""


class Alerts(Resource):
    """Who is told when there is trouble, and when it is over."""

    urls: str = Field(
        default="",
        description="Addresses in Apprise's form, separated by commas. Use {env: VEZA_ALERT_URLS}, since they hold "
        "secrets. Empty: nobody is told.",
        json_schema_extra=SECRET,
    )
    max_missing: int = Field(
        default=100, ge=0, description="Missing files in one run that are still ordinary; more are told of."
    )
    digest: bool = Field(
        default=False,
        description="One message a day as well, from 6:00 UTC on: what happened, what is stuck, what to do next. None "
        "on a day on which nothing happened.",
    )
    web_url: str = Field(
        default="http://localhost:3000", description="Where people reach Dagster's web UI, for the link to the run."
    )
    heartbeat_url: str = Field(
        default="",
        description="Address that is asked for after each cleanup on proven storage, so that a service such as "
        "Healthchecks.io can tell when none came. Use {env: VEZA_HEARTBEAT_URL}, since it is a secret. Empty: none.",
        json_schema_extra=SECRET,
    )

    @property
    def is_configured(self) -> bool:
        """Whether there is somebody to tell."""
        return bool(self.urls.strip())

    def page_of(self, run_id: str) -> str:
        """Where to look at a run: the address of its page, or its id where `web_url` is none that may be passed on."""
        with suppress(ValueError):
            address = urlsplit(self.web_url.strip())
            if address.scheme in ("http", "https") and _PLAIN_HOST.fullmatch(address.netloc):
                return f"{address.scheme}://{address.netloc}{address.path.rstrip('/')}/runs/{run_id}"
        return f"Run {run_id}"
