"""Logins: what passes and what doesn't, told as well as the protocol allows, in any language."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import psycopg
import pytest
import sqlalchemy as sa

from veza_ops.errors import ConfigurationError, DatabaseRefusedError, DatabaseUnavailableError, VezaOpsError
from veza_ops.resources import Database
from veza_ops.tracks.address import parse_url
from veza_ops.tracks.database import create_engine, plain_errors
from veza_ops_tests.library import Library
from veza_ops_tests.tracks.faults import (
    login_error,
    refused,
    told,
)

STARTING = "система базы данных запускается"
NO_SERVER = "postgresql://veza@127.0.0.1:1/veza"

FAKE_SERVER = """
import socket, struct, sys
code, said = sys.argv[1], sys.argv[2]
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
fields = {"S": "ВАЖНО", "V": "FATAL", "C": code, "M": said}
body = b"".join(f"{kind}{value}".encode() + bytes(1) for kind, value in fields.items()) + bytes(1)
while True:
    client, _ = listener.accept()
    while True:
        length, version = struct.unpack("!II", client.recv(8, socket.MSG_WAITALL))
        if version >> 16 == 3:
            break
        client.sendall(b"N")  # no TLS, no GSSAPI
    client.recv(length - 8, socket.MSG_WAITALL)
    client.sendall(b"E" + struct.pack("!I", len(body) + 4) + body)
    client.close()
"""
"""Speaks just enough of the protocol to turn everybody away with one code, in Russian."""


@contextmanager
def server_that_says(code: str, said: str) -> Iterator[str]:
    """The address of a server that turns everybody away. It is a process: libpq's ping lets no thread of ours run."""
    with subprocess.Popen([sys.executable, "-c", FAKE_SERVER, code, said], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield f"postgresql://veza:hunter2@127.0.0.1:{server.stdout.readline().strip()}/veza"
        finally:
            server.kill()


def login(url: str) -> VezaOpsError:
    """What comes of a login that fails."""
    address = parse_url(url)
    engine = create_engine(address, connect_timeout_seconds=5, statement_timeout_seconds=5, lock_timeout_seconds=5)
    with pytest.raises(VezaOpsError) as caught, plain_errors(address), engine.begin():
        pass
    engine.dispose()
    assert "hunter2" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("code", "said", "error"),
    [
        ("57P03", STARTING, DatabaseUnavailableError),
        ("28P01", "пользователь не прошёл проверку подлинности (по паролю)", DatabaseRefusedError),
        ("3D000", "база данных hunter2 не существует", DatabaseRefusedError),
    ],
)
def test_a_server_of_another_language_is_understood_by_its_codes(
    code: str, said: str, error: type[VezaOpsError]
) -> None:
    with server_that_says(code, said) as url:
        caught = login(url)
    assert isinstance(caught, error)
    assert said.replace("hunter2", "***") in str(caught)


def test_a_server_that_is_gone_after_words_that_nobody_knows_is_one_to_try_again() -> None:
    assert isinstance(told(login_error(f"ВАЖНО:  {STARTING}"), NO_SERVER), DatabaseUnavailableError)


def test_a_server_that_lets_others_in_refused_this_login(library: Library) -> None:
    caught = told(login_error("致命错误:  用户 veza 认证失败"), library.url)
    assert isinstance(caught, DatabaseRefusedError)
    assert str(caught).startswith("No login to database")


@pytest.mark.parametrize(
    "said",
    [
        'password authentication failed for user "veza"',
        'database "starting up" does not exist',
        'database "veza" is not currently accepting connections',
        'no pg_hba.conf entry for host "10.0.0.2", user "veza", database "veza", no encryption',
        'server login has been failing, cached error: password authentication failed for user "x" (server_login_retry)',
        "no such database: veza",
        "connection requires a valid client certificate",
    ],
)
def test_a_login_that_will_never_do_is_not_tried_again(said: str) -> None:
    """Nobody is asked again either: that server is out of reach, and would pass for one that is busy."""
    caught = told(login_error(f"FATAL:  {said}"), NO_SERVER)
    assert isinstance(caught, DatabaseRefusedError)
    assert str(caught).startswith("No login to database")


@pytest.mark.parametrize(
    "said",
    [
        "Connection refused\n\tIs the server running on that host and accepting TCP/IP connections?",
        "timeout expired",
        "server closed the connection unexpectedly",
        "SSL error: unexpected eof while reading",
        "could not receive data from server: Connection reset by peer",
        "session is read-only",
    ],
)
def test_what_libpq_itself_says_of_a_connection_passes(said: str, library: Library) -> None:
    """Also where the server answers by now."""
    assert isinstance(told(login_error(said), library.url), DatabaseUnavailableError)


def test_a_cut_connection_passes_in_any_language(library: Library) -> None:
    said = "consuming input failed: ВАЖНО:  закрытие подключения по команде администратора"
    error = sa.exc.OperationalError("SELECT", None, psycopg.OperationalError(said))
    assert isinstance(told(error, library.url), DatabaseUnavailableError)


@pytest.mark.parametrize(
    "options",
    [
        "sslmode=bogus",
        "sslmode=require",
        "service=hunter2-nowhere",
        "keepalives=bogus",
        "target_session_attrs=bogus",
    ],
)
def test_a_setting_that_leads_to_no_connection_is_not_tried_again(options: str) -> None:
    with server_that_says("57P03", STARTING) as url:
        caught = login(f"{url}?{options}")
    assert isinstance(caught, ConfigurationError)
    assert str(caught).startswith("VEZA_DATABASE_URL (or database.url) leads to no connection with database veza")


@pytest.mark.parametrize(
    "said",
    [
        "SSL error: certificate verify failed",
        "SSL error: tlsv1 alert unknown ca",
        'root certificate file "/nowhere" does not exist',
        'server certificate for "db" does not match host name "10.0.0.1"',
        'private key file "/key" has group or world access',
        "received invalid response to SSL negotiation: H",
    ],
)
def test_a_certificate_that_will_never_do_is_not_tried_again(said: str) -> None:
    assert isinstance(told(login_error(said)), ConfigurationError)


def test_a_host_of_any_name_is_only_a_host() -> None:
    caught = login("postgresql://veza@%2Fcertificate%2Fnot%20permitted%20to%20log%20in/veza")
    assert isinstance(caught, DatabaseUnavailableError)


@pytest.mark.parametrize(
    ("code", "said", "error"),
    [
        ("28P01", "password authentication failed", DatabaseRefusedError),
        ("08P01", "cached error: password authentication failed (server_login_retry)", DatabaseRefusedError),
        ("08P01", "query_wait_timeout", DatabaseUnavailableError),
    ],
)
def test_a_pooler_may_log_in_with_the_first_statement_only(
    code: str, said: str, error: type[VezaOpsError], library: Library
) -> None:
    caught = told(refused(library, f"DO $$ BEGIN RAISE '{said}' USING ERRCODE = '{code}'; END $$"))
    assert isinstance(caught, error)
    assert "to database veza (veza@db:5432)" in str(caught)


def test_our_own_settings_win_over_those_of_the_address(library: Library) -> None:
    separator = "&" if "?" in library.url else "?"
    database = Database(url=f"{library.url}{separator}application_name=mine&client_encoding=latin1&keepalives_count=7")
    with (
        database.yield_for_execution(dg.build_init_resource_context()),
        database.tracks() as tracks,
    ):
        raw = tracks.connection.connection.driver_connection
        assert isinstance(raw, psycopg.Connection)
        parameters = raw.info.get_parameters()
        assert parameters["application_name"] == "veza-ops"
        assert parameters["keepalives_count"] == "3"
        assert raw.info.encoding == "utf-8"


def test_several_hosts_are_tried_in_turn(library: Library) -> None:
    address = parse_url(f"{library.url.replace('?host=', '?host=/nowhere,')}&target_session_attrs=read-write")
    engine = create_engine(address, connect_timeout_seconds=5, statement_timeout_seconds=5, lock_timeout_seconds=5)
    with plain_errors(address), engine.begin() as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar_one() == 1
    engine.dispose()
