"""The address of Veza's database, as libpq itself reads it; what is secret in it stays in it.

How a connection is made with it, and what comes of that, stands in `database`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

from veza_ops.errors import ConfigurationError
from veza_ops.text import scheme, shown

_SETTING = "VEZA_DATABASE_URL (or database.url)"
_FORM = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
_NO_ADDRESS = f"Write {_FORM}, with special characters of the password percent-encoded."
# The driver after a + is SQLAlchemy's way to write an address. There is one driver here.
_SCHEME = re.compile(r"((?:jdbc:)?[a-z][a-z0-9.-]{0,30})(?:\+\w+)?://", re.IGNORECASE)
_BROKEN_ENCODING = re.compile(r"%(?![0-9a-f]{2})|%00", re.IGNORECASE)
_OPTION = re.compile(r"[a-z_]{1,40}", re.IGNORECASE)
_PORT = re.compile(r"[0-9]{1,5}")
_HIGHEST_PORT = 65_535


@dataclass(frozen=True)
class Address:
    """Where the database is and how to get in: libpq's own parameters."""

    parameters: Mapping[str, str] = field(repr=False)

    @property
    def name(self) -> str:
        """The database as messages name it: ``database veza (veza@127.0.0.1:5432)``."""
        user, database = self.parameters.get("user"), self.parameters.get("dbname")
        called = f"database {database or user}" if database or user else "the default database"
        return shown(f"{called} ({user or 'default user'}@{self._places()})")

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values that nobody may see, the longest first. One from libpq's own environment (PGPASSWORD) as well."""
        found = {value for key, value in self.parameters.items() if _is_secret(key)}
        for option in pq.Conninfo.get_defaults():
            if option.val and _is_secret(option.keyword.decode()):
                found.add(option.val.decode(errors="replace"))
        return tuple(sorted(filter(None, found), key=len, reverse=True))

    def hide(self, text: str) -> str:
        """`text` with ``***`` for each secret, however much of it is percent-encoded there."""
        for secret in self.secrets:
            text = re.sub("".join(map(_either_way, secret)), "***", text)
        return text

    @property
    def hosts(self) -> list[str]:
        """Those that are tried one after the other; an empty one is the local socket."""
        return (self.parameters.get("host") or self.parameters.get("hostaddr") or "").split(",")

    def _places(self) -> str:
        hosts = self.hosts
        if hosts == [""] and (service := self.parameters.get("service")):
            return f"service {service}"
        ports = (self.parameters.get("port") or "").split(",")
        if len(ports) != len(hosts):
            ports = ports[:1] * len(hosts)
        return ",".join(f"{_host(host)}:{port or 5432}" for host, port in zip(hosts, ports, strict=True))


def parse_url(text: str) -> Address:
    """The address of a PostgreSQL database. Raises ConfigurationError, without showing what may be a password."""
    text = text.strip()
    if found := _SCHEME.match(text):
        name = found[1].lower()
        if name not in ("postgres", "postgresql"):
            raise ConfigurationError(
                f"{_SETTING} starts with {scheme(name)}://, but veza-ops speaks PostgreSQL only: {_FORM}."
            )
        rest = text[found.end() :]
        _require_encoding(rest)
        text = f"postgresql://{rest}"
    parameters = _parsed(text)
    _require_ports(parameters)
    return Address(parameters)


def _require_encoding(rest: str) -> None:
    """Raises ConfigurationError where a character of the password may have been taken for a part of the address."""
    login, _, place = rest.partition("/")
    if login.count("@") > 1 or "@" in place:  # the password's rest would show as host, database or option
        raise ConfigurationError(
            f"{_SETTING} holds an @ or a / that isn't percent-encoded: percent-encode those of the password, as %40 "
            "and %2F."
        )
    if _BROKEN_ENCODING.search(rest):
        raise ConfigurationError(
            f"{_SETTING} holds a % that begins no percent-encoding: percent-encode the one in the password, as %25."
        )
    _require_known_options(login, rest.rpartition("@")[2].partition("?")[2].split("&"), has_login="@" in rest)


def _require_known_options(login: str, options: list[str], *, has_login: bool) -> None:
    # "ssl" is no option of libpq's; it takes this one form of it from JDBC.
    names = [option.partition("=")[0] for option in options if option not in ("", "ssl=true")]
    strange = {name for name in names if name not in _known_options()}
    twice = {name for name in names if names.count(name) > 1}
    if not strange and not twice:
        return
    # It may be the rest of a secret: after an & that isn't percent-encoded, or where there is no host.
    can_be_named = (
        not any(map(_is_secret, names))
        and all(map(_OPTION.fullmatch, strange))
        and (has_login or ":" not in login.partition("?")[0])
    )
    named = f" ({', '.join(sorted(strange or twice))})" if can_be_named else ""
    fault = "an option that no connection knows" if strange else "an option more than once"
    raise ConfigurationError(f"{_SETTING} holds {fault}{named}. Leave it out, and percent-encode the values.")


def _parsed(text: str) -> dict[str, str]:
    try:
        parameters = conninfo_to_dict(text)
    except (psycopg.Error, UnicodeError):  # their words may hold a part of the password
        raise ConfigurationError(f"{_SETTING} is not an address. {_NO_ADDRESS}") from None
    if not text or "\0" in text:  # libpq would read up to the NUL
        raise ConfigurationError(f"{_SETTING} is not an address. {_NO_ADDRESS}")
    return {key: str(value) for key, value in parameters.items()}


def _require_ports(parameters: Mapping[str, str]) -> None:
    hosts = (parameters.get("host") or parameters.get("hostaddr") or "").split(",")
    ports = (parameters.get("port") or "").split(",")
    if not all(port == "" or (_PORT.fullmatch(port) and 0 < int(port) <= _HIGHEST_PORT) for port in ports):
        raise ConfigurationError(f"{_SETTING} is not an address: its port is no number. {_NO_ADDRESS}")
    if len(ports) not in (1, len(hosts)):
        raise ConfigurationError(
            f"{_SETTING} is not an address: it has {len(ports)} ports for {len(hosts)} hosts. {_NO_ADDRESS}"
        )


def _known_options() -> set[str]:
    return {option.keyword.decode() for option in pq.Conninfo.get_defaults()}


def _is_secret(option: str) -> bool:
    return "password" in option or "secret" in option or option in ("scram_client_key", "scram_server_key")


def _host(host: str) -> str:
    if not host:
        return "the local socket"
    return f"[{host}]" if ":" in host and not host.startswith("/") else host


def _either_way(character: str) -> str:
    encoded = "".join(f"%{byte:02x}" for byte in character.encode(errors="replace"))
    return f"(?:{re.escape(character)}|(?i:{encoded}))"
