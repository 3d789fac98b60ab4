"""Language models through the stage: answers are keyed by what decides them, and read again at will."""

import shutil
from pathlib import Path

import polars as pl
import pytest

from llmrs_bench.core.artifacts import Artifact
from llmrs_bench.core.config import LanguageModelConfig
from llmrs_bench.core.errors import ModelError, OptionError
from llmrs_bench.core.types import no_progress
from llmrs_bench.stages.infer import infer
from llmrs_bench.stages.workspace import Data
from tiny_models import tiny_llama


def run(data: Data, model: Path | str, **options: object) -> Artifact:
    config = LanguageModelConfig.model_validate({"model": str(model), "engine": "transformers", **options})
    return infer(data, config, no_progress).artifact


def answers(data: Data) -> set[str]:
    return {path.name for path in data.place.answers.iterdir()}


def responses(data: Data, made: Artifact) -> pl.DataFrame:
    return made.table("responses")


def test_likelihoods_rank_as_their_log_probabilities_say(data: Data, llama: Path) -> None:
    made = run(data, llama, template="likelihood")
    requests, given = data.artifact.table("requests"), responses(data, made)
    sums = dict(given.select("prompt_id", pl.col("choice_logprobs").list.eval(pl.element().list.sum())).iter_rows())
    for row in requests.iter_rows(named=True):
        want = [item for _, item in sorted(zip(sums[row["request_id"]], row["candidates"], strict=True), reverse=True)]
        have = made.table("rankings").filter(pl.col("request_id") == row["request_id"]).sort("rank")["item_id"]
        assert have.to_list() == want
    facts = made.facts
    assert facts["serving"]["self_check_difference"] < 1e-3
    assert facts["requests"] == requests.height
    assert facts["history"] == 10


def test_text_of_a_model_that_cannot_rank_leaves_its_items_silent(data: Data, llama: Path) -> None:
    made = run(data, llama, template="listwise", options={"answer_tokens": "5"})
    given, rankings = responses(data, made), made.table("rankings")
    assert given["text"].null_count() == 0
    assert made.facts["cut_answers"] == (given["finish_reason"] == "length").sum()
    assert rankings.height == data.artifact.table("requests").height * 10
    assert rankings["score"].null_count() > rankings.height / 2


@pytest.mark.parametrize("change", ["weights", "tokenizer", "chat template", "option", "seed"])
def test_answers_are_never_those_of_another_model(data: Data, llama: Path, tmp_path: Path, change: str) -> None:
    template = tmp_path / "chat.jinja"
    template.write_text("{% for message in messages %}{{ message.content }}{% endfor %}")
    options = {"chat_template": str(template)}
    model = tmp_path / "copy"
    shutil.copytree(llama, model)
    run(data, model, template="likelihood", options=options)
    seed = 0
    if change == "weights":
        shutil.rmtree(model)
        tiny_llama(model, seed=1, context=512)
    elif change == "tokenizer":
        path = model / "tokenizer.json"
        path.write_text(path.read_text() + "\n")
    elif change == "chat template":
        template.write_text("{% for message in messages %}{{ message.content }}\n{% endfor %}")
    elif change == "option":
        options["dtype"] = "bfloat16"
    else:
        seed = 1
    run(data, model, template="likelihood", options=options, seed=seed)
    assert len(answers(data)) == 2


def test_a_moved_model_is_still_the_same_model(data: Data, llama: Path, tmp_path: Path) -> None:
    run(data, llama, template="likelihood")
    moved = tmp_path / "elsewhere" / llama.name
    shutil.copytree(llama, moved)
    run(data, moved, template="likelihood")
    assert len(answers(data)) == 1


def test_a_failed_engine_leaves_no_run(data: Data, llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("device lost")

    monkeypatch.setattr("llmrs_bench.llm.backends.likelihood.score_groups", fail)
    monkeypatch.setattr("llmrs_bench.llm.backends.likelihood.score_plain", fail)
    from llmrs_bench.core.errors import EngineError

    with pytest.raises(EngineError, match="device lost"):
        run(data, llama, template="likelihood")
    assert not data.place.runs.exists()


@pytest.mark.parametrize(
    ("model", "options", "error"),
    [
        ("./no-such-folder", {}, ModelError),
        ("mock", {"temperature": "1"}, OptionError),
        ("mock", {"chat_template": "none.jinja"}, OptionError),
    ],
)
def test_mistakes_are_named(data: Data, model: str, options: dict[str, str], error: type[Exception]) -> None:
    engine = "mock" if model == "mock" else "transformers"
    with pytest.raises(error):
        run(data, model, engine=engine, options=options)


def test_a_folder_without_a_model_is_named(data: Data, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"config\.json"):
        run(data, tmp_path / "empty")
