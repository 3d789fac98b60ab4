"""Titles of at most so many tokens: cut behind a word, by the model's own tokenizer, counted, and said."""

import json

import pytest

from command_line import Bench, table
from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.view_options import ViewOptions
from llmrs_bench.llm.tokenization import CUT, TitleCounter
from llmrs_bench.stages.prompt import views_of
from tiny_models import TITLES, tiny_llama, train_tokenizer

LONG = (
    *TITLES,
    "Wireless earbuds, black (with a case) - 2nd generation",
    "x" * 80,
    "東京物語" * 9,
    "a - b - c - d - e",
)


@pytest.mark.parametrize("limit", [4, 5, 9, 20])
def test_no_title_has_more_tokens_than_the_limit(limit: int) -> None:
    counter = TitleCounter(train_tokenizer())
    short = counter.shortened(LONG, limit)
    assert any(title.endswith(CUT) for title in short)
    for whole, title in zip(LONG, short, strict=True):
        assert (title == whole) == (counter.count(whole) <= limit)
        assert counter.count(title) <= limit or len(title) == 2
        if title != whole:
            kept = title.removesuffix(CUT)
            assert whole.startswith(kept)
            assert kept[-1] not in " ,-("
            after = whole[len(kept)]
            assert " " not in kept or after in " ,"  # behind a word, if one is whole


def test_a_title_is_cut_as_late_as_it_can_be() -> None:
    counter = TitleCounter(train_tokenizer())
    title = TITLES[10]
    words = title.split()
    for limit in range(4, counter.count(title)):
        kept = counter.shortened([title], limit)[0].removesuffix(CUT)
        more = " ".join(words[: len(kept.split()) + 1])
        assert counter.count(more + CUT) > limit or more == title


def test_titles_are_cut_in_prompts_and_answers_of_one_model(bench: Bench) -> None:
    model = str(tiny_llama(bench.home / "llama", context=512))
    bench.prepare("--users", "3", "--history", "2")
    asked = ("--model", model, "--engine", "transformers", "--dataset", "small", "-t", "likelihood")
    said = bench.run("infer", *asked, "-T", "title_tokens=9").stderr
    counter = TitleCounter(train_tokenizer())
    whole = table(bench, "small/*/data/items.parquet")["title"].to_list()
    many = sum(counter.count(title) > 9 for title in whole)
    assert many
    assert f"titles: {many} of {len(whole)} have more than 9 tokens, and are cut after a word, with {CUT}" in said
    prompts = table(bench, "small/*/prompts/likelihood-*/prompts.parquet")
    choices = [choice.strip() for choices in prompts["choices"].to_list() for choice in choices]
    assert any(CUT in choice for choice in choices)
    assert max(counter.count(choice.partition(" [")[0].partition(" (")[0]) for choice in choices) <= 9
    responses = table(bench, "small/*/runs/llama-likelihood-*/responses.parquet")
    assert [len(found) for found in responses["choice_logprobs"]] == [20, 20, 20]
    [manifest] = [json.loads(path.read_text()) for path in bench.home.glob("small/*/runs/llama-*/manifest.json")]
    assert manifest["facts"]["typed"]["title_tokens"] == "9"
    bench.run("evaluate", "--dataset", "small", "--normalize", "token")
    bench.run("compare", "--dataset", "small", "--html", str(bench.home / "board.html"))
    assert "title_tokens=9" in bench.run("compare", "--dataset", "small", "--format", "markdown").stdout


def test_whose_tokens_are_counted_has_to_be_known(bench: Bench) -> None:
    bench.prepare("--users", "3")
    said = bench.run("prompt", "--dataset", "small", "-T", "title_tokens=9", code=2).stderr
    assert "Add -T title_tokenizer=MODEL" in said
    said = bench.run("prompt", "--dataset", "small", "-T", "title_tokenizer=x", code=2).stderr
    assert "title_tokenizer has no effect without title_tokens=N" in said
    with pytest.raises(OptionError, match="title_tokens=3 is below 4"):
        ViewOptions.parse({"title_tokens": "3"}, owner="x")


def test_what_is_not_limited_keeps_its_fingerprint() -> None:
    assert not {"title_tokens", "title_tokenizer"} & views_of(ViewOptions()).keys()
    limited = views_of(ViewOptions(title_tokens=9, title_tokenizer="somewhere"))
    assert limited["title_tokens"] == 9
    assert "title_tokenizer" not in limited  # its digest counts, not where it is
