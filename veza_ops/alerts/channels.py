"""How a message is sent, by whatever channels people read."""

import logging

from veza_ops.alerts.message import Message


def send(urls: str, message: Message) -> tuple[int, list[str]]:
    """Send `message` to all of `urls`; how many channels took it, and those that didn't, by place and service.

    No part of an address is shown: what is secret in it differs from service to service.
    """
    import apprise  # noqa: PLC0415 - half a second, only spent when there is something to say

    # It logs addresses, and their passwords with them.
    logging.getLogger(apprise.logger.name).setLevel(logging.CRITICAL + 1)
    channels = apprise.Apprise()
    refused = [] if channels.add(urls) else ["an address in VEZA_ALERT_URLS that Apprise doesn't understand"]
    kind = apprise.NotifyType.SUCCESS if message.good else apprise.NotifyType.FAILURE
    taken = 0
    for number, channel in enumerate(channels, start=1):
        try:
            delivered = channel.notify(body=message.body, title=message.title, notify_type=kind)
        except Exception:  # noqa: BLE001 - whatever a channel does, the others are told
            delivered = False
        if delivered:
            taken += 1
        else:
            refused.append(f"channel {number} ({channel.service_name})")
    return taken, refused
