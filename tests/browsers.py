"""A real browser for tests of pages: Chromium without a window, what it logs and asks for, and its size."""

import json
import shutil
from collections.abc import Iterator
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
Browser = webdriver.Chrome


def a_browser() -> Iterator[Browser]:
    """Yield a browser, and end it afterwards."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument("--force-prefers-reduced-motion")  # a click does not wait for the page to glide
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    yield browser
    browser.quit()


def console(browser: Browser) -> list[str]:
    """Return what the console said since it was last asked."""
    return [entry["message"] for entry in log(browser, "browser")]


def requested(browser: Browser) -> list[str]:
    """Return the addresses that were asked for since this was last asked."""
    messages = [json.loads(entry["message"])["message"] for entry in log(browser, "performance")]
    return [found["params"]["request"]["url"] for found in messages if found["method"] == "Network.requestWillBeSent"]


def log(browser: Browser, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = browser.get_log(name)  # type: ignore[no-untyped-call]
    return found


def view(browser: Browser, width: int, scheme: str = "light") -> None:
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme_feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme_feature]})
