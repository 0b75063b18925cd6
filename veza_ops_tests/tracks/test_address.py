"""The address: whatever libpq takes is taken, whatever is wrong is said, and no part of a password is shown."""

from pathlib import Path

import pytest

from veza_ops.errors import ConfigurationError
from veza_ops.text import shown
from veza_ops.tracks.address import Address, parse_url

SECRET = "hunter2%40home"
PLAIN_SECRET = "hunter2@home"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("not a url", "is not an address"),
        ("", "is not an address"),
        ("hunter2", "is not an address"),
        ("aHVudGVyMg==", "is not an address"),
        ("host=h password=very hunter2", "is not an address"),
        ("host=h password=very hunter2=x", "is not an address"),
        ("postgresql:/u:hunter2@h/db?x=y", "is not an address"),
        (f"postgresql://u:{SECRET}@h/db\0", "is not an address"),
        (f"postgresql://u:{SECRET}@h/db\udcff", "is not an address"),
        ("postgresql://u:hunter2%ff@h/db", "is not an address"),
        ("postgresql://u:hunter2 home@h/db", "is not an address"),
        (f"postgresql://u:{SECRET}@[::1/db", "is not an address"),
        (f"postgresql://u:{SECRET}@h:port/db", "is not an address: its port is no number"),
        (f"postgresql://u:{SECRET}@h:65536/db", "its port is no number"),
        (f"postgresql://u:{SECRET}@h:0/db", "its port is no number"),
        (f"postgresql://u:{SECRET}@h1:1,h2:2,h3/db?port=1,2", "2 ports for 3 hosts"),
        ("postgresql://u:hunter2/db", "its port is no number"),
        (f"mysql://u:{SECRET}@h/db", "starts with mysql://, but veza-ops speaks PostgreSQL only"),
        (f"mysql+pymysql://u:{SECRET}@h/db", "starts with mysql://"),
        (f"jdbc:postgresql://h/db?user=u&password={SECRET}", "starts with jdbc:postgresql://"),
        (f"sqlite:///{SECRET}", "speaks PostgreSQL only"),
        (f"postgresql://u:{PLAIN_SECRET}@h/db", "percent-encode"),
        ("postgresql://u:p@hunter2/word@h/db", "percent-encode"),
        ("postgresql://u:1/hunter2@h/db", "percent-encode those of the password, as %40 and %2F"),
        ("postgresql://u:hunter2/word@h/db", "percent-encode"),
        ("postgresql://u:a?b/hunter2=c@h/db", "percent-encode"),
        ("postgresql://u:a#b/hunter2@h/db", "percent-encode"),
        ("postgresql://u:p@h/db?password=hunter2@home", "percent-encode"),
        ("postgresql://u:hunter2%zz@h/db", "percent-encode the one in the password, as %25"),
        ("postgresql://u:hunter2%@h/db", "as %25"),
        ("postgresql://u:hunter2%00@h/db", "as %25"),
        ("postgresql://h/db?password=p&hunter=2", "an option that no connection knows"),
        ("postgresql://h/db?password=p&hunter", "an option that no connection knows"),
        ("postgresql://u:p@h/db?hunter2=red", "an option that no connection knows"),
        ("postgresql://u:p?hunter", "an option that no connection knows"),
    ],
)
def test_an_address_that_is_none_is_refused_without_showing_it(url: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_url(url)
    assert said in str(caught.value)
    assert "hunter" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize("option", ["colour=red", "colour", "ssl=require", "async_fallback=true"])
def test_an_option_that_no_connection_knows_is_named(option: str) -> None:
    with pytest.raises(ConfigurationError, match=option.partition("=")[0]):
        parse_url(f"postgresql://u:{SECRET}@h/db?sslmode=require&{option}")


def test_an_option_that_is_given_twice_is_named() -> None:
    """SQLAlchemy's way to write several hosts, of which libpq would take the last."""
    with pytest.raises(ConfigurationError, match=r"more than once \(host\)"):
        parse_url("postgresql://u:p@/db?host=h1:5432&host=h2:5433")


@pytest.mark.parametrize(
    "scheme",
    [
        "postgres",
        "postgresql",
        "POSTGRESQL",
        *(f"postgresql+{driver}" for driver in ("psycopg", "psycopg2", "asyncpg", "pg8000", "psycopg_async")),
    ],
)
def test_the_usual_ways_to_write_an_address_are_taken(scheme: str) -> None:
    parameters = parse_url(f" {scheme}://u:{SECRET}@h/db\n").parameters
    assert parameters == {"user": "u", "password": PLAIN_SECRET, "host": "h", "dbname": "db"}


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("postgresql://u:p@h:6432/db", "database db (u@h:6432)"),
        ("postgresql://u:p@h:1/db", "database db (u@h:1)"),
        ("postgresql://u:p@h:65535/db", "database db (u@h:65535)"),
        ("postgresql://u:p@%2Fvar%2Frun%2Fpostgresql/db", "database db (u@/var/run/postgresql:5432)"),
        ("postgresql://u:@/db?host=/run/postgresql", "database db (u@/run/postgresql:5432)"),
        ("postgresql://u@h1:5432,h2:5433/db?target_session_attrs=read-write", "database db (u@h1:5432,h2:5433)"),
        ("postgresql://u@h1,h2/db?port=5433", "database db (u@h1:5433,h2:5433)"),
        ("postgresql://u@[::1]:54/db", "database db (u@[::1]:54)"),
        ("postgresql://u@/db?hostaddr=127.0.0.1", "database db (u@127.0.0.1:5432)"),
        ("postgresql://u:a?b#c:d@h/db", "database db (u@h:5432)"),
        ("postgresql://u@h/db?sslmode=verify-full&ssl=true", "database db (u@h:5432)"),
        ("postgresql://u@h", "database u (u@h:5432)"),
        ("postgresql://", "the default database (default user@the local socket:5432)"),
        ("postgresql:///?service=veza", "the default database (default user@service veza)"),
        ("service=veza", "the default database (default user@service veza)"),
        (r"host=h dbname=db user=u password='it\'s'", "database db (u@h:5432)"),
        ("postgresql://u%0Ax@h/db", "database db (u\\nx@h:5432)"),
    ],
)
def test_whatever_libpq_takes_has_a_name_for_messages(url: str, name: str) -> None:
    assert parse_url(url).name == name


def test_a_secret_is_hidden_however_much_of_it_is_encoded() -> None:
    address = parse_url(f"postgresql://u:{SECRET}@h/db?sslpassword=k%C3%A9y&oauth_client_secret=hunter2%40home2")
    assert address.hide("<hunter2@home> <hunter2%40home> <%68unter2%40%48ome> <kéy> <k%c3%A9y> <hunter2@home2>") == (
        "<***> <***> <%68unter2%40%48ome> <***> <***> <***>"
    )
    assert address.hide("<%68unter2%40home>") == "<***>"


def test_a_secret_of_the_environment_is_one_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "hunter2")
    assert Address({}).hide("no hunter2 here") == "no *** here"


def test_an_address_does_not_show_itself(tmp_path: Path) -> None:
    assert "hunter2" not in repr(parse_url(f"postgresql://u:{SECRET}@h/db?passfile={tmp_path}"))


def test_what_people_are_shown_is_on_one_line_and_of_a_sensible_length() -> None:
    assert shown("a\nb\x1b[2Jc") == "a\\nb\\x1b[2Jc"
    assert shown("Сообщение") == "Сообщение"
    assert shown("x" * 300, 200) == f"{'x' * 199}…"
