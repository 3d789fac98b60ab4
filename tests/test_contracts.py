"""The laws of ARCHITECTURE.md over every registered source and template."""

import re
import zipfile
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrs_bench.catalog import ModelSpec
from llmrs_bench.data.files import SourceFiles
from llmrs_bench.data.source import Raw
from llmrs_bench.data.split import leave_one_out
from llmrs_bench.engines.mock import MockEngine, MockOptions
from llmrs_bench.prompts.protocol import Shop, Template
from llmrs_bench.ranking import rank_candidates, scores_frame
from llmrs_bench.registry import SOURCES, TEMPLATES
from llmrs_bench.schemas import INTERACTIONS, ITEMS
from llmrs_bench.types import Item, Prompt, Request, Response

# ---------------------------------------------------------------- sources


def write_1m(folder: Path) -> Path:
    path = folder / "ml-1m.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "ml-1m/movies.dat", "1::Matrix, The (1999)::Action\n2::Am\u00e9lie (2001)::Comedy|Drama\n".encode("latin-1")
        )
        archive.writestr("ml-1m/ratings.dat", "1::1::5::10\n1::2::3::11\n2::2::4::12\n")
    return path


def write_100k(folder: Path) -> Path:
    flags = "|".join("0" * 19)
    (folder / "u.data").write_text("1\t1\t5\t10\n1\t2\t3\t11\n2\t2\t4\t12\n")
    (folder / "u.item").write_text(f"1|Matrix, The (1999)|x||u|{flags}\n2|Heat (1995)|x||u|{flags}\n")
    return folder


def write_atomic(folder: Path) -> Path:
    (folder / "x.inter").write_text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t1\t5\t10\n1\t2\t3\t11\n2\t2\t4\t12\n"
    )
    (folder / "x.item").write_text("item_id:token\ttitle:token_seq\n1\tThe Matrix\n2\tHeat\n")
    return folder


FIXTURES: dict[str, Callable[[Path], Path | None]] = {
    "movielens-1m": write_1m,
    "movielens-100k": write_100k,
    "atomic": write_atomic,
    "demo": lambda _: None,
}


def load(name: str, folder: Path) -> Raw:
    path = FIXTURES[name](folder)
    files = None if path is None else SourceFiles.open(path)
    source = SOURCES.load(name)()
    assert source.accepts(files)
    raw: Raw = source.load(files)
    return raw


@pytest.mark.parametrize("name", SOURCES.names())
def test_sources_give_items_and_events_that_split(name: str, tmp_path: Path) -> None:
    raw = load(name, tmp_path)
    assert raw.items.schema == ITEMS
    assert raw.items["item_id"].is_unique().all()
    assert raw.events.schema == pl.Schema({k: INTERACTIONS[k] for k in ("user_id", "item_id", "timestamp", "rating")})
    assert set(raw.events["item_id"]) <= set(raw.items["item_id"])
    for title in raw.items["title"]:
        assert title == " ".join(title.split())
        assert title.isprintable()
    split = leave_one_out(raw.events)
    assert split.interactions.schema == INTERACTIONS
    assert split.interactions.height + split.held.height == raw.events.height


@pytest.mark.parametrize("name", SOURCES.names())
def test_sources_refuse_what_they_cannot_read(name: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    assert not SOURCES.load(name)().accepts(SourceFiles.open(tmp_path))


# ---------------------------------------------------------------- templates

ITEM_IDS = [f"i{number}" for number in range(40)]
SHOP = Shop({name: Item(name, f"Film {name.upper()}", year=1990) for name in ITEM_IDS}, "movie")
SHOWN = tuple(ITEM_IDS[:20])


def request(candidates: tuple[str, ...] = SHOWN, name: str = "r") -> Request:
    return Request(name, "u", tuple(ITEM_IDS[20:35]), candidates)


def oracle(prompts: list[Prompt], order: list[str]) -> list[Response]:
    """Answer as a model would that knows `order`: by choices if there are any, else by numbers."""
    answers = []
    for prompt in prompts:
        if prompt.choices is None:
            text = ", ".join(str(prompt.shown.index(item) + 1) for item in order)
            answers.append(Response(prompt.prompt_id, text, None, 1, 0, 1, "stop"))
        else:
            logprobs = tuple((-float(order.index(item)) - 1.0,) for item in prompt.shown)
            answers.append(Response(prompt.prompt_id, None, logprobs, 1, 0, 1, "choices"))
    return answers


@pytest.mark.parametrize("name", TEMPLATES.names())
@given(order=st.permutations(SHOWN), shown=st.permutations(SHOWN))
def test_templates_read_an_oracle_back_whatever_the_order_shown(name: str, order: list[str], shown: list[str]) -> None:
    template: Template = TEMPLATES.load(name)()
    prompts = template.render(request(tuple(shown)), SHOP, history=10)
    scores = template.parse(prompts, oracle(prompts, order), normalize="sum")
    assert sorted(scores.values, key=lambda item: -scores.values[item]) == order


@pytest.mark.parametrize("name", TEMPLATES.names())
@given(
    text=st.none() | st.text(max_size=200),
    logprobs=st.none()
    | st.lists(st.lists(st.floats(-50, 0).map(float), max_size=3).map(tuple), max_size=25).map(tuple),
)
def test_templates_read_any_response_without_an_error(name: str, text: str | None, logprobs: Any) -> None:
    template: Template = TEMPLATES.load(name)()
    prompts = template.render(request(), SHOP, history=10)
    for normalize in ("sum", "mean"):
        answers = [Response(prompt.prompt_id, text, logprobs, 1, 0, 1, "stop") for prompt in prompts]
        scores = template.parse(prompts, answers, normalize=normalize)
        assert set(scores.values) <= set(SHOWN)
        assert all(isfinite(value) for value in scores.values.values())


@pytest.mark.parametrize("name", TEMPLATES.names())
def test_templates_are_at_chance_on_a_model_that_knows_nothing(name: str) -> None:
    count, template = 3000, TEMPLATES.load(name)()
    requests = [request(name=f"r{number}") for number in range(count)]
    prompts = {item.request_id: template.render(item, SHOP, history=3) for item in requests}
    engine = MockEngine(ModelSpec("mock", "mock"), MockOptions(), device="cpu", seed=0)
    answers = {answer.prompt_id: answer for answer in engine.answer([p for group in prompts.values() for p in group])}
    scores = [
        template.parse(group, [answers[p.prompt_id] for p in group], normalize="sum") for group in prompts.values()
    ]
    frame = pl.DataFrame({"request_id": list(prompts), "candidates": [list(SHOWN)] * count})
    first = rank_candidates(frame, scores_frame(scores), seed=0).filter(pl.col("rank") == 1)
    for target in (SHOWN[0], SHOWN[-1]):
        share = first.filter(pl.col("item_id") == target).height / count
        # Four standard errors of a share of 1/20.
        assert abs(share - 0.05) < 4 * (0.05 * 0.95 / count) ** 0.5


@pytest.mark.parametrize("name", TEMPLATES.names())
def test_templates_show_nothing_of_a_candidate_outside_the_candidates(name: str) -> None:
    """A title stands once where the candidates are listed, and nowhere where they are choices."""
    template: Template = TEMPLATES.load(name)()
    for prompt in template.render(request(), SHOP, history=15):
        text = "\n".join(message.content for message in prompt.messages)
        for item in SHOWN:
            shown = re.findall(rf"\b{SHOP.items[item].title}\b", text)
            assert len(shown) == (prompt.choices is None)


@pytest.mark.parametrize("name", TEMPLATES.names())
def test_templates_cope_with_no_history_and_one_candidate(name: str) -> None:
    template: Template = TEMPLATES.load(name)()
    prompts = template.render(Request("r", "u", (), ("i1",)), SHOP, history=10)
    assert template.parse(prompts, oracle(prompts, ["i1"]), normalize="sum").values.keys() == {"i1"}
