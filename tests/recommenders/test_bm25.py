"""BM25 against its formula, written out."""

from math import log

import numpy as np
import polars as pl
import pytest

from llmrs_bench.core.errors import ModelError
from llmrs_bench.core.schemas import INTERACTIONS, ITEMS
from llmrs_bench.recommenders.base import Corpus, TrainContext
from llmrs_bench.recommenders.bm25 import BM25, BM25Options, words
from recommender_cases import request_of, scores_of

FILMS = [
    ("a", "Alien", "In space no one can hear you scream", ["Horror", "Science Fiction"]),
    ("b", "Aliens", "This time it is war, war in space", ["Action", "Science Fiction"]),
    ("c", "Toy Story", "Toys come to life", ["Animation"]),
    ("d", "Star Wars", "A war among the stars", ["Action", "Science Fiction"]),
    ("e", "Amélie", "", []),
    ("mute", "", "", []),
]
DOCUMENTS = {
    "a": "alien horror science fiction in space no one can hear you scream",
    "b": "aliens action science fiction this time it is war war in space",
    "c": "toy story animation toys come to life",
    "d": "star wars action science fiction a war among the stars",
    "e": "amélie",
}
ALL = [*DOCUMENTS, "mute", "unknown"]


def corpus(films: list[tuple[str, str, str, list[str]]] = FILMS) -> Corpus:
    rows = [(name, title, text, 1990, categories) for name, title, text, categories in films]
    return Corpus(pl.DataFrame(schema=INTERACTIONS), pl.DataFrame(rows, schema=ITEMS, orient="row"))


def fitted(films: list[tuple[str, str, str, list[str]]] = FILMS, **options: str) -> BM25:
    model = BM25(BM25Options.parse(options, owner="bm25"), seed=0, device="cpu")
    model.fit(corpus(films), TrainContext())
    return model


def by_hand(history: list[str], item: str, *, k1: float = 1.2, b: float = 0.75) -> float:
    """Return the BM25 of the document of `item` for those of `history`, as Lucene computes it."""
    texts = {name: text.split() for name, text in DOCUMENTS.items()}
    mean = float(np.mean([len(text) for text in texts.values()]))
    document, total = texts.get(item, []), 0.0
    for word in (word for name in history for word in texts[name]):
        holders = sum(word in text for text in texts.values())
        idf = log(1 + (len(texts) - holders + 0.5) / (holders + 0.5))
        if often := document.count(word):
            total += idf * often / (often + k1 * (1 - b + b * len(document) / mean))
    return total


@pytest.mark.parametrize(("k1", "b"), [(1.2, 0.75), (0.0, 0.75), (2.0, 0.0), (0.9, 1.0)])
def test_scores_are_those_of_the_formula(k1: float, b: float) -> None:
    model = fitted(k1=str(k1), b=str(b))
    for history in (["a"], ["b", "d"], ["d", "d", "c"], list("abcde")):
        scores = scores_of(model, request_of(history, ALL))["r"]
        assert scores == pytest.approx({item: by_hand(history, item, k1=k1, b=b) for item in ALL})
    assert scores["b"] > scores["e"] > scores["unknown"] == 0


def test_the_newest_known_items_alone_are_the_query() -> None:
    model = fitted(max_history="2")
    long = request_of(["c", "a", "unknown", "mute", "b", "unknown"], ALL)
    assert scores_of(model, long) == scores_of(model, request_of(["a", "b"], ALL))
    assert scores_of(model, long)["r"] == pytest.approx({item: by_hand(["a", "b"], item) for item in ALL})


def test_a_text_is_part_of_the_query() -> None:
    """The words of an item, as a text, weigh as the item does; unknown words, and an empty text, as nothing."""
    model = fitted()
    asked = request_of(["a"], ALL).with_columns(text=pl.lit(f"{DOCUMENTS['d']} xylophone"))
    assert scores_of(model, asked)["r"] == pytest.approx({item: by_hand(["a", "d"], item) for item in ALL})
    empty = request_of(["a"], ALL).with_columns(text=pl.lit(""))
    assert scores_of(model, empty) == scores_of(model, request_of(["a"], ALL))


@pytest.mark.parametrize("history", [[], ["unknown"], ["mute"]])
def test_without_a_known_item_all_scores_are_0(history: list[str]) -> None:
    assert scores_of(fitted(), request_of(history, ALL))["r"] == dict.fromkeys(ALL, 0.0)


def test_a_score_depends_on_its_request_and_item_alone() -> None:
    model = fitted()
    requests = pl.concat([request_of(list("abcde")[: number % 6], ALL, name=f"r{number}") for number in range(300)])
    together = scores_of(model, requests)
    assert scores_of(model, requests.reverse().with_columns(pl.col("candidates").list.reverse())) == together
    assert scores_of(fitted(FILMS[::-1]), requests) == together
    assert scores_of(model, request_of(list("ab"), ["d", "c"]))["r"] == {item: together["r2"][item] for item in "dc"}


def test_words_are_runs_of_letters_and_digits_in_lower_case() -> None:
    assert words("The Matrix: 2-in-1, DON'T_stop!") == ["the", "matrix", "2", "in", "1", "don", "t", "stop"]
    assert words("AME\u0301LIE Волна 七人の侍") == ["am\u00e9lie", "волна", "七人の侍"]
    assert words("... !?") == []


def test_facts_say_what_was_indexed() -> None:
    facts = BM25(BM25Options(), seed=0, device="cpu").fit(corpus(), TrainContext())
    assert facts["items"] == len(DOCUMENTS)
    assert facts["words"] == len({word for text in DOCUMENTS.values() for word in text.split()})
    assert str(facts["library"]).startswith("bm25s ")


def test_bm25_needs_words_and_a_fit() -> None:
    with pytest.raises(ModelError, match="no item has a title"):
        fitted(FILMS[-1:])
    with pytest.raises(ModelError, match="no item has a word"):
        fitted([("a", "?!", "", [])])
    with pytest.raises(ModelError, match="not fitted"):
        scores_of(BM25(BM25Options(), seed=0, device="cpu"), request_of(["a"], ALL))
