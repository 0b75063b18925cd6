"""A library on which a job runs again and again, each time from the same beginning, and what has to hold afterwards."""

import gc
import json
import os
import shutil
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import dagster as dg

from veza_ops.definitions import defs
from veza_ops_tests.faults.world import Side, World
from veza_ops_tests.faulty_store import FaultyStore
from veza_ops_tests.library import QUIET, Id, Library, failure, run_config
from veza_ops_tests.storms.scene import record_writes, writes

BATCH = 2
"""Rows in a batch, so that a run has several."""
BUCKET = "veza"
HURRIED: dict[str, dict[str, Any]] = {
    "storage": {"look_timeout_seconds": 0.5, "max_threads": 4},
    "evidence": {"timeout_seconds": 0.5},
    "database": {"connect_timeout_seconds": 1},
}
"""So that what is silent is given up soon."""

RUNS_REMEMBERED = 10
"""Runs that are kept in memory, each of which takes some megabytes."""

Row = dict[str, Any]


@dataclass
class Outcome:
    """What became of a run."""

    run_id: str = ""
    result: dg.ExecuteInProcessResult | None = None
    """Nothing for a run whose process died, or was ended."""
    fault: str = ""
    """What had gone wrong."""

    @property
    def words(self) -> str:
        """What an operator reads of it: why it failed, or what it counted."""
        assert self.result is not None
        if not self.result.success:
            return failure(self.result)
        told = self.result.filter_events(lambda event: event.event_type is dg.DagsterEventType.ASSET_OBSERVATION)
        return str([event.asset_observation_data.asset_observation.metadata for event in told])

    def unsuccessful(self) -> Iterator[str]:
        """Why a run that nothing was in the way of has failed all the same."""
        yield from self.unplain()
        if self.result and not self.result.success:
            yield f"the next run failed: {self.words}"

    def unplain(self) -> Iterator[str]:
        """What an operator could make nothing of."""
        for event in self.result.all_events if self.result else []:
            if event.is_step_failure:
                data = event.step_failure_data
                if data.user_failure_data is None and "MemoryError" not in str(data.error):
                    yield f"a step failed with a traceback: {data.error and data.error.message}"


@dataclass
class Stage(ABC):
    """Rows and files as they are before each run."""

    library: Library
    folder: Path
    """Where evidence is kept, unless it is in a bucket."""
    store: FaultyStore | None = None
    """Where the tracks and the evidence are, if not on the disk."""
    ghosts: list[Id] = field(default_factory=list)
    rows: dict[Id, Row] = field(default_factory=dict)
    objects: dict[str, dict[str, bytes]] = field(default_factory=dict)
    number: int = 0

    job = "cleanup_orphan_tracks"
    sides = frozenset({Side.DISK, Side.WRITES, Side.DATABASE, Side.STORE})
    """What it touches."""
    has_process = True
    """Whether it can be ended by a signal."""

    def __post_init__(self) -> None:
        for number in range(2):
            self.add(f"playable/{number}.flac", status="ready", content=b"music")
        self.ghosts = [self.add(f"uploads/{number}.flac", status_message=f"half of {number}") for number in range(3)]
        self.add("uploads/slow.flac", content=b"half of it")
        self.add("uploads/just-begun.flac", age=timedelta(minutes=5))
        self.add("uploads/bad-codec.flac", status="failed", status_message="transcoding failed")
        self.prepare()
        record_writes(self.library)
        self.library.execute("CREATE TABLE as_it_was AS TABLE tracks")
        self.rows = self.library.rows()
        if self.store is not None:
            self.objects = {name: dict(objects) for name, objects in self.store.buckets.items()}

    def prepare(self) -> None:  # noqa: B027 - not every job needs more
        """What else has to be there before."""

    def add(self, path: str, *, content: bytes | None = None, **columns: Any) -> Id:
        """Add a track where this library has its files."""
        if self.store is None:
            return self.library.add(path, content=content, **columns)
        if content is not None:
            self.store.buckets[BUCKET][path] = content
        return self.library.add(f"s3://{BUCKET}/{path}", **columns)

    @classmethod
    def of_evidence(cls) -> str:
        """The bucket with the evidence: another one in each stage, since a process keeps its way to a bucket."""
        return f"evidence-of-{cls.__name__.lower()}"

    @property
    def evidence(self) -> str:
        """Where the evidence is."""
        return str(self.folder / str(self.number)) if self.store is None else f"s3://{self.of_evidence()}/{self.number}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.library.engine.dispose()
        self._instance.dispose()

    def number_of_places(self, sides: Iterable[Side]) -> int:
        """How many places a run without a fault comes to that `sides` have a part in."""
        return sum(self._places[side] for side in sides)

    @cached_property
    def _places(self) -> Counter[str]:
        self.reset()
        world = World()
        with world.watched(self.store):
            self.run()
        return Counter(place.partition(":")[0] for place in world.places)

    def reset(self) -> None:
        """Everything as it was at the beginning, and no evidence of the run before."""
        self.library.execute("TRUNCATE tracks, writes")
        self.library.execute("INSERT INTO tracks SELECT * FROM as_it_was")
        if self.store is not None:
            self.store.buckets = {name: dict(objects) for name, objects in self.objects.items()}
        else:
            shutil.rmtree(self.evidence, ignore_errors=True)
        self.number += 1
        if self.number % RUNS_REMEMBERED == 0:
            self.forget()

    def forget(self) -> None:
        """Give back the memory that the runs before and the requests to the store have taken."""
        if self.store is not None:
            self.store.requests.clear()
        if "_instance" in self.__dict__:
            self._instance.dispose()
            del self._instance
        gc.collect()  # a client of a store takes twenty megabytes, is in a circle, and isn't looked for by itself

    def config(self, *, hurried: bool = True) -> dict[str, Any]:
        """The run config but for the job's own part."""
        config: dict[str, dict[str, Any]] = {name: dict(each) for name, each in HURRIED.items()} if hurried else {}
        if hurried and self.store is not None:
            config["evidence"]["timeout_seconds"] = 3  # each request has a part of that only
        config.setdefault("evidence", {})["folder"] = self.evidence
        return config

    def plan(self) -> dict[str, Any]:
        """What a process of its own has to know to run the job."""
        config = run_config(self.library, **(self.config() | {"ops": self.ops})) | QUIET
        return {"job": self.job, "run_config": config, "environment": self.environment, "home": self.home}

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which a process comes to the store."""
        return self.store.environment if self.store else {}

    @property
    def home(self) -> str:
        """A Dagster home that lasts, if the job needs one."""
        return ""

    @property
    def ops(self) -> dict[str, dict[str, Any]]:
        """The config of the job's steps."""
        return {}

    @contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        """The Dagster that runs it. It takes as long to make as a run, so it is kept."""
        yield self._instance

    @cached_property
    def _instance(self) -> dg.DagsterInstance:
        return dg.DagsterInstance.ephemeral()

    def run(self, *, hurried: bool = True) -> Outcome:
        """Run the job in this process."""
        with self.instance() as instance:
            config = run_config(self.library, ops=self.ops, **self.config(hurried=hurried)) | QUIET
            job = defs.resolve_job_def(self.job)
            result = job.execute_in_process(run_config=config, instance=instance, raise_on_error=False)
        return Outcome(result.run_id, result)

    def broken(self, outcome: Outcome) -> Iterator[str]:
        """The promises that a run with a fault has broken."""
        yield from outcome.unplain()
        yield from self.harmed()
        yield from self.broken_by_job(outcome, self.library.rows())

    def harmed(self) -> Iterator[str]:
        """What no run may do, neither that with the fault nor the next one."""
        now = self.library.rows()
        for identity in self.rows.keys() - set(self.may_change):
            if now.get(identity) != self.rows[identity]:
                yield f"a good track was changed: {self.rows[identity]} became {now.get(identity)}"
        written = writes(self.library)
        if len(written) != len(set(written)):
            yield f"a row was written twice: {written}"

    @property
    def may_change(self) -> list[Id]:
        """The rows that the job is there for."""
        return []

    @abstractmethod
    def broken_by_job(self, outcome: Outcome, now: Mapping[Id, Row]) -> Iterator[str]:
        """The job's own promises that were broken."""

    @abstractmethod
    def unfinished(self, outcome: Outcome) -> Iterator[str]:
        """What a run without faults has left undone after that with one."""

    def told(self, run_id: str, *kinds: str) -> set[str]:
        """The ids of the rows that the evidence of a run has under any of `kinds`, read as the text that it is."""
        return {
            json.loads(line)["id"]
            for name, content in self.files_of(run_id).items()
            if name.partition("-")[0] in kinds
            for line in content.splitlines()
            if line.endswith(b"}")  # a process that was killed has left a half
        }

    def files_of(self, run_id: str) -> dict[str, bytes]:
        """The files of evidence of a run, by name."""
        if self.store is not None:
            within = f"{self.number}/{run_id}/"
            objects = self.store.buckets[self.of_evidence()]
            return {key.rpartition("/")[2]: objects[key] for key in objects if key.startswith(within)}
        found = {}
        for where, _, names in os.walk(Path(self.evidence) / run_id):
            for name in names:
                with suppress(FileNotFoundError):
                    found[name] = (Path(where) / name).read_bytes()
        return found

    def runs_of_evidence(self) -> list[str]:
        """The runs that have left evidence."""
        if self.store is not None:
            keys = (key for key in self.store.buckets[self.of_evidence()] if key.startswith(f"{self.number}/"))
            return sorted({key.split("/")[1] for key in keys})
        return sorted(os.listdir(self.evidence)) if os.path.isdir(self.evidence) else []
