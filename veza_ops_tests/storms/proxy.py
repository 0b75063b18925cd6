"""A network between veza-ops and PostgreSQL that goes silent: nothing is refused, nothing is closed, nothing comes."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import sqlalchemy as sa


@dataclass
class Proxy:
    """Forwards what is said, until a client has said all of `last_words` in their order.

    Of those, the server hears the last if `is_heard`. The client hears nothing more.
    """

    target: str
    """The socket of the server."""
    last_words: tuple[bytes, ...]
    is_heard: bool
    went_silent: threading.Event = field(default_factory=threading.Event)
    connections: list[socket.socket] = field(default_factory=list)

    def serve(self, listener: socket.socket) -> None:
        """Take clients until the listener is closed."""
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self.target)
                self.connections += [client, server]
                is_silent = threading.Event()
                for pump in (self._to_server, self._to_client):
                    threading.Thread(target=pump, args=(client, server, is_silent), daemon=True).start()

    def _to_server(self, client: socket.socket, server: socket.socket, is_silent: threading.Event) -> None:
        left = list(self.last_words)
        with suppress(OSError):
            while said := client.recv(65536):
                while left and left[0] in said:
                    left.pop(0)
                if not left:
                    is_silent.set()
                    self.went_silent.set()
                    if self.is_heard:
                        server.sendall(said)
                    return
                server.sendall(said)
            server.shutdown(socket.SHUT_WR)

    @staticmethod
    def _to_client(client: socket.socket, server: socket.socket, is_silent: threading.Event) -> None:
        with suppress(OSError):
            while said := server.recv(65536):
                if not is_silent.is_set():
                    client.sendall(said)
            if not is_silent.is_set():
                client.close()


@contextmanager
def silent_after(url: str, *last_words: str, is_heard: bool) -> Iterator[tuple[str, Proxy]]:
    """The address of such a network in front of the server at `url`, which is on a socket of this machine."""
    address = sa.make_url(url)
    host = address.query["host"]
    proxy = Proxy(f"{host}/.s.PGSQL.{address.port or 5432}", tuple(map(str.encode, last_words)), is_heard)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=proxy.serve, args=(listener,), daemon=True).start()
        through = address.difference_update_query(["host"]).set(host="127.0.0.1", port=listener.getsockname()[1])
        try:
            yield through.render_as_string(hide_password=False), proxy
        finally:
            for connection in proxy.connections:  # whatever was open on the server is rolled back
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)  # also for a thread that is reading from it
                connection.close()
