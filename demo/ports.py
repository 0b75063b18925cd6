"""Ports to listen on."""

import secrets
import socket
from contextlib import suppress


def free_port() -> int:
    """A port that nothing listens on, of those that systems give to nobody by themselves."""
    while True:
        port = secrets.choice(range(20_000, 30_000))
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
