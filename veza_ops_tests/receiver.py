"""A web server that writes down what it gets, and answers as a test asks it to."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase


class Receiver:
    """A channel that takes messages, or the service that a heartbeat goes to."""

    def __init__(self) -> None:
        self.messages: list[dict[str, str]] = []
        """What was sent to it as JSON."""
        self.asked: list[str] = []
        """The paths that were asked for."""
        self.status = 200
        self.location = ""
        """Where it sends whoever comes to."""
        self.is_dripping = False
        """Whether it answers a byte every second."""
        self.is_silent = False
        """Whether it takes what comes, and never answers."""
        self.has_said_all = False
        """Whether an answer that drips has come to its end."""
        self.is_closed = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if receiver.status == 200:
                    receiver.messages.append(json.loads(body))
                self.answer()

            def do_GET(self) -> None:
                receiver.asked.append(self.path)
                self.answer()

            def answer(self) -> None:
                if receiver.is_silent:
                    receiver.is_closed.wait()
                    return
                if receiver.is_dripping and not receiver.drip(self.wfile):
                    return
                self.send_response(receiver.status)
                if receiver.location:
                    self.send_header("Location", receiver.location)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Keep quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def drip(self, out: BufferedIOBase) -> bool:
        """Say the beginning of an answer byte by byte; false if nobody is to hear the rest."""
        with suppress(OSError):
            for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"." * 30:
                out.write(bytes([byte]))
                if self.is_closed.wait(1):
                    return False
            self.has_said_all = True
        return True

    def end(self) -> None:
        """Listen no more."""
        self.is_closed.set()
        self.server.shutdown()
        self.server.server_close()

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.server.server_port}"

    @property
    def url(self) -> str:
        """Its address as a channel."""
        return f"json://someone:secret@{self.place}/"

    @property
    def titles(self) -> list[str]:
        return [message["title"] for message in self.messages]


@contextmanager
def receiver() -> Iterator[Receiver]:
    """One that is gone at the end."""
    receiver = Receiver()
    try:
        yield receiver
    finally:
        receiver.end()
