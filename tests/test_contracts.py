"""The laws of ARCHITECTURE.md over every registered source and template."""

import random
import re
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from itertools import permutations
from math import isfinite
from pathlib import Path
from typing import Any, get_args

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layout_files import LAYOUTS, write_files
from llmrs_bench.core.config import TEXTS, Normalize
from llmrs_bench.core.registry import SOURCES
from llmrs_bench.core.schemas import INTERACTIONS, ITEMS
from llmrs_bench.core.types import Request, Response
from llmrs_bench.data.files import SourceFiles
from llmrs_bench.data.sources import EVENTS, Raw
from llmrs_bench.data.split import leave_one_out
from llmrs_bench.llm.backends.mock import MockEngine, MockOptions
from llmrs_bench.llm.model_aliases import ModelSpec
from llmrs_bench.prompts.strategies.base import Normalization
from llmrs_bench.prompts.template import read_source, template_names
from llmrs_bench.ranking import rank_candidates, scores_frame
from news_data import write_news
from template_runs import best, catalog, flat, make, oracle, play, read

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


def write_table(folder: Path) -> Path:
    (folder / "events.csv").write_text("user_id,item_id,rating,timestamp\n1,1,5,10\n1,2,3,11\n2,2,4,12\n")
    (folder / "items.jsonl").write_text('{"item_id": "1", "title": "The Matrix"}\n{"item_id": 2, "title": "Heat"}\n')
    return folder


FIXTURES: dict[str, Callable[[Path], Path | None]] = {
    "movielens-1m": write_1m,
    "movielens-100k": write_100k,
    "atomic": write_atomic,
    "table": write_table,
    "mind": write_news,
    "demo": lambda _: None,
    **{name: partial(write_files, files=files) for name, files in LAYOUTS.items()},
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
    assert raw.events.schema == EVENTS
    assert set(raw.events["item_id"]) <= set(raw.items["item_id"])
    for title in raw.items["title"]:
        assert title == " ".join(title.split())
        assert title.isprintable()
    known = raw.events.drop_nulls(["user_id", "item_id"])
    split = leave_one_out(known)
    assert split.interactions.schema == INTERACTIONS
    assert split.interactions.height + split.held.height == known.height


@pytest.mark.parametrize("name", SOURCES.names())
def test_sources_refuse_what_they_cannot_read(name: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    assert not SOURCES.load(name)().accepts(SourceFiles.open(tmp_path))


# ---------------------------------------------------------------- templates

# Templates that rank: the others ask for texts about the user.
TEMPLATES = [name for name in template_names() if read_source(name).template_file.form not in TEXTS]
ITEM_IDS = [f"i{number}" for number in range(40)]
SHOP = catalog(*ITEM_IDS)
SHOWN = tuple(ITEM_IDS[:20])
SHORT = SHOWN[:6]
# Templates that ask round after round: a whole sort for every example.
ROUNDS = {name for name in TEMPLATES if make(name).rounds}
# How many of the best a template finds in order, if not all: the others share a score, or are sorted in part.
FOUND = {"setwise": 10, "sliding-window": 5}
# Where a model is unsure, an item at the end of the list must survive every window: the list's order counts.
FAVOURS_THE_START = {"sliding-window"}
LOGPROBS = st.lists(st.lists(st.floats(-50, 0).map(float), max_size=3).map(tuple), max_size=25).map(tuple)


def request(candidates: tuple[str, ...] = SHOWN, name: str = "r") -> Request:
    return Request(name, "u", tuple(ITEM_IDS[20:35]), candidates)


def check_oracle(name: str, order: Sequence[str], shown: Sequence[str]) -> None:
    """Play `order` to the template, and find it again as far as the template sorts."""
    template = make(name)
    scores = read(template, flat(play(template, request(tuple(shown)), SHOP, oracle(order))))
    found = min(FOUND.get(name, len(order)), len(order))
    assert best(dict(scores.values), found) == list(order[:found])
    assert min(scores.values[item] for item in order[:found]) > max(
        (scores.values[item] for item in order[found:]), default=-float("inf")
    )


@pytest.mark.parametrize("name", TEMPLATES)
@settings(max_examples=15)
@given(order=st.permutations(SHORT), shown=st.permutations(SHORT))
def test_templates_read_an_oracle_back_whatever_the_order_shown(name: str, order: list[str], shown: list[str]) -> None:
    check_oracle(name, order, shown)


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_read_every_order_of_four_back(name: str) -> None:
    for order in permutations(SHOWN[:4]):
        check_oracle(name, order, SHOWN[:4])


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_read_an_oracle_back_from_lists_of_the_usual_length(name: str) -> None:
    draws = random.Random(0)
    for _ in range(2 if name in ROUNDS else 10):
        check_oracle(name, draws.sample(SHOWN, len(SHOWN)), draws.sample(SHOWN, len(SHOWN)))


@pytest.mark.parametrize("name", TEMPLATES)
@settings(max_examples=12)
@given(data=st.data())
def test_templates_read_any_response_without_an_error(name: str, data: st.DataObject) -> None:
    longest = len(SHORT if name in ROUNDS else SHOWN)
    template, candidates = make(name), SHOWN[: data.draw(st.integers(1, longest), label="candidates")]
    answers = data.draw(
        st.lists(st.tuples(st.none() | st.text(max_size=200), st.none() | LOGPROBS), min_size=1, max_size=5)
    )
    cycle = iter(answers * 1000)

    def answer(prompt: Any) -> Response:
        text, logprobs = next(cycle)
        return Response(prompt.prompt_id, text, logprobs, 1, 0, 1, "stop")

    exchanges = flat(play(template, request(candidates), SHOP, answer))
    prior = {choice: -1.0 for prompt, _ in exchanges for choice in prompt.choices or ()}
    for normalize in get_args(Normalize):
        scores = read(template, exchanges, Normalization(normalize, prior))
        assert scores.request_id == "r"
        assert set(scores.values) <= set(candidates)
        assert all(isfinite(value) for value in [*scores.values.values(), *scores.notes.values()])


@pytest.mark.slow
@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_are_at_chance_on_a_model_that_knows_nothing(name: str) -> None:
    draws, template = random.Random(0), make(name)
    count, size = (400, 5) if name in ROUNDS else (1000, 12)
    engine = MockEngine(ModelSpec("mock", "mock"), MockOptions(), device="cpu", seed=0)
    requests = [request(tuple(draws.sample(SHOWN[:size], size)), f"r{number}") for number in range(count)]
    played = [play(template, item, SHOP, lambda prompt: next(engine.answer([prompt]))) for item in requests]
    frame = pl.DataFrame(
        {"request_id": [r.request_id for r in requests], "candidates": [list(r.candidates) for r in requests]}
    )
    ranked = rank_candidates(frame, scores_frame(read(template, flat(rounds)) for rounds in played), seed=0)
    first = dict(ranked.filter(pl.col("rank") == 1).select("request_id", "item_id").iter_rows())
    wins = [sum(first[r.request_id] == target for r in requests) for target in SHOWN[:size]]
    if name not in FAVOURS_THE_START:
        wins += [sum(first[r.request_id] == r.candidates[place] for r in requests) for place in (0, -1)]
    # Four standard errors of a share of one item in all.
    assert all(abs(won / count - 1 / size) < 4 * (1 / size * (1 - 1 / size) / count) ** 0.5 for won in wins), wins


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_show_nothing_of_a_candidate_that_a_prompt_does_not_show(name: str) -> None:
    """A title stands once where candidates are listed, and nowhere where they are choices."""
    template = make(name)
    for prompt, _ in flat(play(template, request(), SHOP, oracle(SHOWN), history=15)):
        text = "\n".join(message.content for message in prompt.messages)
        for item in SHOWN:
            found = re.findall(rf"\b{SHOP.items[item].title}\b", text)
            assert len(found) == (prompt.mode != "likelihood" and item in prompt.shown)


@pytest.mark.parametrize("name", TEMPLATES)
def test_prompts_are_named_once_and_ask_for_what_the_template_says(name: str) -> None:
    template = make(name)
    prompts = [prompt for prompt, _ in flat(play(template, request(), SHOP, oracle(SHOWN)))]
    assert len({prompt.prompt_id for prompt in prompts}) == len(prompts)
    assert {(prompt.request_id, prompt.mode) for prompt in prompts} == {("r", template.mode)}
    assert {item for prompt in prompts for item in prompt.shown} == set(SHOWN)


@pytest.mark.parametrize("name", TEMPLATES)
@settings(max_examples=5)
@given(order=st.permutations(SHOWN[:8]))
def test_the_same_answers_lead_to_the_same_prompts(name: str, order: list[str]) -> None:
    """A run that is cut after any round goes on with the prompts it would have asked; the template has no memory."""
    rounds = play(make(name), request(SHOWN[:8]), SHOP, oracle(order))
    for done in range(len(rounds)):
        again = make(name).render(request(SHOWN[:8]), SHOP, history=3, asked=flat(rounds[:done]))
        assert again == [prompt for prompt, _ in rounds[done]]


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_cope_with_no_history_and_one_candidate(name: str) -> None:
    template = make(name)
    exchanges = flat(play(template, Request("r", "u", (), ("i1",)), SHOP, oracle(["i1"])))
    assert read(template, exchanges).values.keys() == {"i1"}
