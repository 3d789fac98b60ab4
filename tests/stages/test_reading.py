"""Kept responses are read in every way without a model: normalised anew, or parsed again."""

import shutil
from math import fsum
from pathlib import Path

import polars as pl
import pytest

from llmrs_bench.core.artifacts import Artifact, open_artifact
from llmrs_bench.core.config import EvaluateConfig, Normalize
from llmrs_bench.core.errors import ArtifactError, OptionError
from llmrs_bench.core.types import no_progress
from llmrs_bench.prompts import context
from llmrs_bench.prompts.frames import read_prompts
from llmrs_bench.stages.evaluate import evaluate
from llmrs_bench.stages.infer import infer, infer_config
from llmrs_bench.stages.infer_language_model import find_priors
from llmrs_bench.stages.workspace import Data


def run(data: Data, model: Path | str, *, from_cache: bool = False, prior: bool = False, **options: object) -> Artifact:
    config = infer_config({"model": str(model), **options})
    return infer(data, config, no_progress, from_cache=from_cache, prior=prior).artifact


def likelihoods(data: Data, llama: Path, *, prior: bool = False) -> Artifact:
    return run(data, llama, engine="transformers", template="likelihood", prior=prior)


def made_by(data: Data, run: Artifact, normalize: Normalize) -> pl.DataFrame:
    done = evaluate(data, [run.path.name], EvaluateConfig(normalize=normalize), no_progress)[1]
    return pl.read_parquet(data.place.runs / done.name / "rankings.parquet")


@pytest.mark.parametrize("normalize", ["token", "byte", "pmi"])
def test_scores_are_those_of_the_definition(data: Data, llama: Path, normalize: Normalize) -> None:
    made = likelihoods(data, llama, prior=True)
    responses = {row["prompt_id"]: row for row in made.table("responses").iter_rows(named=True)}
    prompts = next(data.place.prompts.glob("likelihood-*")) / "prompts.parquet"
    prior = prior_of(find_priors(data, made), pl.read_parquet(prompts))
    found = {(r, i): score for r, i, _, score in made_by(data, made, normalize).iter_rows()}
    for prompt in read_prompts(pl.read_parquet(prompts)):
        rows = responses[prompt.prompt_id]["choice_logprobs"]
        for item, choice, logprobs in zip(prompt.shown, prompt.choices or (), rows, strict=True):
            total = fsum(logprobs)
            want = {
                "token": total / len(logprobs),
                "byte": total / len(choice.strip().encode()),
                "pmi": total - prior[choice],
            }
            assert found[prompt.request_id, item] == pytest.approx(want[normalize], abs=1e-9)


def prior_of(priors: Artifact, prompts: pl.DataFrame) -> dict[str, float]:
    """Return the summed log-probability of every choice without a history, in the order of first appearance."""
    choices = list(dict.fromkeys(choice for group in prompts["choices"] for choice in group))
    values = [fsum(logprobs) for row in priors.table("responses")["choice_logprobs"] for logprobs in row]
    return dict(zip(choices, values, strict=True))


def test_priors_are_asked_on_request_alone_and_are_no_part_of_the_run(data: Data, llama: Path) -> None:
    alone = likelihoods(data, llama)
    assert alone.facts["prompts"] == alone.facts["requests"] == data.artifact.table("requests").height
    with pytest.raises(ArtifactError, match="no scores of its titles without a history") as caught:
        evaluate(data, [alone.path.name], EvaluateConfig(normalize="pmi"), no_progress)
    assert "--prior" in caught.value.hint
    both = likelihoods(data, llama, prior=True)
    assert (both.path, both.facts) == (alone.path, alone.facts)
    priors = find_priors(data, alone)
    spent = priors.table("responses")
    assert priors.facts["prior_prompts"] == spent.height > 0
    assert priors.facts["prior_tokens"] == int(
        spent.select(pl.col("prompt_tokens") - pl.col("cached_tokens") + pl.col("completion_tokens")).sum().item()
    )
    (_, done) = evaluate(data, [alone.path.name], EvaluateConfig(normalize="pmi"), no_progress)
    facts = open_artifact(data.place.runs / done.name, hint="").facts
    assert {name: facts[name] for name in priors.facts} == priors.facts
    assert all(facts[name] == alone.facts[name] for name in ("prompts", "prompt_tokens", "seconds", "price_usd"))


@pytest.mark.parametrize("model", ["mock", "popularity"])
def test_priors_are_refused_where_no_titles_are_asked_for(data: Data, model: str) -> None:
    with pytest.raises(OptionError, match="--prior applies only to"):
        run(data, model, prior=True)


def test_without_names_runs_with_likelihoods_are_normalised_and_no_others(data: Data) -> None:
    for template in ("listwise", "likelihood"):
        run(data, "mock", template=template)
    done = evaluate(data, [], EvaluateConfig(normalize="byte"), no_progress)
    assert [outcome.name.rpartition("-")[0] for outcome in done[1:]] == ["mock-likelihood-byte"]
    again = evaluate(data, [], EvaluateConfig(normalize="byte"), no_progress)
    assert [outcome.name for outcome in again] == [outcome.name for outcome in done]
    assert not any(outcome.fresh for outcome in again)


def test_runs_without_likelihoods_are_refused(data: Data) -> None:
    run(data, "mock")
    with pytest.raises(OptionError, match="mock-listwise"):
        evaluate(data, ["mock"], EvaluateConfig(normalize="token"), no_progress)


def test_responses_to_other_prompts_are_not_read(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    made = run(data, "mock", template="likelihood")
    monkeypatch.setattr("llmrs_bench.prompts.context.plural", lambda word: f"{word}en")
    monkeypatch.setattr(context, "_of_all", context._of_all.__wrapped__)  # nothing of before is kept
    monkeypatch.setattr("llmrs_bench.stages.prompt.source_digest", lambda template: "changed")
    with pytest.raises(ArtifactError, match="other prompts") as caught:
        evaluate(data, [made.path.name], EvaluateConfig(normalize="byte"), no_progress)
    assert "infer" in caught.value.hint


def test_reparse_makes_the_same_run_without_the_model(data: Data, llama: Path) -> None:
    first = likelihoods(data, llama)
    rankings, place = first.table("rankings"), first.path
    shutil.rmtree(place)
    shutil.move(llama, moved := llama.with_name("elsewhere"))
    try:
        again = run(data, llama.name, from_cache=True, engine="transformers", template="likelihood")
    finally:
        shutil.move(moved, llama)
    assert again.path == place
    assert again.table("rankings").equals(rankings)


def test_reparse_says_what_is_missing(data: Data) -> None:
    with pytest.raises(ArtifactError, match="0 sets of answers") as caught:
        run(data, "mock", from_cache=True)
    assert "--from-cache" in caught.value.hint
    run(data, "mock")
    with pytest.raises(ArtifactError, match="the cache lacks answers") as caught:
        run(data, "mock", from_cache=True, template="likelihood")
    assert "--from-cache" in caught.value.hint


def test_reparse_refuses_to_choose_between_weights(data: Data, llama: Path, tmp_path: Path) -> None:
    from tiny_models import tiny_llama

    likelihoods(data, llama)
    run(data, tiny_llama(tmp_path / llama.name, seed=1, context=512), engine="transformers", template="likelihood")
    with pytest.raises(ArtifactError, match="2 sets of answers"):
        run(data, llama.name, from_cache=True, engine="transformers", template="likelihood")
