"""A real nginx with the file under deploy/, and what a browser, a program or a foreign page sends to it."""

import base64
import http.client
import json
import shutil
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from websockets.sync.client import ClientConnection, connect  # dagster-webserver brings it

from demo.ports import free_port
from veza_ops_tests.e2e.deployment import ROOT, wait_for

CONF = ROOT / "deploy" / "nginx.conf"

NAME = "ops.example.org"
"""The name of the server in the file."""

LOGIN = {"Authorization": "Basic " + base64.b64encode(b"alice:her password").decode()}
"""What a browser adds by itself once somebody has logged in, whichever page asks."""

needs_nginx = pytest.mark.skipif(
    not all(map(shutil.which, ("nginx", "openssl"))), reason="nginx and openssl aren't installed here"
)


class Answer(NamedTuple):
    """What came back over HTTP."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


@dataclass(frozen=True)
class Site:
    """A webserver as the browser reaches it: through nginx, or by itself."""

    port: int
    is_proxy: bool = True

    @property
    def host(self) -> str:
        """What a browser sends as Host."""
        return f"{NAME}:{self.port}"

    @property
    def origin(self) -> str:
        """What a browser sends as Origin on the site's own pages."""
        return f"https://{self.host}"

    def ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        """Send a request exactly as it is given, with the login."""
        plain = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection = (
            http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60, context=_any_certificate())
            if self.is_proxy
            else plain
        )
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in ({"Host": self.host} | LOGIN | dict(headers or {})).items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        answer = Answer(response.status, response.headers, response.read())
        connection.close()
        return answer

    def graphql(self, query: str, headers: Mapping[str, str] | None = None, **variables: Any) -> dict[str, Any]:
        """Ask in JSON, as the pages do; what was answered."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        answer = self.ask("POST", "/graphql", {"Content-Type": "application/json"} | dict(headers or {}), body)
        assert answer.status == 200, answer
        parsed: dict[str, Any] = json.loads(answer.body)
        assert "errors" not in parsed, parsed
        data: dict[str, Any] = parsed["data"]
        return data

    @contextmanager
    def open_socket(self, origin: str | None, path: str = "/graphql") -> Iterator[ClientConnection]:
        """A WebSocket as a page of `origin` opens it. Raises websockets.exceptions.InvalidStatus if it is refused."""
        line = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        context = _any_certificate() if self.is_proxy else None
        uri = f"{'wss' if self.is_proxy else 'ws'}://{self.host}{path}"
        with connect(
            uri,
            sock=line,
            ssl=context,
            origin=origin,  # type: ignore[arg-type]  # its type is a text with a name of its own
            additional_headers=LOGIN,
            subprotocols=["graphql-ws"],  # type: ignore[list-item]  # as above
            proxy=None,
            open_timeout=60,
        ) as opened:
            yield opened

    def subscribe(self, origin: str | None, query: str) -> dict[str, Any]:
        """The first answer to a question over a WebSocket."""
        with self.open_socket(origin) as opened:
            opened.send(json.dumps({"type": "connection_init", "payload": {}}))
            opened.send(json.dumps({"type": "start", "id": "1", "payload": {"query": query, "variables": {}}}))
            while True:
                message: dict[str, Any] = json.loads(opened.recv(timeout=60))
                if message["type"] not in ("connection_ack", "ka"):
                    return message


def _any_certificate() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@contextmanager
def open_proxy(webserver_port: int, change: Callable[[str], str] = lambda conf: conf) -> Iterator[Site]:
    """The file under deploy/ in a real nginx before a webserver, its places being those of the test."""
    folder = Path(tempfile.mkdtemp(prefix="veza-ops-nginx-"))
    folder.chmod(0o755)  # as root, nginx reads the passwords as a user of its own
    port = free_port()
    try:
        _make_certificate(folder)
        (folder / "passwords").write_text("alice:{PLAIN}her password\n")
        conf = change(CONF.read_text())
        for place, here in {
            "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
            f"/etc/ssl/certs/{NAME}.pem": f"{folder}/certificate.pem",
            f"/etc/ssl/private/{NAME}.key": f"{folder}/key.pem",
            "/etc/nginx/veza-ops.htpasswd": f"{folder}/passwords",
            "http://127.0.0.1:3000": f"http://127.0.0.1:{webserver_port}",
        }.items():
            assert place in conf, place
            conf = conf.replace(place, here)
        (folder / "site.conf").write_text(conf)
        (folder / "nginx.conf").write_text(_around(folder))
        arguments = ["-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
        with subprocess.Popen(["nginx", *arguments]) as nginx:
            try:
                wait_for("nginx", lambda: _listens(port, nginx), seconds=60)
                yield Site(port)
            finally:
                nginx.terminate()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _around(folder: Path) -> str:
    """What stands around the site in /etc/nginx/nginx.conf."""
    temporary = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "\n".join(f"{each}_temp_path {folder}/{each};" for each in temporary)
    return f"""
daemon off; worker_processes 1; pid {folder}/pid;
events {{}}
http {{
{places}
access_log off;
include {folder}/site.conf;
}}
"""


def _listens(port: int, nginx: subprocess.Popen[bytes]) -> bool | None:
    assert nginx.poll() is None, "nginx has ended"
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return None
    return True


def _make_certificate(folder: Path) -> None:
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")]
    subprocess.run([*new, *files, "-days", "1", "-subj", f"/CN={NAME}"], check=True, capture_output=True)
