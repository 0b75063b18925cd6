"""The look of the alerts at a run that has failed, on a stage of its own."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import dagster as dg

from veza_ops_tests.alerts.conftest import Watch
from veza_ops_tests.faults.kinds import ANSWER_IS_LOST, IS_SILENT
from veza_ops_tests.faults.stage import Outcome, Row, Stage
from veza_ops_tests.faults.world import Side
from veza_ops_tests.library import Id, run_job
from veza_ops_tests.receiver import Receiver

_TIMES_TOLD = {ANSWER_IS_LOST: (1, 2), IS_SILENT: (0, 1)}
"""A channel that cut the connection when it was told counts as one that refused, and is told again; one that gave no
answer in time may have been told, and isn't told again."""


@dataclass
class Alerting(Stage):
    """A cleanup that has failed, and a channel that is to be told of it."""

    sides = frozenset({Side.MESSAGES})
    has_process = False
    channel: Receiver = field(default_factory=Receiver)
    cursor: str | None = None
    before: str | None = None

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self.channel.end()

    def prepare(self) -> None:
        (self.folder / "template").mkdir()
        with dg.DagsterInstance.local_temp(str(self.folder / "template")) as instance:
            watch = Watch(instance)
            watch.look(self.channel.url)
            self.before = watch.cursor
            assert not run_job(self.library, instance, database={"tracks_table": "nowhere"}).success

    def reset(self) -> None:
        shutil.rmtree(self.home, ignore_errors=True)
        super().reset()
        shutil.copytree(self.folder / "template", self.home)
        self.cursor = self.before
        self.channel.messages.clear()

    @property
    def home(self) -> str:
        return str(self.folder / f"home-{self.number}")

    @contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        with dg.DagsterInstance.local_temp(self.home) as instance:
            yield instance

    def run(self, *, hurried: bool = True) -> Outcome:  # noqa: ARG002 - a look waits for nothing that could be hurried
        """Look once, with the cursor of the look before, if that came to its end."""
        with self.instance() as instance:
            watch = Watch(instance)
            watch.cursor = self.cursor
            watch.look(self.channel.url)
            self.cursor = watch.cursor
        return Outcome()

    def broken_by_job(self, outcome: Outcome, now: Mapping[Id, Row]) -> Iterator[str]:  # noqa: ARG002 - changes none
        if len(self.channel.titles) > 1:
            yield f"told twice: {self.channel.titles}"

    def unfinished(self, outcome: Outcome) -> Iterator[str]:
        self.run()
        times = len(self.channel.titles)
        if times not in _TIMES_TOLD.get(outcome.fault, (1,)):
            yield f"told {times} times: {self.channel.titles}"
