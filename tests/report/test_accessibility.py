"""axe-core on every kind of page, on a phone and a desktop, light and dark: it finds nothing."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from selenium.webdriver.support.ui import WebDriverWait

from browsers import CHROMIUM, DRIVER, Browser, a_browser, view
from click_board_cases import click_board, click_entry
from curve_cases import curves, trained, tuned
from llmrs_bench.leaderboard import PublishedRow, PublishedTable
from llmrs_bench.leaderboard.board import PublishedMatch
from llmrs_bench.report.html import Extra, to_html
from page_cases import made_board, made_extra
from site_cases import made_site

AXE = os.environ.get("AXE_CORE", "")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not AXE, reason="AXE_CORE names no axe.min.js (npm pack axe-core has one)"),
    pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="no Chromium with its driver here"),
]


def printed() -> str:
    """Return a page with rows beside printed ones, in two tables of one title."""
    made = made_board()
    row = PublishedRow("Alpha", "big", (0.5,))
    match = PublishedMatch(made.rows[0].run, row, (("users", "3", "200"),))
    tables = [
        PublishedTable("ranking", source, "200 users", (made.key,), (row,), matches=(match,))
        for source in ("a paper, Table 1", "another paper, Table 1")
    ]
    return to_html(replace(made, published=tuple(tables)), made_extra())


def curved() -> str:
    rows = [tuned(16, 0.4), tuned(64, 0.5), trained("sasrec", 0.6)]
    return to_html(made_board(), Extra(curves=curves(rows, "samples")))


PAGES: dict[str, Callable[[], str]] = {
    "board": lambda: to_html(made_board(), made_extra()),
    "clicks": lambda: to_html(click_board([click_entry("a", 1.0), click_entry("b", 1.0, 1)])[0], Extra()),
    "curves": curved,
    "printed": printed,
    "site": made_site,
}


@pytest.fixture(scope="module")
def started() -> Iterator[Browser]:
    yield from a_browser()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1400])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing(started: Browser, tmp_path: Path, name: str, width: int, scheme: str) -> None:
    (tmp_path / "page.html").write_text(PAGES[name](), "utf-8")
    view(started, width, scheme)
    started.get((tmp_path / "page.html").as_uri())
    WebDriverWait(started, 20).until(
        lambda page: page.execute_script("return document.documentElement.dataset.ready") == "all"
    )
    started.execute_script("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    started.execute_script("document.querySelectorAll('#board-table .more').forEach((each) => each.click())")
    started.execute_script(Path(AXE).read_text("utf-8"))
    found = started.execute_async_script("axe.run().then((found) => arguments[0](found.violations))")
    assert {each["id"]: [node["html"][:200] for node in each["nodes"][:3]] for each in found} == {}
