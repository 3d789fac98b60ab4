"""The index of many boards: its values, and in a real browser its filters and its looks at two widths."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browsers import CHROMIUM, DRIVER, Browser, a_browser, console, requested, view
from site_cases import ENDING, made_site


def payload(page: str) -> Any:
    found = re.search(r'id="site-data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_a_board_is_told_by_its_best_rows_and_what_changed() -> None:
    films, books = payload(made_site())["boards"]
    assert (films["ours"]["label"], films["other"]["label"], films["key"]) == ("lm", "knn", "ndcg@10")
    assert films["gap"]["difference"] == pytest.approx(0.1)
    assert films["ours"]["seconds"] == pytest.approx(100.0)
    assert [round(ours - other, 4) for _, ours, other in films["trend"]] == [-0.2, 0.1]
    (jump,) = films["jumps"]
    assert (jump["row"], jump["from"][:10], jump["difference"]) == ("lm", "2026-01-02", pytest.approx(0.3))
    assert (books["ours"], books["gap"], books["trend"], books["other"]["label"]) == (None, None, [], "knn")
    assert ENDING not in made_site()


@pytest.fixture(scope="module")
def started() -> Iterator[Browser]:
    yield from a_browser()


@pytest.fixture
def site(started: Browser, tmp_path: Path) -> Iterator[Browser]:
    (tmp_path / "index.html").write_text(made_site(), "utf-8")
    view(started, 1400)
    console(started)
    requested(started)
    started.get((tmp_path / "index.html").as_uri())
    assert started.execute_script("return document.documentElement.dataset.ready") == "all"
    yield started
    assert console(started) == []
    assert all(address.startswith(("file:", "data:")) for address in requested(started))


def names(browser: Browser) -> list[str]:
    found = "return [...document.querySelectorAll('#boards-table tbody a')].map((each) => each.textContent)"
    return list(browser.execute_script(found))


def typed(browser: Browser, field: str, value: str) -> None:
    script = (
        "const e = document.getElementById(arguments[0]); e.value = arguments[1]; e.dispatchEvent(new Event('input'))"
    )
    browser.execute_script(script, field, value)


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="no Chromium with its driver here")
def test_boards_are_filtered_and_sorted(site: Browser) -> None:
    assert names(site) == [f"books@{ENDING}", "films@paper"]
    typed(site, "outcome", "better")
    assert names(site) == ["films@paper"]
    assert site.current_url.endswith("#boards?outcome=better")
    typed(site, "outcome", "")
    typed(site, "filter", "CHANCE")
    assert names(site) == ["films@paper"]
    shown = site.execute_script("return document.getElementById('rows-status').textContent")
    assert shown == "1 of 4 rows"
    typed(site, "filter", "")
    site.execute_script("document.querySelectorAll('#boards-table thead button')[0].click()")
    assert names(site) == ["films@paper", f"books@{ENDING}"]
    text = site.execute_script("return document.body.innerText")
    assert "+0.1000" in text
    assert "2026-01-02 to 2026-02-03" in text
    assert "music@x is not here: it is damaged" in text
    label = site.execute_script("return document.querySelector('#boards-table svg').getAttribute('aria-label')")
    assert label.startswith("ndcg@10 over 2 times: language model")


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="no Chromium with its driver here")
def test_costs_have_their_unit_and_trends_a_column_once_there_are_some(site: Browser, tmp_path: Path) -> None:
    heads = "return [...document.querySelectorAll('#boards-table thead th')].map((each) => each.textContent)"
    shown = "return document.body.innerText"
    assert "for 1,000 users" in site.execute_script(shown)
    assert "trend" in site.execute_script(heads)
    (tmp_path / "first.html").write_text(made_site(history=False), "utf-8")
    site.get((tmp_path / "first.html").as_uri())
    assert "trend" not in site.execute_script(heads)
    assert "Trend:" not in site.execute_script(shown)


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="no Chromium with its driver here")
@pytest.mark.parametrize("width", [390, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_screen(site: Browser, width: int, scheme: str) -> None:
    view(site, width, scheme)
    root = "document.documentElement"
    assert site.execute_script(f"return {root}.scrollWidth <= {root}.clientWidth")
    first = site.execute_script(
        "return document.querySelector('#boards-table tbody tr').getBoundingClientRect().bottom"
    )
    assert first <= 800  # a board is on the first screen
    dark = site.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (dark == "rgb(255, 255, 255)") == (scheme == "light")
