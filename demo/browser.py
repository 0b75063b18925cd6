"""A person at the web UI, in a headless Chromium."""

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from selenium.common.exceptions import TimeoutException, WebDriverException
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

T = TypeVar("T")

CHROMIUM = shutil.which("chromium")
CHROMEDRIVER = shutil.which("chromedriver")
PATIENCE_SECONDS = 90
_QUIET = (
    "--headless=new",
    "--no-sandbox",  # Chromium has none for root, which a container's user often is
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


class Browser:
    """One window on the web UI at `url`. Whatever is asked of it, it waits for."""

    def __init__(self, driver: Chrome, url: str) -> None:
        self.driver, self.url = driver, url

    @classmethod
    @contextlib.contextmanager
    def at(cls, url: str) -> Iterator["Browser"]:
        """A browser with an empty profile of its own."""
        with tempfile.TemporaryDirectory(prefix="veza-demo-", ignore_cleanup_errors=True) as profile:
            options = ChromeOptions()
            options.binary_location = str(CHROMIUM)
            for argument in (*_QUIET, f"--user-data-dir={profile}"):
                options.add_argument(argument)
            driver = Chrome(options, ChromeService(CHROMEDRIVER))
            try:
                browser = cls(driver, url)
                browser.resize(1200, 800)
                yield browser
            finally:
                driver.quit()

    def resize(self, width: int, height: int) -> None:
        """Give the page this size in pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def open(self, path: str) -> None:
        """Go to a page."""
        self.driver.get(self.url + path)

    def find(self, text: str) -> WebElement:
        """The first thing in sight that shows exactly `text`."""

        def shown() -> WebElement | None:
            found = self.driver.find_elements(By.XPATH, f'//*[normalize-space(text())="{text}"]')
            return next((element for element in found if element.is_displayed()), None)

        return self.wait_for(text, shown)

    def click(self, text: str) -> None:
        """Click on what shows exactly `text`, once it can be clicked on."""

        def clicked() -> bool:
            element = self.find(text)
            if element.find_elements(By.XPATH, "ancestor-or-self::button[@disabled]"):
                return False
            element.click()
            return True

        self.wait_for(text, clicked)

    def read(self, *texts: str) -> str:
        """Wait until all of `texts` are on the page; all that it says."""

        def page() -> str | None:
            said = self.driver.find_element(By.TAG_NAME, "body").text
            return said if all(text in said for text in texts) else None

        return self.wait_for(" and ".join(texts), page)

    def wait_for(self, what: str, look: Callable[[], T | None]) -> T:
        """Look until there is something to see; the page redraws itself whenever it likes."""
        try:
            waiting = WebDriverWait(self.driver, PATIENCE_SECONDS, ignored_exceptions=[WebDriverException])
            return waiting.until(lambda _: look() or False)
        except TimeoutException:
            said = self.driver.find_element(By.TAG_NAME, "body").text
            raise AssertionError(f"{what} is not on {self.driver.current_url}, which says:\n{said}") from None

    def save(self, picture: Path) -> None:
        """Save a picture of the page, once it has come to rest."""
        before, now = b"", self.driver.get_screenshot_as_png()
        while before != now:
            time.sleep(1)
            before, now = now, self.driver.get_screenshot_as_png()
        picture.write_bytes(now)
