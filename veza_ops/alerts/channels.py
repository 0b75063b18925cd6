"""How a message is sent, by whatever channels people read."""

import logging
from dataclasses import dataclass

from veza_ops.alerts.message import Message
from veza_ops.bounds import Beat, Lookers

SECONDS = 10.0
"""How long a channel may take."""


@dataclass
class Channel:
    """One address, by its place among all, since no part of it is shown: what is secret in it differs."""

    number: int
    url: str
    service: str = "an address that Apprise doesn't understand"

    def __str__(self) -> str:
        return f"channel {self.number} ({self.service})"


@dataclass(frozen=True)
class Sent:
    """What became of a message."""

    taken: int
    """How many channels took it."""
    silent: tuple[str, ...]
    """Those that gave no answer in time. They may have delivered it all the same."""
    refused: tuple[str, ...]
    """Those that said no, or can't be made."""

    @property
    def is_told(self) -> bool:
        """Whether somebody may know by now: to tell once more would be to tell them twice."""
        return bool(self.taken or self.silent)


def send(urls: str, message: Message) -> Sent:
    """Send `message` to all of `urls` side by side: a channel that is broken or slow costs itself alone."""
    import apprise  # noqa: PLC0415 - half a second, only spent when there is something to say
    from apprise.utils.parse import parse_urls  # noqa: PLC0415 - the same

    # Takes none of a channel's time; and while one thread loads them, another's kind may seem to be none.
    apprise.plugins.N_MGR.load_modules()  # type: ignore[no-untyped-call]
    # They log addresses, and the passwords in them.
    for name in (apprise.logger.name, "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    # In the thread that calls it: threads of Apprise's own would keep a process from ending.
    asset = apprise.AppriseAsset(async_mode=False, service_timeout=0)
    kind = apprise.NotifyType.SUCCESS if message.good else apprise.NotifyType.FAILURE

    def tell(channel: Channel, _: Beat) -> bool:
        try:
            services = apprise.Apprise(asset=asset)
            if not services.add(channel.url):
                return False
            channel.service = str(services[0].service_name)
            # Apprise gives up after four seconds and calls that a refusal, but who says nothing may have delivered.
            services[0].socket_read_timeout = 2 * SECONDS
            plain = apprise.NotifyFormat.TEXT
            return bool(services.notify(message.body, message.title, notify_type=kind, body_format=plain))
        except Exception:  # noqa: BLE001 - whatever a channel does, the others are told
            return False

    channels = [Channel(number, url) for number, url in enumerate(parse_urls(urls), start=1)]  # type: ignore[no-untyped-call]
    results = Lookers(len(channels), SECONDS).run(tell, channels)
    return Sent(
        sum(bool(taken) for _, taken in results),
        tuple(str(channel) for channel, taken in results if taken is None),
        tuple(str(channel) for channel, taken in results if taken is False),
    )
