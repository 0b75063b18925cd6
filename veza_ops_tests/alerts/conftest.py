"""A channel, and the sensor that watches a Dagster home."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

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
