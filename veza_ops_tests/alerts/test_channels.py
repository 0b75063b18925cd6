"""Each channel is told by itself: what is broken, slow or unknown costs itself alone, and nobody is told twice."""

import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import apprise
import dagster as dg
import pytest

from veza_ops.alerts import channels
from veza_ops.alerts.channels import send
from veza_ops.alerts.message import Kind, Message, Trouble, message
from veza_ops_tests.alerts.conftest import Watch
from veza_ops_tests.alerts.test_looks import FAILED, finish
from veza_ops_tests.receiver import Receiver, receiver

SAYS = Message("a title", "a body")
NOBODY = "json://127.0.0.1:1/"


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A channel that answers a byte every second, where nobody waits for more than three."""
    monkeypatch.setattr(channels, "SECONDS", 3.0)
    with receiver() as slow:
        slow.is_dripping = True
        yield slow


def test_a_channel_that_drips_is_given_up_and_the_others_are_told_once(
    instance: dg.DagsterInstance, channel: Receiver, slow: Receiver, watch: Watch
) -> None:
    finish(instance, ours=True)
    for _ in range(2):
        watch.look(f"{slow.url}, {NOBODY}, {channel.url}")
    assert not slow.has_said_all
    assert channel.titles == [FAILED]
    assert slow.titles == [FAILED], "it may have delivered, and so isn't told again"


def test_each_slow_or_broken_channel_is_named_by_its_place_and_service(channel: Receiver, slow: Receiver) -> None:
    sent = send(f"{NOBODY} {slow.url}, {channel.url}; nonsense://topsecret", SAYS)
    assert (sent.taken, sent.silent) == (1, ("channel 2 (JSON)",))
    assert sent.refused == ("channel 1 (JSON)", "channel 4 (an address that Apprise doesn't understand)")


def test_a_slow_channel_alone_counts_as_told(instance: dg.DagsterInstance, slow: Receiver, watch: Watch) -> None:
    finish(instance, ours=True)
    assert watch.look(slow.url) == f"Told: {FAILED}."
    assert watch.look(slow.url).startswith("Nothing new to tell.")


def test_a_channel_that_takes_a_message_and_says_nothing_counts_as_told(
    channel: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However soon Apprise would have given it up, and called that a refusal."""
    monkeypatch.setattr(apprise.URLBase, "socket_read_timeout", 0.3)
    monkeypatch.setattr(channels, "SECONDS", 3.0)
    channel.is_silent = True
    sent = send(channel.url, SAYS)
    assert channel.titles == ["a title"]
    assert (sent.is_told, sent.refused) == (True, ())


def test_to_load_the_kinds_of_channels_takes_none_of_a_channels_time(
    channel: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = apprise.plugins.N_MGR
    loaded = kinds._module_map  # noqa: SLF001 - by which Apprise tells whether it has them

    loading: list[threading.Thread] = []

    def load() -> None:
        loading.append(threading.current_thread())
        monkeypatch.setattr(kinds, "_module_map", loaded)

    kinds.schemas()  # type: ignore[no-untyped-call]
    monkeypatch.setattr(kinds, "_module_map", None)
    monkeypatch.setattr(kinds, "load_modules", load)
    assert send(channel.url, SAYS).taken == 1
    assert loading == [threading.current_thread()]


def test_what_every_channel_refused_is_tried_again(
    instance: dg.DagsterInstance, channel: Receiver, watch: Watch
) -> None:
    channel.status = 500
    finish(instance, ours=True)
    for _ in range(2):
        assert watch.look(f"{channel.url}, {NOBODY}, nonsense://here").startswith("Nobody could be told of run")
    channel.status = 200
    assert watch.look(channel.url) == f"Told: {FAILED}."


def test_many_slow_channels_are_waited_for_side_by_side(slow: Receiver) -> None:
    began = time.monotonic()
    assert len(send(", ".join([slow.url] * 8), SAYS).silent) == 8
    assert time.monotonic() - began < 8 * 3.0, "one after the other"


@pytest.mark.parametrize("is_slow", [False, True], ids=["fails", "hangs"])
def test_a_channel_that_cannot_be_made_costs_itself_alone(
    channel: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_slow: bool,
) -> None:
    make = apprise.Apprise.add

    def add(self: apprise.Apprise, address: str, **more: Any) -> bool:
        if "127.0.0.1:1" in address:
            time.sleep(6 if is_slow else 0)
            raise RuntimeError(address)
        return bool(make(self, address, **more))

    monkeypatch.setattr(channels, "SECONDS", 3.0)
    monkeypatch.setattr(apprise.Apprise, "add", add)
    sent = send(f"{NOBODY}, {channel.url}", SAYS)
    assert channel.titles == ["a title"]
    assert len(sent.silent) == is_slow
    assert len(sent.refused) == 1 - is_slow


def test_no_secret_reaches_any_log_however_much_is_logged(
    channel: Receiver, slow: Receiver, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("apprise", "urllib3", "urllib3.connectionpool"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    urls = [f"json://someone:topsecret@{where.place}/topsecret" for where in (channel, slow)]
    sent = send(", ".join([*urls, "json://someone:topsecret@127.0.0.1:1/", "nonsense://topsecret"]), SAYS)
    assert len(sent.silent) == 1
    assert "topsecret" not in caplog.text + str(sent) + "".join(capfd.readouterr())


EVIL = (
    "couldn't look at @everyone @here <!channel> <@U123> <#C1> [click](http://evil.example/a) http://evil.example/x "
    "evil.example evil\N{IDEOGRAPHIC FULL STOP}example *bold* _it_ ~~struck~~ `code` ||spoiler|| "
    '<a href="http://evil.example">a</a> &lt;!channel&gt; mail@evil.example \N{RIGHT-TO-LEFT OVERRIDE}\x1b[31m\nforged'
)


class Sent:
    """What would have been sent to the services that nobody can reach from here."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.payloads: list[str] = []
        import requests  # noqa: PLC0415 - only replaced here

        def request(_: requests.Session, method: str, url: str, **more: Any) -> requests.Response:  # noqa: ARG001 - its signature
            self.payloads.append(str(more.get("data") or more.get("json")))
            response = requests.Response()
            response.status_code, response._content = 200, b"ok"  # noqa: SLF001 - as its own tests do
            return response

        monkeypatch.setattr(requests.Session, "request", request)


SERVICES = {
    "slack": "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/",
    "discord": f"discord://1234567890123456/{'a' * 64}",
    "telegram": "tgram://123456789:abcdefghijklmnopqrstuvwxyzabcdefghi/12345",
    "mattermost": "mmost://localhost/3ccdd113474722377935511fc85d3dd4",
    "matrix": "matrix://user:token@localhost?mode=matrix",
    "ntfy": "ntfy://localhost/topic",
}
BREAKS = ("@everyone", "@here", "@U123", "<!channel", "<@", "<#C1", "](", "://evil", "l.example", "mail@evil", "||")
MARKUP = "*bold*", "_it_", "~~struck~~", "`code`"


@pytest.mark.parametrize("form", ["", "markdown", "html"])
@pytest.mark.parametrize("service", SERVICES)
def test_no_name_of_a_file_becomes_a_mention_or_a_link_or_markup_in_any_service(
    service: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = Sent(monkeypatch)
    news = message("a_job", None, Trouble(Kind.FAILED, EVIL), "http://dagster.example/runs/ID")
    assert news
    url = SERVICES[service]
    taken = send(f"{url}{'&' if '?' in url else '?'}format={form}" if form else url, news).taken
    assert taken == 1
    payload = "".join(sent.payloads)
    read = payload.encode().decode("unicode_escape") if "\\u200b" in payload else payload
    assert "\u200b" in read
    assert not [each for each in (*BREAKS, *MARKUP) if each in read.replace("<\\!", "<!")], read
    assert "\x1b" not in read
    assert "\nforged" not in read
