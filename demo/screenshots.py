"""`make screenshots`: the pictures of the documentation, taken of the demo in the web UI."""

import sys
import tempfile
from pathlib import Path

from selenium.webdriver.common.by import By

from demo.__main__ import told
from demo.browser import CHROMEDRIVER, CHROMIUM, Browser
from demo.dev import ui
from demo.pipeline import JOB, PROJECT, DemoError
from demo.ports import free_port

IMAGES = PROJECT / "docs" / "images"


def take(browser: Browser, run_id: str) -> None:
    """Take all pictures."""
    browser.open("/jobs")
    browser.click("Hide navigation")

    browser.resize(1100, 780)
    browser.open(f"/locations/veza_ops/jobs/{JOB}")
    browser.read("find_stale_tracks", "report_cleanup", "Description")
    browser.save(IMAGES / "job-graph.png")

    browser.open(f"/locations/veza_ops/jobs/{JOB}/playground")
    browser.read("dry_run", "All defaults expanded")
    browser.save(IMAGES / "launchpad.png")

    browser.resize(1100, 900)
    browser.open(f"/runs/{run_id}?logs=report_cleanup")
    browser.read("marked_failed", "View full message", "STEP_SUCCESS")
    browser.save(IMAGES / "run.png")

    browser.resize(1200, 1900)
    browser.click("View full message")
    browser.read("oldest_orphan_age_hours", "stuck_tracks", "Done")
    browser.save(IMAGES / "run-metadata.png")

    browser.resize(1400, 900)
    browser.open("/assets/tracks")
    browser.click("Status")
    browser.click("Description")
    browser.read("health", "health_since", "week")
    browser.save(IMAGES / "asset.png")

    browser.resize(1200, 1520)
    browser.open("/assets/tracks")
    browser.click("Plots")
    browser.click("Status")
    browser.click("Description")
    browser.wait_for("plots", lambda: len(browser.driver.find_elements(By.TAG_NAME, "canvas")) > 5)
    browser.save(IMAGES / "trends.png")

    browser.resize(1100, 780)
    browser.open("/assets/tracks?view=checks&checkDetail=nothing_stuck")
    browser.read("Latest execution", "Evaluation result")
    browser.save(IMAGES / "asset-checks.png")


def make() -> None:
    """Make the pictures."""
    if not (CHROMIUM and CHROMEDRIVER):
        raise DemoError("The pictures are taken with Chromium: install chromium and chromedriver (chromium-driver).")
    IMAGES.mkdir(parents=True, exist_ok=True)
    # Not in the project, so that no picture shows a path of the machine that it was made on.
    with tempfile.TemporaryDirectory(prefix="veza-") as folder, ui(Path(folder), free_port()) as web:
        print("Taking pictures ...")
        with Browser.at(web.url) as browser:
            take(browser, web.finished_on_load())
    for picture in sorted(IMAGES.glob("*.png")):
        print(f"  {picture.relative_to(PROJECT)}: {picture.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    sys.exit(told(make))
