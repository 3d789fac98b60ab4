"""`demo-lm` learns from the training part alone, once, and ranks like any other model."""

import polars as pl
import pytest

from llmrs_bench.core.config import InferConfig, PromptConfig
from llmrs_bench.core.types import no_progress
from llmrs_bench.stages import demo_lm
from llmrs_bench.stages.infer import infer
from llmrs_bench.stages.prompt import open_template
from llmrs_bench.stages.workspace import Data

NAMES = ("likelihood", "listwise")


def test_training_text_is_of_the_training_part_alone(data: Data) -> None:
    templates = {name: open_template(PromptConfig(template=name)) for name in NAMES}
    text = "".join(demo_lm.training_texts(data, templates, characters=300_000, seed=0))
    assert "Film number" in text
    assert "Secret" not in text
    events = data.artifact.table("interactions")
    learned = set(events.filter(pl.col("part") == "train")["item_id"])
    titles = dict(data.artifact.table("items").select("item_id", "title").iter_rows())
    for item, title in titles.items():
        assert (f"{title}\n" in text) <= (item in learned), title


def test_training_text_repeats_with_its_seed(data: Data) -> None:
    templates = {name: open_template(PromptConfig(template=name)) for name in NAMES}
    first, again, other = (
        list(demo_lm.training_texts(data, templates, characters=5_000, seed=seed)) for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize("template", NAMES)
def test_it_is_trained_once_and_labelled(data: Data, template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_lm, "CHARACTERS", 20_000)
    config = InferConfig.model_validate(
        {"model": "demo-lm", "template": template, "engine": "transformers", "options": {"answer_tokens": "40"}}
    )
    made = infer(data, config, no_progress)
    assert made.fresh
    assert made.artifact.facts["model"]["name"] == "demo-lm (demo)"
    assert made.artifact.table("rankings").height == data.artifact.table("requests").height * 10
    models = [path.name for path in data.place.models.iterdir()]
    assert len(models) == 1
    assert not infer(data, config, no_progress).fresh
