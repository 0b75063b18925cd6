"""The real jobs on a Dagster of the example's own, and what they left behind."""

from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import dagster as dg
import orjson
import sqlalchemy as sa
from dagster._core.storage.runs import InMemoryRunStorage

from veza_ops.definitions import defs
from veza_ops_tests.library import QUIET, Library, failure, run_config
from veza_ops_tests.model.fates import Row


@dataclass(eq=False)
class Cleanup:
    """A cleanup that was run."""

    run_id: str
    changes: dict[UUID, tuple[Row, Row]] = field(default_factory=dict)
    """The rows that it changed, as they were and as it left them."""
    is_old: bool = False
    """Whether it had finished more than a month ago."""
    is_forgotten: bool = False


@dataclass
class Jobs:
    """Where jobs are run."""

    library: Library
    home: Path

    def __post_init__(self) -> None:
        self.home.mkdir()
        self._stack = ExitStack()
        self.instance = self._stack.enter_context(dg.DagsterInstance.ephemeral(str(self.home)))
        self.runs: Counter[str] = Counter()

    def close(self) -> None:
        """Forget everything."""
        self._stack.close()

    def run(self, job: str, ops: Mapping[str, Mapping[str, Any]]) -> dg.ExecuteInProcessResult:
        """Run a job in this process; a failed run is a result too."""
        self.runs[job] += 1
        config = run_config(self.library, ops=ops)
        return defs.resolve_job_def(job).execute_in_process(
            run_config=config | QUIET, instance=self.instance, raise_on_error=False
        )

    def forget_old_runs(self) -> dict[str, int]:
        """Run `prune_history`; how many runs it removed, by job."""
        self.runs["prune_history"] += 1
        result = defs.resolve_job_def("prune_history").execute_in_process(
            run_config=QUIET, instance=self.instance, raise_on_error=False
        )
        assert result.success, failure(result)
        removed = result.output_for_node("remove_old_runs")
        assert isinstance(removed, dict)
        return removed

    def grow_old(self, run_id: str) -> None:
        """Let a run have finished more than a month ago."""
        storage = self.instance.run_storage
        assert isinstance(storage, InMemoryRunStorage)
        moment = datetime.now(UTC).replace(tzinfo=None) - timedelta(days=31)
        with storage.connect() as connection:
            connection.execute(
                sa.text("UPDATE runs SET create_timestamp = :at, update_timestamp = :at WHERE run_id = :run_id"),
                {"at": moment, "run_id": run_id},
            )

    def left(self, run_id: str) -> set[str]:
        """The kinds of evidence that a run left."""
        return {path.name.partition("-")[0] for path in self._evidence(run_id).glob("*.jsonl")}

    def lines(self, run_id: str, kind: str) -> dict[UUID, dict[str, Any]]:
        """The evidence of one kind that a run left, by track. Fails for a track that is named twice."""
        told = [
            orjson.loads(line)
            for path in self._evidence(run_id).glob(f"{kind}-*.jsonl")
            for line in path.read_bytes().splitlines()
        ]
        by_id = {UUID(line["id"]): line for line in told}
        assert len(by_id) == len(told), f"the {kind} of run {run_id} names a track twice"
        return by_id

    def _evidence(self, run_id: str) -> Path:
        return Path(self.instance.storage_directory()) / run_id / "veza_ops"
