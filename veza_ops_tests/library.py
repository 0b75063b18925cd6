"""A small Veza to test on: a tracks table in a real PostgreSQL, and a folder with real files."""

import itertools
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as sa

from veza_ops.definitions import defs

Id = uuid.UUID | int


@dataclass(frozen=True)
class Schema:
    """One of the forms that Veza's table comes in."""

    id: str = "uuid"
    status: str = "text"
    created_at: str = "timestamptz"
    updated_at: str | None = "timestamptz"
    deleted_at: str | None = "timestamptz"

    def __str__(self) -> str:
        return "-".join(str(value).replace(" ", "_") for value in vars(self).values())

    @property
    def ddl(self) -> list[str]:
        """The statements that make the table."""
        optional = [f"{name} {kind}" for name in ("updated_at", "deleted_at") if (kind := getattr(self, name))]
        columns = [
            f"id {self.id} PRIMARY KEY",
            "title text NOT NULL DEFAULT 'a song'",
            f"status {self.status} NOT NULL",
            "status_message text",
            "file_path text",
            f"created_at {self.created_at} NOT NULL",
            *optional,
        ]
        enum = "CREATE TYPE track_status AS ENUM ('uploading', 'processing', 'ready', 'failed')"
        return [*([enum] if self.status == "track_status" else []), f"CREATE TABLE tracks ({', '.join(columns)})"]


SCHEMAS = [
    Schema(),
    Schema(id="bigint"),
    Schema(status="track_status"),
    Schema(created_at="timestamp", updated_at="timestamp"),
    Schema(updated_at=None),
    Schema(deleted_at=None),
    Schema(id="bigint", status="track_status", created_at="timestamp", updated_at=None, deleted_at=None),
]
"""The forms, each clause of which differs somewhere."""


@dataclass
class Library:
    """The table and the files, and what a test does with them."""

    url: str
    root: Path
    schema: Schema = field(default_factory=Schema)
    playable: int = 3

    @property
    def database(self) -> str:
        """The name of the database."""
        return sa.make_url(self.url).database or ""

    def __post_init__(self) -> None:
        self.engine = sa.create_engine(self.url.replace("postgresql://", "postgresql+psycopg://"))
        self._numbers = itertools.count(1)
        self.root.mkdir(exist_ok=True)
        with self.engine.begin() as connection:
            for statement in self.schema.ddl:
                connection.exec_driver_sql(statement)
        for number in range(self.playable):
            self.add(f"playable/{number}.flac", status="ready", content=b"music")

    def add(
        self,
        file_path: str | None = None,
        *,
        status: str = "processing",
        age: timedelta = timedelta(hours=2),
        content: bytes | None = None,
        **columns: Any,
    ) -> Id:
        """Add a track created `age` ago; with `content`, its file is written as well."""
        number = next(self._numbers)
        identity: Id = uuid.uuid4() if self.schema.id == "uuid" else number
        if file_path is None:
            file_path = f"uploads/{number}.flac"
        created = datetime.now(UTC) - age
        values = {"id": identity, "status": status, "file_path": file_path, "created_at": created}
        if self.schema.updated_at:
            values["updated_at"] = created
        values |= columns
        casts = {
            "status": self.schema.status,
            "created_at": self.schema.created_at,
            "updated_at": self.schema.updated_at,
        }
        names = ", ".join(values)
        # A time goes in as text in UTC, as an API that keeps UTC in a column without a zone would write it.
        places = ", ".join(
            f"CAST(:{name} AS timestamptz) AT TIME ZONE 'UTC'"
            if casts.get(name) == "timestamp"
            else f"CAST(:{name} AS {casts[name]})"
            if casts.get(name)
            else f":{name}"
            for name in values
        )
        with self.engine.begin() as connection:
            connection.execute(sa.text(f"INSERT INTO tracks ({names}) VALUES ({places})"), values)
        if content is not None and file_path is not None:
            self.write(file_path, content)
        return identity

    def add_ghost(self, **columns: Any) -> Id:
        """A stale track whose file never came."""
        return self.add(**columns)

    def write(self, file_path: str, content: bytes = b"music") -> Path:
        """Write a track's file."""
        path = self.root / file_path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def execute(self, sql: str, **values: Any) -> None:
        """Run a statement as Veza, or its administrator, would."""
        with self.engine.begin() as connection:
            connection.execute(sa.text(sql), values)

    def row(self, identity: Id) -> dict[str, Any]:
        """A track as it is now."""
        with self.engine.connect() as connection:
            row = connection.execute(sa.text("SELECT * FROM tracks WHERE id = :id"), {"id": identity}).one()
        return dict(row._mapping)  # noqa: SLF001 - the documented way to a dict

    def status(self, identity: Id) -> str:
        """A track's status as it is now."""
        return str(self.row(identity)["status"])

    def sessions(self, condition: str = "true") -> int:
        """How many sessions of ours the server has in this database."""
        ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'veza-ops' AND datname = :name"
        with self.engine.connect() as connection:
            return int(connection.execute(sa.text(f"{ours} AND {condition}"), {"name": self.database}).scalar_one())

    def rows(self) -> dict[Id, dict[str, Any]]:
        """The whole table as it is now, by id."""
        with self.engine.connect() as connection:
            rows = connection.execute(sa.text("SELECT * FROM tracks ORDER BY id")).mappings().all()
        return {row["id"]: dict(row) for row in rows}


QUIET: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
"""A part of a run config. A fifth of a run's time is spent on what it logs."""


def run_config(
    library: Library | None = None,
    *,
    ops: Mapping[str, Mapping[str, Any]] | None = None,
    database: Mapping[str, Any] | None = None,
    storage: Mapping[str, Any] | None = None,
    evidence: Mapping[str, Any] | None = None,
    history: Mapping[str, Any] | None = None,
    alerts: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The run config for a job over `library`."""
    at = {"url": library.url} if library else {}
    under = {"root": str(library.root)} if library else {}
    return {
        "ops": {name: {"config": dict(config)} for name, config in (ops or {}).items()},
        "resources": {
            "database": {"config": at | dict(database or {})},
            "storage": {"config": under | dict(storage or {})},
            "evidence": {"config": dict(evidence or {})},
            "history": {"config": dict(history or {})},
            **({"alerts": {"config": dict(alerts)}} if alerts else {}),
        },
    }


def run_job(
    library: Library | None,
    instance: dg.DagsterInstance,
    *,
    job: str = "cleanup_orphan_tracks",
    **config: Any,
) -> dg.ExecuteInProcessResult:
    """Run a job over `library` in this process; a failed run is a result too."""
    return defs.resolve_job_def(job).execute_in_process(
        run_config=run_config(library, **config), instance=instance, raise_on_error=False
    )


def counts(result: dg.ExecuteInProcessResult) -> dict[str, int]:
    """The counts of a cleanup that succeeded."""
    assert result.success, failure(result)
    output = result.output_for_node("report_cleanup")
    assert isinstance(output, dict)
    return output


def failure(result: dg.ExecuteInProcessResult) -> str:
    """What the operator reads of a run that failed: the last step's error."""
    failures = [event for event in result.all_events if event.is_step_failure]
    assert failures, "the run did not fail in a step"
    data = failures[-1].step_failure_data
    assert data.user_failure_data is not None, data.error
    return data.user_failure_data.description or ""
