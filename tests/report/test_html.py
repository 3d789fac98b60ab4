"""The page as text: what is in it, and what can never be."""

import json
import re
import zlib
from base64 import b64decode, b64encode
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from importlib.resources import files
from typing import Any

import pytest

from board_cases import board, entry
from llmrs_bench.report.html import Extra, to_html
from llmrs_bench.report.html import sample as sample_module
from llmrs_bench.report.html.page import LICENCES, as_json
from llmrs_bench.report.html.sample import packed_sample
from page_cases import HOSTILE, LANGUAGE, made_board, made_extra, made_page

ASSETS = files("llmrs_bench.report.html") / "assets"
VENDOR = files("llmrs_bench.report.html") / "vendor"


class Page(HTMLParser):
    """The elements of a page with their attributes, and the text of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self._open = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open = tag == "script"

    def handle_endtag(self, tag: str) -> None:
        self._open = False

    def handle_data(self, data: str) -> None:
        if self._open:
            self.scripts.append((self.elements[-1][1], data))

    def values(self, name: str) -> Any:
        return json.loads(next(text for attributes, text in self.scripts if attributes.get("id") == name))

    @property
    def policy(self) -> str:
        return next(a["content"] or "" for tag, a in self.elements if a.get("http-equiv") == "Content-Security-Policy")


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(made_page())


def test_hostile_texts_make_no_elements(page: Page) -> None:
    plain = Page(to_html(made_board(), Extra()))
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in plain.elements]
    assert not any(tag == "img" or "onerror" in attributes for tag, attributes in page.elements)
    (row,) = [row for row in page.values("board-data")["rows"] if row["run"] == LANGUAGE]
    assert row["setting"] == HOSTILE


def test_json_in_a_page_is_the_value_and_cannot_end_its_element() -> None:
    value = {"text": HOSTILE, "more": ["\u2029", "<!--", "]]>", "é", 1.5, None]}
    text = as_json(value)
    assert not re.search("[<>&\u2028\u2029]", text)
    assert json.loads(text) == value
    with pytest.raises(ValueError, match="not JSON compliant"):
        as_json(float("nan"))


def test_samples_are_packed_and_come_back(page: Page) -> None:
    sample = unpacked(next(text for attributes, text in page.scripts if attributes.get("id") == "requests-data"))
    assert [request["id"] for request in sample["requests"]] == ["r0000", "r0001", "r0002"]
    assert (sample["population"], sample["seed"]) == (40, 7)
    place = str(sample["runs"].index(LANGUAGE))
    ranking = sample["requests"][1]["rankings"][place]
    calls = [request_calls[place] for request_calls, _ in sample["calls"]]
    texts = [text for _, new in sample["calls"] for text in new]
    number, titles = calls[1][0][2]
    assert (texts[number], titles) == (f"1. {HOSTILE}", "")
    own = places(sample["requests"][1])
    assert [sample["items"][own[ord(sign) - 48]][0] for sign in ranking[0]] == [
        "i5",
        "i4",
        "i3",
        "i2",
        "i1",
        "i0",
    ]
    assert ranking[2] == [[sample["items"].index(["i1", f"Film {HOSTILE}", ""]), 5]]


def test_a_large_sample_keeps_the_prompts_of_its_first_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    def calls(limit: int) -> tuple[int, list[int]]:
        monkeypatch.setattr(sample_module, "_MOST", limit)
        sample = unpacked(packed_sample(made_board(), made_extra()))
        place = str(sample["runs"].index(LANGUAGE))
        return len(sample["requests"]), [len(each[place]) for each, _ in sample["calls"]]

    assert calls(6_000_000) == (3, [1, 1, 1])
    assert calls(200) == (3, [1])


def unpacked(text: str) -> Any:
    """Return what a browser reads of the sample."""
    return json.loads(zlib.decompress(b64decode(text)))


def places(request: Any) -> list[int]:
    """Return the items of a request in the order of their places."""
    return list(dict.fromkeys([*request["candidates"], *request["targets"], *request["history"]]))


def test_texts_are_kept_once_without_their_titles_and_come_back() -> None:
    lines, texts = sample_module._Lines({"Heat": "0", "Ran": "1"}), dict[str, int]()
    asked = ["A user liked:\n- {}\n- Heat 2\n[1] {}\n2. {}\nUp - {}\nRan", "- {} \ue000"]
    first, second = [text.format("Heat", "Ran", "Heat", "Ran") for text in asked]
    told = [sample_module._told(text, lines, texts) for text in (first, second, first.replace("Heat\n", "Ran\n"))]
    assert told == [[0, "0101"], [1, None], [0, "1111"]]
    assert list(texts) == [asked[0].replace("{}", "\ue000"), second]


@pytest.mark.parametrize(
    ("scores", "packed"),
    [
        ((3, 2.0, 2, None), [0, 3, "010/"]),
        ((2.5, 2.4998, 2.46, -0.5), [3, 2500, "00X\u0bc0"]),
        ((0.0123, 0.0122), [5, 1230, f"0{chr(48 + 10)}"]),
        ((12345.678, 12345.0), [3, 12345678, f"0{chr(48 + 678)}"]),
        ((1234567.891, 1.0), [None, 1234567.9, 1.0]),
        ((1.0, 2.5), [None, 1.0, 2.5]),
        ((1.0, None, 0.5), [None, 1.0, None, 0.5]),
        ((None, None), [None, None, None]),
        ((), [None]),
    ],
)
def test_scores_are_steps_in_units_that_are_shown(scores: Any, packed: list[Any]) -> None:
    assert list(sample_module._scores([(2, 1), scores, (0.5,)])) == [[0, 2, "01"], packed, [4, 5000, "0"]]
    assert list(sample_module._scores([scores])) == [packed]


def test_the_policy_admits_the_scripts_of_the_page_and_nothing_else(page: Page) -> None:
    run = [text for attributes, text in page.scripts if attributes.get("type") != "application/json"]
    digests = [f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" for text in run]
    rules = dict(rule.split(" ", 1) for rule in page.policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"].split() == digests
    assert set(rules) == {"default-src", "script-src", "style-src", "img-src", "base-uri", "form-action"}


def test_nothing_points_outside(page: Page) -> None:
    addresses = [
        value for _, attributes in page.elements for key, value in attributes.items() if key in ("src", "href")
    ]
    assert addresses
    assert all(value is not None and value.startswith(("#", "data:,")) for value in addresses)
    style = made_page().partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


def test_the_vendored_library_is_the_one_that_is_described() -> None:
    said = (VENDOR / "README.md").read_text("utf-8")
    for name in ("d3.min.js", "plot.umd.min.js"):
        digest = sha256((VENDOR / name).read_bytes()).hexdigest()
        assert re.search(rf"`{re.escape(name)}` .*`{digest}`", said), f"{name} is {digest}"


def test_licences_travel_with_the_page() -> None:
    text = made_page()
    for name in LICENCES:
        assert "Copyright" in (VENDOR / f"LICENSE-{name}").read_text("utf-8"), name
        assert f"<h3>{name}</h3>" in text
    assert "Permission to use, copy, modify, and/or distribute this software" in text


def test_own_scripts_never_parse_data_as_markup() -> None:
    own = [file.read_text("utf-8") for file in ASSETS.iterdir() if file.name.endswith(".js")]
    assert len(own) > 5
    for script in own:
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", script)
        assert len(script.splitlines()) <= 300


def test_the_data_are_on_the_page_in_words_and_numbers(page: Page) -> None:
    data = page.values("board-data")["data"]
    assert ["users", "2"] in data["rows"]
    assert data["warnings"] == [f"Odd: {HOSTILE}"]
    assert data["per_user"] == [["1", 0], ["2-3", 0], ["4-7", 2]]
    assert data["ratings"] == [["3", 4], ["4", 4]]
    assert sum(data["times"]["bins"]) == 8
    assert Page(to_html(made_board(), Extra())).values("board-data")["data"] is None


def test_values_of_the_board_are_in_the_page(page: Page) -> None:
    board, values = made_board(), page.values("board-data")
    assert [row["run"] for row in values["rows"]] == [row.run for row in board.rows]
    cell, row = board.rows[0].cells["ndcg@10"], values["rows"][0]["cells"]["ndcg@10"]
    assert row["mean"] == pytest.approx(cell.mean, rel=1e-5)
    assert [group["group"] for group in values["groups"]] == ["many events", "few events"]
    assert values["biases"][0]["slots"][3]["ndcg"] is None
    worst = next(row for row in values["rows"] if row["cells"]["ndcg@10"].get("versus"))["cells"]["ndcg@10"]["versus"]
    assert worst["against"] == board.rows[0].label


def test_the_bias_of_a_run_that_is_not_shown_is_left_out() -> None:
    extra = replace(made_extra(), biases={"gone": {"slots": []}})
    assert Page(to_html(made_board(), extra)).values("board-data")["biases"] == []


def test_a_mean_is_shown_as_in_other_formats() -> None:
    made, _ = board([entry("popularity", {"mrr": [0.41785031, 0.41785031]})], ("mrr",))
    (row,) = Page(to_html(made, Extra())).values("board-data")["rows"]
    assert f"{row['cells']['mrr']['mean']:.4f}" == f"{made.rows[0].cells['mrr'].mean:.4f}" == "0.4179"
