"""The page in a real browser: what it does, and that it asks nobody."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from board_cases import board, entry
from browsers import CHROMIUM, DRIVER, Browser, a_browser, console, requested, view
from click_board_cases import click_board, click_entry
from curve_cases import curves
from llmrs_bench.leaderboard.board import Factors
from llmrs_bench.metrics.clicks import ClickRows, reliability
from llmrs_bench.report.html import Extra, to_html
from page_cases import HOSTILE, LANGUAGE, USERS, made_board, made_page

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None or DRIVER is None,
        reason="no Chromium with its driver here (Debian: apt-get install chromium chromium-driver)",
    ),
]
READY = "return document.documentElement.dataset.ready"


@pytest.fixture(scope="module")
def started() -> Iterator[Browser]:
    yield from a_browser()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(made_page(), "utf-8")
    return path.as_uri()


@pytest.fixture
def browser(started: Browser, address: str) -> Iterator[Browser]:
    """The page, opened anew on a desktop in daylight; it must log nothing."""
    view(started, 1200)
    console(started)
    requested(started)
    opened(started, address)
    yield started
    assert console(started) == []


def opened(browser: Browser, address: str) -> None:
    browser.get(address)
    WebDriverWait(browser, 20).until(lambda page: page.execute_script(READY) == "all")


def names(browser: Browser) -> list[str]:
    rows = browser.find_elements(By.CSS_SELECTOR, "#board-table tbody > tr:not(.detail) .more")
    return [row.text for row in rows]


def head(browser: Browser, name: str) -> Any:
    heads = browser.find_elements(By.CSS_SELECTOR, "#board-table thead th")
    return next(found for found in heads if found.text == name)


def expected(key: Callable[[Any], Any], *, reverse: bool) -> list[str]:
    return [row.model for row in sorted(made_board().rows, key=key, reverse=reverse)]


def press(browser: Browser, *keys: str) -> None:
    ActionChains(browser).send_keys(*keys).perform()


def focused(browser: Browser) -> Any:
    return browser.switch_to.active_element


@pytest.mark.slow
def test_heads_sort_by_click(browser: Browser) -> None:
    assert head(browser, "ndcg@10").get_attribute("aria-sort") == "descending"
    assert [name.split()[0] for name in names(browser)] == [row.model.split()[0] for row in made_board().rows]
    sorts = [("hit@1", "descending"), ("hit@1", "ascending"), ("seconds", "ascending")]
    for name, direction in sorts:
        head(browser, name).find_element(By.TAG_NAME, "button").click()
        assert head(browser, name).get_attribute("aria-sort") == direction
        assert len(browser.find_elements(By.CSS_SELECTOR, "#board-table th[aria-sort]")) == 1
        said = browser.find_element(By.ID, "board-status").text
        assert f"sorted by {name}, {direction}" in said
    assert [name.split()[0] for name in names(browser)] == [
        "delta",
        "gamma",
        "beta",
        "alpha",
        "chance",
    ]  # no cost: last


@pytest.mark.slow
def test_heads_sort_by_keyboard(browser: Browser) -> None:
    browser.execute_script("document.getElementById('theme').focus()")
    for _ in range(40):
        press(browser, Keys.TAB)
        if focused(browser).text == "hit@1":
            break
    outline = focused(browser).value_of_css_property("outline-style")
    assert outline == "solid"  # the focus is visible
    press(browser, Keys.ENTER)
    assert head(browser, "hit@1").get_attribute("aria-sort") == "descending"
    by_hit = [row.split()[0] for row in names(browser)]
    assert by_hit == [name.split()[0] for name in expected(lambda row: row.cells["hit@1"].mean, reverse=True)]
    press(browser, Keys.SPACE)
    assert [row.split()[0] for row in names(browser)] == by_hit[::-1]


@pytest.mark.slow
def test_rows_open_by_keyboard_and_tell_tests_and_command(browser: Browser) -> None:
    last = browser.find_elements(By.CSS_SELECTOR, "#board-table .more")[-1]
    browser.execute_script("arguments[0].focus()", last)
    press(browser, Keys.ENTER)
    assert last.get_attribute("aria-expanded") == "true"
    detail = browser.find_element(By.CSS_SELECTOR, "#board-table .detail")
    assert "won/tied/lost" in detail.text
    head(browser, "hit@1").find_element(By.TAG_NAME, "button").click()
    assert len(browser.find_elements(By.CSS_SELECTOR, "#board-table .detail")) == 1  # it moves with its row
    browser.execute_script("arguments[0].focus()", last)
    press(browser, Keys.ENTER)
    assert not browser.find_elements(By.CSS_SELECTOR, "#board-table .detail")


@pytest.mark.slow
def test_rows_are_filtered_by_words_and_kind(browser: Browser) -> None:
    field = browser.find_element(By.ID, "filter")
    field.send_keys("BETA dim")
    assert names(browser) == ["beta"]
    assert browser.find_element(By.ID, "board-status").text.startswith("1 of 5 rows")
    field.send_keys(Keys.BACKSPACE * 8)
    assert len(names(browser)) == 5
    for box in browser.find_elements(By.CSS_SELECTOR, "#kinds-filter input"):
        if box.get_attribute("value") != "recommender":
            box.send_keys(Keys.SPACE)
    assert sorted(names(browser)) == ["alpha", "beta"]
    head(browser, "model").find_element(By.TAG_NAME, "button").click()
    assert names(browser) == ["alpha", "beta"]
    field.send_keys("nothing like it")
    assert names(browser) == []


def test_no_request_leaves_the_page(browser: Browser, address: str) -> None:
    for select in map(Select, browser.find_elements(By.CSS_SELECTOR, "section:not([hidden]) select")):
        if select.options:  # a filter may leave no request
            select.select_by_index(len(select.options) - 1)
    asked = requested(browser)
    assert asked
    assert {url for url in asked if not url.startswith("data:")} == {address}


def test_the_policy_refuses_what_is_not_of_the_page(started: Browser, address: str) -> None:
    opened(started, address)
    refused = started.execute_async_script("""
        const done = arguments[0], found = [];
        document.addEventListener("securitypolicyviolation", (event) => found.push(event.effectiveDirective));
        const script = document.createElement("script");
        script.textContent = "window.intruder = true";
        document.body.append(script);
        const image = document.createElement("img");
        image.src = "http://127.0.0.1:9/x.png";
        document.body.append(image);
        fetch("http://127.0.0.1:9/").catch(() => setTimeout(() => done([found, window.intruder === undefined]), 200));
    """)
    assert sorted(set(refused[0])) == ["connect-src", "img-src", "script-src-elem"]
    assert refused[1]
    console(started)


def test_hostile_texts_are_shown_as_texts(browser: Browser) -> None:
    shown = browser.execute_script("return document.body.textContent")
    assert shown.count(HOSTILE) > 5
    assert browser.execute_script("return document.querySelectorAll('img').length") == 0
    assert browser.execute_script("return document.querySelectorAll('script').length") == 5
    Select(browser.find_element(By.ID, "requests-request")).select_by_index(1)
    seen = browser.execute_script("return document.querySelector('#requests-view').textContent")
    assert f"Rank {HOSTILE}" in seen
    assert f"1. {HOSTILE}" in seen
    assert f"Film {HOSTILE}" in seen
    assert f"Lost: {HOSTILE}" in seen


def test_the_data_are_told_and_drawn(browser: Browser) -> None:
    section = browser.find_element(By.ID, "data")
    assert "6 (75.0 %) of events are of an item that the user had before" in section.text
    assert f"Odd: {HOSTILE[:20]}" in section.text
    labels = [str(chart.get_attribute("aria-label")) for chart in section.find_elements(By.CSS_SELECTOR, "svg")]
    assert labels[:2] == ["number of users: 4-7: 2", "number of items: 8-15: 1"]
    assert labels[2] == "number of events: 3: 4; 4: 4"
    assert labels[3].startswith("events over time, from 2001-09-09 01:46:40")


@pytest.mark.slow
def test_requests_are_walked_by_keyboard(browser: Browser) -> None:
    status = browser.find_element(By.ID, "requests-status")
    assert "request r0000 of user u0: target at rank 5" in status.text
    assert "This prompt is not known any more" in browser.find_element(By.ID, "requests-view").text
    browser.execute_script("document.getElementById('requests-next').focus()")
    press(browser, Keys.ENTER)
    assert "request r0001" in status.text
    view_text = browser.find_element(By.ID, "requests-view").text
    assert "the first 1 of 9" in view_text
    assert "2 items of history clipped" in view_text
    assert "10 earlier items" in browser.find_element(By.ID, "requests-history").text
    rows = browser.find_elements(By.CSS_SELECTOR, "#requests-view tr.target")
    assert [row.text.split()[0] for row in rows] == ["5", "2"]  # of the row and of the one beside it
    assert len(browser.find_elements(By.CSS_SELECTOR, "#requests-view tr.unranked")) == 4
    Select(browser.find_element(By.ID, "requests-run")).select_by_visible_text("alpha")
    assert "alpha, request r0001 of user u1: target at rank 2" in status.text
    assert "asks no language model" in browser.find_element(By.ID, "requests-view").text
    Select(browser.find_element(By.ID, "requests-request")).select_by_index(2)
    assert not browser.find_element(By.ID, "requests-next").is_enabled()


@pytest.mark.slow
def test_charts_are_drawn_and_follow_their_choices(browser: Browser) -> None:
    def drawing(name: str) -> Any:
        return browser.find_element(By.CSS_SELECTOR, f"#{name} svg")

    for name in ("intervals", "cost", "groups", "answers"):
        assert drawing(f"{name}-chart").get_attribute("aria-label")
    for name in ("bias-quality", "bias-chosen"):
        assert LANGUAGE in str(drawing(name).get_attribute("aria-label"))
    intervals = browser.find_elements(By.CSS_SELECTOR, "#intervals-chart [aria-label=rule] line")
    assert len(intervals) == 5  # of four rows, and the line of chance
    Select(browser.find_element(By.ID, "intervals-metric")).select_by_value("hit@1")
    assert str(drawing("intervals-chart").get_attribute("aria-label")).startswith("hit@1 of 5 rows")
    Select(browser.find_element(By.ID, "groups-metric")).select_by_value("hit@1")
    table = browser.find_element(By.ID, "groups-table")
    cell = made_board().sections[0].rows[0].cells["hit@1"].mean
    assert f"{cell:.4f}" in table.text
    assert f"many events ({USERS // 2})" in table.text


@pytest.mark.slow
def test_dark_and_light(browser: Browser, address: str) -> None:
    def ground() -> str:
        return browser.find_element(By.TAG_NAME, "body").value_of_css_property("background-color")

    light = ground()
    button = browser.find_element(By.ID, "theme")
    assert button.text == "Dark theme"  # what a click gives
    browser.execute_script("arguments[0].focus()", button)
    press(browser, Keys.ENTER)
    dark = ground()
    assert dark != light
    assert (button.text, button.get_attribute("aria-pressed")) == ("Light theme", None)
    press(browser, Keys.SPACE)
    assert ground() == light
    view(browser, 1200, "dark")
    opened(browser, address)
    assert ground() == dark  # as the system wishes
    assert browser.find_element(By.ID, "theme").text == "Light theme"
    browser.find_element(By.ID, "theme").click()
    assert ground() == light


def differences(browser: Browser) -> dict[str, str]:
    """Return what the table of differences says of each row."""
    rows = browser.find_elements(By.CSS_SELECTOR, "#differences-table tbody tr")
    return {row.find_element(By.TAG_NAME, "th").text.split()[0]: row.text for row in rows}


@pytest.mark.slow
def test_differences_are_those_of_the_board_from_the_chosen_row(browser: Browser) -> None:
    shown = made_board()
    pairs = {(each.first, each.second): each for each in shown.differences if each.metric == "ndcg@10"}
    found = differences(browser)
    assert found.keys() == {row.model.split()[0] for row in shown.rows} - {shown.rows[0].model}
    for (first, second), each in pairs.items():
        if first == shown.rows[0].run:
            assert f"\u2212{each.difference:.4f}" in found[second]
            assert ("primary" if each.primary else "exploratory") in found[second]
    points = "#differences-chart [aria-label=dot] :is(path, circle)"
    assert len(browser.find_elements(By.CSS_SELECTOR, points)) == 4
    Select(browser.find_element(By.ID, "differences-against")).select_by_value("chance")
    changed = differences(browser)
    assert "chance" not in changed
    assert f"+{pairs['alpha', 'chance'].difference:.4f}" in changed["alpha"]
    assert browser.execute_script("return location.hash") == "#differences?metric=ndcg%4010&against=chance"


@pytest.mark.slow
def test_a_link_shows_what_it_names(started: Browser, address: str) -> None:
    view(started, 1200)
    console(started)
    started.get("about:blank")
    opened(started, f"{address}#differences?metric=hit@1&against=beta")
    assert Select(started.find_element(By.ID, "differences-metric")).first_selected_option.text == "hit@1"
    assert "beta" not in differences(started)
    started.get("about:blank")
    opened(started, f"{address}#requests?request=r0002&run=alpha&beside={LANGUAGE}")
    said = started.find_element(By.ID, "requests-status").text
    assert said.startswith("alpha, request r0002 of user u2: target at rank 2; gamma")
    started.get("about:blank")
    opened(started, f"{address}#board?row=alpha")
    assert started.find_element(By.CSS_SELECTOR, "#board-table .detail").is_displayed()
    assert console(started) == []


@pytest.mark.slow
def test_requests_are_shown_side_by_side_and_filtered(browser: Browser) -> None:
    sides = browser.find_elements(By.CSS_SELECTOR, "#requests-view .side h3:first-child")
    assert [side.text.split(":")[-1].strip() for side in sides] == ["target at rank 5", "target at rank 2"]
    request = browser.find_element(By.ID, "requests-request")
    won, answers = (Select(browser.find_element(By.ID, f"requests-{name}")) for name in ("won", "answers"))
    won.select_by_visible_text("the row beside it")
    assert len(Select(request).options) == 3
    answers.select_by_visible_text("leave items out")
    assert len(Select(request).options) == 3
    won.select_by_visible_text("the run")
    assert Select(request).options == []
    assert "No request of the sample is so" in browser.find_element(By.ID, "requests-status").text
    assert not browser.find_element(By.ID, "requests-next").is_enabled()
    won.select_by_visible_text("any")
    Select(browser.find_element(By.ID, "requests-other")).select_by_visible_text("no other row")
    assert len(browser.find_elements(By.CSS_SELECTOR, "#requests-view .side")) == 1
    assert not browser.find_element(By.ID, "requests-won").is_enabled()


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1400, 900)])
def test_headline_and_board_are_on_the_first_screen(started: Browser, address: str, width: int, height: int) -> None:
    view(started, width)
    opened(started, address)
    first = started.find_elements(By.CSS_SELECTOR, "#board-table tbody tr")[0]
    assert started.find_element(By.ID, "headline").rect["y"] < height / 3
    assert first.rect["y"] + first.rect["height"] < height
    assert started.find_element(By.CSS_SELECTOR, "#board-table tbody td").is_displayed()
    assert console(started) == []


@pytest.mark.slow
def test_every_point_of_cost_has_a_label_and_none_covers_another(browser: Browser) -> None:
    texts = browser.find_elements(By.CSS_SELECTOR, "#cost-chart g[aria-label=text] text")
    labels = [text for text in texts if text.text]
    numbers = browser.find_elements(By.CSS_SELECTOR, "#cost-numbers li")
    assert len([label for label in labels if not label.text.isdigit()]) + len(numbers) == 4
    boxes = [label.rect for label in labels]
    for at, one in enumerate(boxes):
        for two in boxes[:at]:
            apart = one["x"] >= two["x"] + two["width"] - 1 or two["x"] >= one["x"] + one["width"] - 1
            assert apart or abs(one["y"] - two["y"]) > 8


@pytest.mark.parametrize("width", [360, pytest.param(768, marks=pytest.mark.slow)])
def test_narrow_screens_do_not_scroll_sideways(started: Browser, address: str, width: int) -> None:
    view(started, width)
    opened(started, address)
    for row in started.find_elements(By.CSS_SELECTOR, "#board-table .more"):
        started.execute_script("arguments[0].click()", row)
    for details in started.find_elements(By.TAG_NAME, "details"):
        started.execute_script("arguments[0].open = true", details)
    assert started.execute_script("return document.documentElement.scrollWidth") <= width
    wide = started.execute_script("return [...document.querySelectorAll('.chart svg')].map((svg) => svg.clientWidth)")
    assert wide
    assert max(wide) <= width
    assert console(started) == []


def test_everything_that_is_worked_has_a_name(browser: Browser) -> None:
    nameless = browser.execute_script("""
        const named = (each) => each.getAttribute("aria-label") || each.getAttribute("aria-labelledby")
            || each.textContent.trim() || (each.labels && [...each.labels].some((label) => label.textContent.trim()));
        return [...document.querySelectorAll("button, input, select, summary, [role=region]")]
            .filter((each) => !named(each)).map((each) => each.outerHTML);
    """)
    assert nameless == []


@pytest.mark.slow
def test_what_is_printed_is_the_light_page_without_controls(browser: Browser, tmp_path: Path) -> None:
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]  # of the screen
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": dark})
    assert browser.find_element(By.ID, "headline").value_of_css_property("color") == "rgba(0, 0, 0, 1)"
    assert not browser.find_element(By.ID, "filter").is_displayed()
    assert (
        browser.find_element(By.TAG_NAME, "body").value_of_css_property("background-color") == "rgba(255, 255, 255, 1)"
    )
    assert len(names(browser)) == 5
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


@pytest.mark.slow
def test_a_click_board_shows_how_reliable_probabilities_are(started: Browser, tmp_path: Path) -> None:
    entries = []
    for seed, run in enumerate(("first", "second")):
        rows = click_entry(run, 1.0, seed).rows
        assert isinstance(rows, ClickRows)
        assert rows.raw is not None
        assert rows.calibrated is not None
        bins = {
            name: [asdict(each) for each in reliability(rows.labels, probability)]
            for name, probability in (("raw", rows.raw), ("calibrated", rows.calibrated))
        }
        entries.append(click_entry(run, 1.0, seed, about={"reliability": bins}))
    path = tmp_path / "clicks.html"
    path.write_text(to_html(click_board(entries)[0], Extra()), "utf-8")
    view(started, 1200)
    console(started)
    started.get(path.as_uri())
    WebDriverWait(started, 20).until(lambda page: page.find_elements(By.CSS_SELECTOR, "#reliability-chart svg"))
    bins = entries[0].entry.about["reliability"]
    points = started.find_elements(By.CSS_SELECTOR, "#reliability-chart svg circle")
    assert len(points) == sum(map(len, bins.values()))
    lines = started.find_elements(By.CSS_SELECTOR, "#reliability-table tbody tr")
    assert len(lines) == len(points)
    assert console(started) == []


@pytest.mark.slow
def test_curves_are_drawn_with_bands_and_lines_and_change_with_the_metric(started: Browser, tmp_path: Path) -> None:
    rows = [
        entry(
            f"knn-{size}",
            {"ndcg@10": np.full(20, size / 100), "mrr": np.arange(20) / 40},
            model="knn",
            factors=Factors("knn", {}, {"size": float(size)}),
        )
        for size in (0, 4, 40)
    ]
    rows.append(entry("flat", {"ndcg@10": np.full(20, 0.2), "mrr": np.full(20, 0.1)}, kind="language model"))
    path = tmp_path / "curves.html"
    made = curves(rows, "size", metrics=("ndcg@10", "mrr"))
    path.write_text(to_html(board(rows, ("ndcg@10", "mrr"))[0], Extra(curves=made)), "utf-8")
    for width in (1200, 390):
        view(started, width)
        console(started)
        opened(started, path.as_uri())
        assert started.execute_script("return document.documentElement.scrollWidth <= innerWidth")
        chart = "#curves-chart svg"
        assert len(started.find_elements(By.CSS_SELECTOR, f"{chart} g[aria-label=area] path")) == 1
        marks = started.find_elements(By.CSS_SELECTOR, f"{chart} g[aria-label=dot] path")
        heights = [mark.location["y"] for mark in marks]
        assert heights == sorted(heights, reverse=True)
        assert len(set(heights)) == 3
        assert "knn reaches flat" in started.find_element(By.ID, "curves-crossings").text
        cells = started.find_elements(By.CSS_SELECTOR, "#curves-table tbody tr td:nth-child(3)")
        assert [cell.get_attribute("textContent") for cell in cells] == ["0.0000", "0.0400", "0.4000", "0.2000"]
        Select(started.find_element(By.ID, "curves-metric")).select_by_value("mrr")
        changed = started.find_element(By.CSS_SELECTOR, "#curves-table tbody td:nth-child(3)")
        assert changed.get_attribute("textContent") == "0.2375"
        assert console(started) == []


@pytest.mark.slow
def test_requests_are_filtered_by_their_targets(browser: Browser) -> None:
    target = Select(browser.find_element(By.ID, "requests-target"))
    assert [each.text for each in target.options] == ["any", "head", "tail", "0 events", "1 events", "2 events"]
    target.select_by_visible_text("tail")
    assert len(Select(browser.find_element(By.ID, "requests-request")).options) == 1
    target.select_by_visible_text("head")
    assert "2 requests pass the filter" in browser.find_element(By.ID, "requests-status").text


@pytest.mark.slow
def test_tokens_of_a_title_are_told(browser: Browser) -> None:
    found = browser.find_element(By.CSS_SELECTOR, "#requests-view .tokens")
    assert found.get_attribute("title") == found.get_attribute("aria-label") == "2 tokens: -1.00, -0.50"
    heights = [bar.get_attribute("style") for bar in found.find_elements(By.TAG_NAME, "i")]
    assert heights == ["height: 16%;", "height: 12%;"]


def test_a_slot_of_one_target_has_no_interval(browser: Browser) -> None:
    table = browser.find_element(By.ID, "bias-table").get_attribute("textContent") or ""
    assert "0.5000 (no interval)" in table
