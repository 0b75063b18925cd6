"""deploy/nginx.conf: what a foreign page has a browser send is refused, and what Dagster's own pages send is not."""

import json
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache, partial

import dagster as dg
import pytest
from websockets.exceptions import InvalidStatus

from demo.ports import free_port
from veza_ops_tests.e2e.deployment import (
    A_MINUTE_AND_THE_START,
    JOB,
    Deployment,
    open_deployment,
    wait_for,
    webserver_answers,
)
from veza_ops_tests.e2e.proxy import NAME, Site, needs_nginx, open_proxy

pytestmark = [
    pytest.mark.timeout(1200),
    needs_nginx,
    pytest.mark.xdist_group("proxy"),  # they share a webserver, which takes long to start
]

SELECTOR = f'{{repositoryLocationName: "veza_ops", repositoryName: "__repository__", jobName: "{JOB}"}}'
LAUNCH = f"mutation {{ launchRun(executionParams: {{selector: {SELECTOR}, runConfigData: {{}}}}) {{ __typename }} }}"
IN_ADDRESS = urllib.parse.urlencode({"query": LAUNCH})
AS_JSON = json.dumps({"query": LAUNCH}).encode()
JSON = {"Content-Type": "application/json"}
VERSION = "{ version }"


@dataclass(frozen=True)
class Webserver:
    """A real webserver, and what has been done through it."""

    port: int
    deployment: Deployment

    def done(self) -> tuple[int, int]:
        """The number of runs that were launched, and of events that were reported of the asset."""
        instance, tracks = self.deployment.instance, dg.AssetKey("tracks")
        return instance.get_runs_count(), sum(
            len(fetch(tracks, limit=1000).records)
            for fetch in (instance.fetch_observations, instance.fetch_materializations)
        )


@pytest.fixture(scope="module")
def webserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webserver]:
    port = free_port()
    for deployment in open_deployment(tmp_path_factory.mktemp("proxy") / "home", {}):
        deployment.start("dagster-webserver", "--host", "127.0.0.1", "--port", str(port))
        wait_for("the webserver", partial(webserver_answers, port), seconds=A_MINUTE_AND_THE_START)
        yield Webserver(port, deployment)


@pytest.fixture(scope="module")
def site(webserver: Webserver) -> Iterator[Site]:
    with open_proxy(webserver.port) as site:
        yield site


@pytest.fixture(scope="module")
def unguarded(webserver: Webserver) -> Iterator[Callable[[Callable[[str], str]], Site]]:
    """The file without one of its guards; each such nginx is started once."""
    with ExitStack() as stack:
        yield cache(lambda change: stack.enter_context(open_proxy(webserver.port, change)))


@cache
def without(guard: str) -> Callable[[str], str]:
    """The file without a line that has `guard` in it."""

    def change(conf: str) -> str:
        lines = conf.splitlines(keepends=True)
        kept = [line for line in lines if guard not in line]
        assert len(lines) - len(kept) == 1, guard
        return "".join(kept)

    return change


@cache
def with_(old: str, new: str) -> Callable[[str], str]:
    """The file with one guard made weaker."""

    def change(conf: str) -> str:
        assert conf.count(old) == 1, old
        return conf.replace(old, new)

    return change


NO_HOST = without("$host != $server_name")
NO_ORIGIN = without("if ($veza_ops_foreign)")
NO_JSON = without("if ($veza_ops_not_json)")
NO_GRAPHQL = without("if ($veza_ops_not_graphql)")


@dataclass(frozen=True)
class Attack:
    """A request that a foreign page has a browser send, which Dagster would carry out."""

    what: str
    guard: Callable[[str], str]
    method: str = "POST"
    path: str = "/graphql"
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None

    def __str__(self) -> str:
        return self.what

    def go(self, site: Site) -> int:
        """Send it; the status of the answer."""
        headers = {name: value.format(host=site.host) for name, value in self.headers.items()}
        return site.ask(self.method, self.path, headers, self.body).status


def foreign(what: str, guard: Callable[[str], str] = NO_ORIGIN, **headers: str) -> Attack:
    """JSON, which a browser would send for a page that some later mistake gave leave to."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Attack(what, guard, headers=JSON | named, body=AS_JSON)


def form(what: str, kind: str | None, body: bytes = b"", path: str = f"/graphql?{IN_ADDRESS}") -> Attack:
    """What any page can send to any other without being asked, from a browser that names no page."""
    return Attack(what, NO_JSON, path=path, headers={"Content-Type": kind} if kind else {}, body=body)


ATTACKS = [
    Attack("an image", NO_GRAPHQL, "GET", f"/graphql?{IN_ADDRESS}"),
    Attack("an image of an encoded path", NO_GRAPHQL, "GET", f"/%67raph%71l?{IN_ADDRESS}"),
    Attack("an image with an encoded argument", NO_GRAPHQL, "GET", f"/graphql?q%75ery{IN_ADDRESS[5:]}"),
    Attack("an image that asks for JSON", NO_GRAPHQL, "GET", f"/graphql?{IN_ADDRESS}", {"Accept": "application/json"}),
    form("a form", "application/x-www-form-urlencoded"),
    form("a form with a file", "multipart/form-data; boundary=x", b"--x--\r\n"),
    form("text", "text/plain"),
    form("no type at all", None),
    form("text that is JSON", "text/plain; application/json", AS_JSON, "/graphql"),
    Attack(
        "a type that begins like JSON",
        with_("application/json *(;|$)", "application/json"),
        headers={"Content-Type": "application/jsonx; application/json"},
        body=AS_JSON,
    ),
    form("GraphQL", "application/graphql", LAUNCH.encode(), "/graphql"),
    form("a reported materialization", None, path="/report_asset_materialization/tracks"),
    form("a reported observation", None, path="/report_asset_observation/tracks"),
    foreign("another site", Origin="https://evil.example"),
    foreign("another scheme", Origin="http://{host}"),
    foreign("another port", Origin=f"https://{NAME}:1"),
    foreign("a name that begins like ours", Origin="https://{host}.evil.example"),
    foreign("a name that ends like ours", Origin="https://evil-{host}"),
    foreign("our name on the usual port", with_('\\1$"', '\\1"'), Origin=f"https://{NAME}"),
    foreign("a frame without an origin", Origin="null"),
    foreign("another site, by Sec-Fetch-Site", Sec_Fetch_Site="cross-site"),
    foreign(
        "a site that is told last", with_("(same-origin|none)?$", "(same-origin|none)?"), Sec_Fetch_Site="cross-site"
    ),
    foreign("a sister site, by Sec-Fetch-Site", Sec_Fetch_Site="same-site"),
    foreign("another name for this machine", NO_HOST, Host="evil.example", Origin="https://evil.example"),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_what_a_foreign_page_sends_is_refused(webserver: Webserver, site: Site, attack: Attack) -> None:
    before = webserver.done()
    assert attack.go(site) in (403, 415, 421)
    assert webserver.done() == before


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_without_its_guard_dagster_would_carry_it_out(
    webserver: Webserver, unguarded: Callable[[Callable[[str], str]], Site], attack: Attack
) -> None:
    before = webserver.done()
    assert attack.go(unguarded(attack.guard)) == 200
    assert webserver.done() > before


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("HEAD", f"/graphql?{IN_ADDRESS}"),
        ("GET", f"/graphql/?{IN_ADDRESS}"),
        ("GET", f"//graphql?{IN_ADDRESS}"),
        ("GET", f"/x/../graphql?{IN_ADDRESS}"),
        ("GET", f"/GraphQL?{IN_ADDRESS}"),
        ("GET", "/graphql"),
        *((method, path) for method in ("PUT", "PATCH", "DELETE", "OPTIONS", "QUERY") for path in ("/graphql", "/")),
    ],
)
def test_other_ways_to_write_it_are_refused_whatever_dagster_makes_of_them(
    webserver: Webserver, site: Site, method: str, path: str
) -> None:
    before = webserver.done()
    assert site.ask(method, path, JSON).status == 403
    assert webserver.done() == before


@pytest.mark.parametrize("origin", ["https://evil.example", "null", None])
def test_a_foreign_page_gets_no_web_socket_to_read_events_from(
    webserver: Webserver, site: Site, unguarded: Callable[[Callable[[str], str]], Site], origin: str | None
) -> None:
    question = events_of_a_run(site)
    with pytest.raises(InvalidStatus, match="403"):
        site.subscribe(origin, question)
    assert unguarded(NO_GRAPHQL).subscribe(origin, question)["type"] == "data"
    before = webserver.done()
    assert unguarded(NO_GRAPHQL).subscribe(origin, LAUNCH)["type"] == "error"  # over a socket, Dagster only tells
    assert webserver.done() == before


def test_nobody_gets_in_without_the_password(webserver: Webserver, site: Site) -> None:
    wrong = {"Authorization": "Basic YWxpY2U6Z3Vlc3NlZA=="}
    before = webserver.done()
    for method, path in (("GET", "/"), ("POST", "/graphql"), ("GET", "/logs/x/y.err"), ("GET", "/server_info")):
        assert site.ask(method, path, JSON | wrong, AS_JSON if method == "POST" else None).status == 401
    assert webserver.done() == before


def test_no_foreign_page_can_show_ours_in_a_frame(site: Site) -> None:
    page = site.ask("GET", "/")
    assert page.headers["X-Frame-Options"] == "SAMEORIGIN"
    assert "frame-ancestors 'self'" in page.headers.get_all("Content-Security-Policy", [])


def test_the_pages_work(webserver: Webserver, site: Site) -> None:
    page = site.ask("GET", "/runs?q=status%3Aqueued", {"Sec-Fetch-Site": "cross-site"})  # a link in a message
    assert page.status == 200
    assert b"<!doctype html" in page.body.lower()
    assert site.ask("GET", "/favicon.ico").status == 200
    before = webserver.done()
    ours = {"Origin": site.origin, "Sec-Fetch-Site": "same-origin"}
    assert site.graphql(VERSION, ours)["version"]
    assert site.graphql(LAUNCH, ours)["launchRun"]["__typename"] == "LaunchRunSuccess"
    assert webserver.done() > before


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8"])
def test_a_program_may_ask_in_json(site: Site, kind: str) -> None:
    assert site.graphql(VERSION, {"Content-Type": kind})["version"]


def test_our_pages_are_kept_up_to_date_over_a_web_socket(site: Site) -> None:
    message = site.subscribe(site.origin, events_of_a_run(site))
    assert message["type"] == "data"
    assert message["payload"]["data"]["pipelineRunLogs"]["__typename"] == "PipelineRunLogsSubscriptionSuccess"


def events_of_a_run(site: Site) -> str:
    """A subscription to the events of a run."""
    launched = site.graphql(LAUNCH.replace("__typename", "... on LaunchRunSuccess { run { runId } }"))
    run_id = launched["launchRun"]["run"]["runId"]
    return f'subscription {{ pipelineRunLogs(runId: "{run_id}") {{ __typename }} }}'
