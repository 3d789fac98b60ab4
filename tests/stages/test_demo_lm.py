"""`demo-lm` learns from the training part alone, once, and ranks like any other model."""

import re

import polars as pl
import pytest

from llmrs_bench.core.config import LanguageModelConfig
from llmrs_bench.core.types import Request, no_progress
from llmrs_bench.llm.backends.demo_lm import DemoOptions, Document, train_tokenizer
from llmrs_bench.stages import demo_lm
from llmrs_bench.stages.infer import infer
from llmrs_bench.stages.prompt import open_catalog
from llmrs_bench.stages.workspace import Data

FORMS = {"likelihood": {}, "listwise": {"answer": "titles"}}


def documents_of(data: Data, *, count: int = 400, seed: int = 0) -> list[Document]:
    return list(demo_lm.training_documents(data, demo_lm.learned_templates(), count=count, seed=seed))


def listwise_of(documents: list[Document]) -> list[Document]:
    return [document for document in documents if "\n[1] " in document.task]


def shown_in(document: Document) -> list[str]:
    return re.findall(r"\n\[\d+\] (.*)", document.task)


def test_documents_are_of_the_training_part_alone(data: Data) -> None:
    text = "".join(f"{document.text}\n" for document in documents_of(data, count=2_000))
    assert "Film number" in text
    assert "Secret" not in text
    events = data.artifact.table("interactions")
    learned = set(events.filter(pl.col("part") == "train")["item_id"])
    titles = dict(data.artifact.table("items").select("item_id", "title").iter_rows())
    for item, title in titles.items():
        assert (f"{title}\n" in text) <= (item in learned), title


def test_histories_and_next_items_follow_each_other_in_the_training_part(data: Data) -> None:
    titles = dict(data.artifact.table("items").select("item_id", "title").iter_rows())
    events = data.artifact.table("interactions").filter(pl.col("part") == "train")
    sequences = [
        "".join(f"\n- {titles[item]}" for item in items)
        for (items,) in events.group_by("user_id", maintain_order=True).agg("item_id").select("item_id").iter_rows()
    ]
    for document in documents_of(data):
        lines = document.history[document.history.index("\n- ") :]
        nexts = shown_in(document) or [document.answer.strip()]
        assert any(f"{lines}\n- {title}\n" in f"{sequence}\n" for sequence in sequences for title in nexts)


def test_listwise_documents_have_the_words_of_the_template(data: Data) -> None:
    template = demo_lm.learned_templates()["listwise"]
    catalog = open_catalog(data)
    items = {item.title: item.item_id for item in catalog.items.values()}
    found = listwise_of(documents_of(data))
    assert found
    for document in found:
        past = [items[title] for title in re.findall("\n- (.*)", document.history)]
        request = Request("1", "1", tuple(past), tuple(items[title] for title in shown_in(document)))
        (prompt,) = template.render(request, catalog, history=10)
        assert "\n".join(message.content for message in prompt.messages) == document.history + document.task


def test_listwise_answers_name_the_best_candidate(data: Data) -> None:
    found = listwise_of(documents_of(data))
    assert all(document.answer.removeprefix("\n1. ") in shown_in(document) for document in found)
    assert {len(shown_in(document)) for document in found} >= {2, 5, 10}


def test_followers_are_counted_in_sequences() -> None:
    followers = demo_lm._Followers([("a", "b", "c"), ("a", "b"), ("d", "c")], ["a", "b", "c", "d"])
    assert followers.best(["a"], ["d", "c", "b"]) == "b"
    assert followers.best(["d"], ["a", "b", "c"]) == "c"


def test_frequent_titles_become_one_token(data: Data) -> None:
    documents = documents_of(data)
    tokenizer = train_tokenizer([document.text for document in documents], DemoOptions(documents=len(documents)))
    document = listwise_of(documents)[0]
    lines = document.text.count("\n- ")
    tokens = tokenizer.tokenize(document.history)
    assert len(tokens) == 1 + lines  # the first line, and a title with its mark each
    assert len(tokenizer.tokenize(document.answer)) == 2  # the number, and a title


def test_documents_repeat_with_their_seed(data: Data) -> None:
    first, again, other = (documents_of(data, count=20, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other


@pytest.mark.parametrize("template", list(FORMS))
def test_it_is_trained_once_and_labelled(data: Data, template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_lm, "DOCUMENTS", 100)
    config = LanguageModelConfig.model_validate(
        {
            "model": "demo-lm",
            "template": template,
            "template_options": FORMS[template],
            "engine": "transformers",
            "options": {"answer_tokens": "40"},
        }
    )
    made = infer(data, config, no_progress)
    assert made.fresh
    assert not any("guesses" in warning for warning in made.warnings)
    assert made.artifact.facts["model"]["name"] == "demo-lm (demo)"
    assert made.artifact.table("rankings").height == data.artifact.table("requests").height * 10
    models = [path.name for path in data.place.models.iterdir()]
    assert len(models) == 1
    assert not infer(data, config, no_progress).fresh


def test_what_it_did_not_learn_is_said(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_lm, "DOCUMENTS", 100)
    config = LanguageModelConfig(model="demo-lm", engine="transformers", options={"answer_tokens": "5"})
    assert any(
        "-T answer=titles: these answers are guesses" in text for text in infer(data, config, no_progress).warnings
    )
