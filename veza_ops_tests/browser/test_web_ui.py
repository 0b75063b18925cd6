"""What an operator sees and does in the web UI, from the list of jobs to the plots."""

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest

pytest.importorskip("selenium", reason="the browser test needs selenium: pip install 'veza-ops[browser]'")

from selenium.webdriver.common.by import By

from demo.browser import CHROMEDRIVER, CHROMIUM, Browser
from demo.pipeline import JOB, Pipeline, WebUI
from demo.ports import free_port
from demo.veza import Fate, Song, Veza
from veza_ops_tests.e2e.deployment import let_the_hour_strike

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(not (CHROMIUM and CHROMEDRIVER), reason="chromium or chromedriver is not installed"),
]

TAKEN_OVER = "return JSON.stringify(localStorage).includes('dry_run: true')"
EDITOR = "document.querySelector('.CodeMirror').CodeMirror"


@pytest.fixture(scope="module")
def veza(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Veza]:
    with Veza.running(tmp_path_factory.mktemp("veza") / "files") as veza:
        veza.upload([Song(f"Good {n}", timedelta(days=n), Fate.COMPLETES) for n in range(3)])
        veza.upload([Song("First Ghost", timedelta(hours=5), Fate.KILLED)])
        yield veza


@pytest.fixture(scope="module")
def web(veza: Veza, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebUI]:
    let_the_hour_strike()
    with Pipeline(tmp_path_factory.mktemp("pipeline"), veza).served(free_port()) as web:
        web.finished_on_load()
        yield web


@pytest.fixture(scope="module")
def browser(web: WebUI) -> Iterator[Browser]:
    with Browser.at(web.url) as browser:
        yield browser


def is_switched_on(browser: Browser, automation: str) -> bool:
    """Whether the list of automations shows `automation` with its switch on."""
    row = browser.find(automation).find_element(By.XPATH, "ancestor::*[.//input][1]")
    return any(switch.is_selected() for switch in row.find_elements(By.TAG_NAME, "input"))


def test_the_job_is_listed_with_its_schedule_and_its_sensor_switched_on(browser: Browser) -> None:
    browser.open("/jobs")
    browser.find(JOB)
    browser.open("/automation")
    browser.wait_for("the schedule, on", lambda: is_switched_on(browser, "cleanup_orphan_tracks_hourly"))
    browser.wait_for("the sensor, on", lambda: is_switched_on(browser, "cleanup_orphan_tracks_on_load"))


def test_the_run_page_shows_the_counts_and_the_orphans_in_a_table(browser: Browser, web: WebUI) -> None:
    browser.open(f"/runs/{web.finished_on_load()}?logs=ASSET_OBSERVATION")
    browser.click("View full message")
    said = browser.read("stale", "oldest_orphan_age_hours", "Done").split("\n")
    assert "uploads/first-ghost.flac" in " ".join(said)
    assert "marked_failed" in " ".join(said)


def test_the_launchpad_shows_the_default_config_and_launches_a_dry_run(
    browser: Browser, web: WebUI, veza: Veza
) -> None:
    let_the_hour_strike()
    veza.upload([Song("Second Ghost", timedelta(hours=2), Fate.KILLED)])
    browser.open(f"/locations/veza_ops/jobs/{JOB}/playground")
    browser.read("All defaults expanded")
    config = browser.driver.execute_script(f"return {EDITOR}.getValue()")
    assert "age_threshold_minutes: 60" in config
    assert "env: VEZA_DATABASE_URL" in config
    dry = config.replace("dry_run: false", "dry_run: true")
    assert dry != config
    browser.driver.execute_script(f"{EDITOR}.setValue({json.dumps(dry)})")
    browser.wait_for("the change, taken over", lambda: browser.driver.execute_script(TAKEN_OVER))
    browser.click("Launch Run")
    browser.wait_for("the run's page", lambda: "/runs/" in browser.driver.current_url)
    browser.read("Success")
    [track] = [track for track in veza.tracks() if track["title"] == "Second Ghost"]
    assert track["status"] == "processing"
    run_id = browser.driver.current_url.split("/runs/")[1][:36]
    browser.open(f"/runs/{run_id}?logs=ASSET_OBSERVATION")
    browser.click("View full message")
    browser.read("uploads/second-ghost.flac", "dry_run")
    assert web.instance.get_run_by_id(run_id) is not None


def test_the_asset_page_plots_the_counts(browser: Browser) -> None:
    browser.open("/assets/tracks")
    browser.click("Plots")
    browser.wait_for("plots", lambda: len(browser.driver.find_elements(By.TAG_NAME, "canvas")) > 5)
    browser.read("stale", "missing", "unverifiable", "raced", "marked_failed", "oldest_orphan_age_hours")


def test_the_run_page_says_whether_all_is_well_and_leads_to_the_undo_of_the_run(browser: Browser, web: WebUI) -> None:
    run_id = web.finished_on_load()
    browser.open(f"/runs/{run_id}?logs=ASSET_OBSERVATION")
    browser.click("View full message")
    browser.read("health", "health_since", "week", "undo", "Done")
    launchpad = f"a[href*='restore_orphan_tracks/playground/setup'][href*='{run_id}']"
    link = browser.wait_for("the link", lambda: browser.driver.find_elements(By.CSS_SELECTOR, launchpad))[0]
    browser.driver.get(str(link.get_attribute("href")))
    browser.wait_for("the editor", lambda: browser.driver.find_elements(By.CLASS_NAME, "CodeMirror"))
    browser.read("restore_orphan_tracks")
    filled_in = f"return {EDITOR}.getValue()"
    browser.wait_for("the run's id", lambda: run_id in str(browser.driver.execute_script(filled_in)))
