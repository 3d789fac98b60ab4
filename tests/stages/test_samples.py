"""What is gathered for the page: the sample, its rankings, and prompts as they were sent."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from llmrs_bench.core.artifacts import Artifact
from llmrs_bench.core.config import CompareConfig, EvaluateConfig, LanguageModelConfig
from llmrs_bench.core.types import Prompt, Response, no_progress
from llmrs_bench.llm.backends.mock import MockEngine
from llmrs_bench.report.html import Call, Extra
from llmrs_bench.stages import pages
from llmrs_bench.stages.compare import compare
from llmrs_bench.stages.evaluate import evaluate
from llmrs_bench.stages.infer import infer
from llmrs_bench.stages.pages import gather
from llmrs_bench.stages.workspace import Data
from stage_runs import prepared


def made(data: Data, template: str = "listwise", *, context: int | None = None, **options: str) -> Artifact:
    engine = {} if context is None else {"context": str(context)}
    config = LanguageModelConfig(model="mock", template=template, template_options=options, options=engine)
    return infer(data, config, no_progress).artifact


def gathered(data: Data, count: int = 5, seed: int = 0) -> Extra:
    evaluate(data, [], EvaluateConfig(), no_progress)
    board = compare(data, [], CompareConfig(samples=100, permutations=100)).board
    return gather(data, board, count=count, seed=seed)


def calls(extra: Extra, run: Artifact) -> list[Call]:
    return [call for request in extra.requests for call in request.rankings[run.path.name].calls]


def texts(call: Call) -> str:
    return "\n".join(content for _, content in call.messages or ())


def test_a_sample_is_drawn_by_its_seed_and_smaller_ones_are_part_of_larger_ones(data: Data) -> None:
    five, again, eight = ([request.request_id for request in gathered(data, count).requests] for count in (5, 5, 8))
    assert five == again
    assert set(five) < set(eight)
    assert [name for name in eight if name in five] == five
    order = data.artifact.table("requests")["request_id"].to_list()
    assert eight == sorted(eight, key=order.index)
    assert five != [request.request_id for request in gathered(data, 5, seed=1).requests]
    assert len(gathered(data, 1000).requests) == len(order)


def test_a_ranking_is_that_of_the_run_with_the_rank_of_the_target(data: Data) -> None:
    run = made(data)
    extra = gathered(data)
    rankings = run.table("rankings")
    truth = dict(data.artifact.table("truth").select("request_id", "item_id").iter_rows())
    for request in extra.requests:
        rows = rankings.filter(pl.col("request_id") == request.request_id).sort("rank")
        found = request.rankings[run.path.name]
        assert found.items == tuple(rows["item_id"])
        assert found.scores == tuple(rows["score"])
        target = truth[request.request_id]
        assert request.targets == (target,)
        assert found.targets == {target: rows.filter(pl.col("item_id") == target)["rank"].item()}
        assert set(request.history) | set(request.candidates) <= extra.titles.keys()
        assert "popularity" in {name.rpartition("-")[0] for name in request.rankings}


def test_prompts_and_answers_are_those_of_the_run(data: Data) -> None:
    run = made(data, orders="3")
    extra = gathered(data)
    responses = {row["prompt_id"]: row for row in run.table("responses").iter_rows(named=True)}
    for request in extra.requests:
        found = request.rankings[run.path.name]
        assert found.asked == len(found.calls) == 3
        assert [call.text for call in found.calls] == [responses[call.name]["text"] for call in found.calls]
        assert len({texts(call) for call in found.calls}) == 3
        for call in found.calls:
            assert all(extra.titles[item_id].title in texts(call) for item_id in request.candidates)
    assert not extra.notes


def test_likelihoods_come_with_what_was_offered(data: Data) -> None:
    run = made(data, "likelihood")
    for request in (extra := gathered(data)).requests:
        (call,) = request.rankings[run.path.name].calls
        assert call.text is None
        assert {name.strip() for name, _ in call.choices} == {extra.titles[i].title for i in request.candidates}
        assert all(logprob is not None and logprob < 0 for _, logprob in call.choices)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[tuple[str, str], ...]]:
    """Return the messages that the mock receives from now on, by prompt id."""
    received: dict[str, tuple[tuple[str, str], ...]] = {}
    answer = MockEngine.answer

    def recorded(engine: MockEngine, prompts: Sequence[Prompt]) -> Iterator[Response]:
        for prompt in prompts:
            received[prompt.prompt_id] = tuple((message.role, message.content) for message in prompt.messages)
        return iter(answer(engine, prompts))

    monkeypatch.setattr(MockEngine, "answer", recorded)
    return received


@pytest.mark.parametrize(
    ("template", "options"),
    [("sliding-window", {"window": "4", "stride": "2"}), ("setwise", {}), ("pairwise", {"method": "heapsort"})],
)
def test_later_prompts_are_shown_as_they_were_sent(
    data: Data, sent: dict[str, Any], template: str, options: dict[str, Any]
) -> None:
    run = made(data, template, **options)
    extra = gathered(data)
    shown = calls(extra, run)
    assert {call.name: call.messages for call in shown} == {call.name: sent[call.name] for call in shown}
    found = extra.requests[0].rankings[run.path.name]
    asked_of_it = [name for name in run.table("responses")["request_id"] if name == extra.requests[0].request_id]
    assert found.asked == len(asked_of_it)
    assert len(found.calls) == min(found.asked, pages.SHOWN)


def test_a_clipped_prompt_is_shown_as_it_was_sent(data: Data, sent: dict[str, Any]) -> None:
    whole = made(data)
    first = dict(sent)
    short = made(data, context=max(whole.table("responses")["prompt_tokens"]))  # room for no answer but with less
    shown = calls(gathered(data), short)
    assert any(call.n_truncated for call in shown)
    for call in shown:
        assert call.messages == sent[call.name]
        assert (call.messages != first[call.name]) == bool(call.n_truncated)


def test_a_run_read_anew_shows_the_answers_it_was_read_from(data: Data) -> None:
    made(data, "likelihood")
    evaluate(data, [], EvaluateConfig(normalize="byte"), no_progress)
    rankings = gathered(data).requests[0].rankings
    (plain,) = [name for name in rankings if "likelihood-" in name and "byte" not in name]
    (other,) = [name for name in rankings if "byte" in name]
    assert rankings[plain].calls == rankings[other].calls


def test_prompts_that_are_gone_or_changed_are_said_so(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds, plain = made(data, "sliding-window", window="4", stride="2"), made(data)
    monkeypatch.setattr(pages, "source_digest", lambda template: "another code")
    extra = gathered(data)
    assert extra.notes.keys() == {rounds.path.name}
    assert "template has changed" in extra.notes[rounds.path.name]
    known = [call.messages is not None for call in calls(extra, rounds)]
    assert any(known)
    assert not all(known)
    assert all(call.messages is not None for call in calls(extra, plain))
    shutil.rmtree(data.place.prompts)
    extra = gathered(data)
    assert "deleted" in extra.notes[plain.path.name]
    assert all(call.messages is None and call.text for call in calls(extra, plain))


def test_position_bias_is_that_of_the_evaluation(data: Data) -> None:
    run = made(data, orders="3")
    extra = gathered(data, count=0)
    assert extra.requests == ()
    assert extra.biases.keys() == {run.path.name}
    assert extra.biases[run.path.name]["views"] == 3 * extra.biases[run.path.name]["requests"]


def test_a_whole_catalogue_shows_its_first_ranks(tmp_path: Path, raw: Path) -> None:
    data = prepared(tmp_path, raw, "whole", candidates="all")
    found = gathered(data).requests[0]
    assert found.candidates == ()
    assert all(len(ranking.items) == 20 for ranking in found.rankings.values())
