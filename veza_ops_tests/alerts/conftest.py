"""A channel, and the sensor that watches a Dagster home."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from veza_ops.alerts import sensor
from veza_ops.alerts.memory import Memory
from veza_ops.alerts.sensor import alert_on_trouble
from veza_ops.definitions import defs
from veza_ops.resources import Alerts
from veza_ops_tests.receiver import Receiver, receiver


@pytest.fixture
def channel() -> Iterator[Receiver]:
    with receiver() as channel:
        yield channel


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """A Dagster home of the test's own: how runs end is only looked up in storage that lasts."""
    (tmp_path / "home").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "home")) as instance:
        yield instance


class Watch:
    """The sensor, tick by tick, with its cursor."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.cursor: str | None = None

    def look(self, urls: str, *, max_missing: int = 100, web_url: str = "http://dagster.example/") -> str:
        context = dg.build_sensor_context(self.instance, cursor=self.cursor, definitions=defs)
        result = alert_on_trouble(context, alerts=Alerts(urls=urls, max_missing=max_missing, web_url=web_url))
        assert isinstance(result, dg.SensorResult)
        self.cursor = result.cursor
        return str(result.skip_reason.skip_message if isinstance(result.skip_reason, dg.SkipReason) else "")


@pytest.fixture
def watch(instance: dg.DagsterInstance) -> Watch:
    return Watch(instance)


TODAY = (datetime.now(UTC) + timedelta(days=1)).replace(hour=12, minute=0, second=0, microsecond=0)
"""A noon before which all is that a test does."""


class Mornings:
    """The sensor, with summaries, at one time of a day or another. The last one was made three days ago."""

    def __init__(self, instance: dg.DagsterInstance, urls: str, patch: pytest.MonkeyPatch) -> None:
        self.instance, self.urls, self.patch = instance, urls, patch
        self.cursor: str | None = str(Memory(summed=int((TODAY - timedelta(days=3)).timestamp())))

    def look(self, now: datetime) -> str:
        class Clock(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> Any:  # noqa: ARG003 - the real one's
                return now

        self.patch.setattr(sensor, "datetime", Clock)
        context = dg.build_sensor_context(self.instance, cursor=self.cursor, definitions=defs)
        result = alert_on_trouble(context, alerts=Alerts(urls=self.urls, digest=True))
        assert isinstance(result, dg.SensorResult)
        self.cursor = result.cursor
        return str(result.skip_reason.skip_message if isinstance(result.skip_reason, dg.SkipReason) else "")


@pytest.fixture
def mornings(instance: dg.DagsterInstance, channel: Receiver, monkeypatch: pytest.MonkeyPatch) -> Mornings:
    return Mornings(instance, channel.url, monkeypatch)
