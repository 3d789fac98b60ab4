"""What a model is tuned to answer is what its answer is read as."""

import pytest

from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.registry import STRATEGIES
from llmrs_bench.core.types import Prompt, Request
from llmrs_bench.prompts.strategies.base import Exchange, HasAnswers, PromptStrategy
from llmrs_bench.prompts.template import template_names
from template_runs import catalog, chosen, make, read, text

ITEMS = [f"i{number}" for number in range(6)]
REQUEST = Request("r", "u", ("i8", "i9"), tuple(ITEMS))
GOODS = catalog(*ITEMS, "i8", "i9")
TUNABLE = ("label", "like", "likelihood", "listwise", "paper", "yes-no")


def answered(template: PromptStrategy, prompt: Prompt, relevant: set[str]) -> Exchange:
    assert isinstance(template, HasAnswers)
    answer = template.answer_of(prompt, relevant)
    if prompt.choices is None:
        return prompt, text(prompt, answer)
    return prompt, chosen(prompt, tuple((-0.1,) if choice == answer else (-9.0,) for choice in prompt.choices))


@pytest.mark.parametrize("name", TUNABLE)
@pytest.mark.parametrize("target", ITEMS[::3])
def test_the_right_answer_is_read_as_the_truth(name: str, target: str) -> None:
    template = make(name)
    assert isinstance(template, HasAnswers)
    prompts = template.render(REQUEST, GOODS, history=5)
    values = read(template, [answered(template, prompt, {target}) for prompt in prompts]).values
    assert max(values, key=lambda item: values[item]) == target
    assert sum(value == values[target] for value in values.values()) == 1


@pytest.mark.parametrize("options", [
    {"answer": "titles"}, {"answer": "json"}, {"answer": "lines"}, {"candidates": "letters", "answer": "letters"},
    {"candidates": "ids", "answer": "ids"}, {"candidates": "titles", "answer": "titles"},
])  # fmt: skip
def test_a_list_is_written_in_the_form_that_is_asked_for(options: dict[str, str]) -> None:
    try:
        template = make("listwise", **options)
    except OptionError as error:  # a part of another name
        pytest.fail(str(error))
    [prompt] = template.render(REQUEST, GOODS, history=5)
    scores = read(template, [answered(template, prompt, {"i4"})])
    assert sorted(scores.values, key=lambda item: -scores.values[item]) == ["i4", "i0", "i1", "i2", "i3", "i5"]
    assert scores.kinds == ("complete",)


def test_thoughts_before_a_list_have_no_right_answer() -> None:
    template = make("listwise", answer="reasoned")
    assert isinstance(template, HasAnswers)
    [prompt] = template.render(REQUEST, GOODS, history=5)
    assert template.answer_of(prompt, {"i4"}) is None


def test_every_template_has_right_answers_or_is_known_to_have_none() -> None:
    without = {"notes", "interest", "explanation", "pairwise", "setwise", "sliding-window", "stars"}
    found = {name for name in template_names() if isinstance(make(name), HasAnswers)}
    assert found == set(TUNABLE) & set(template_names())
    assert set(template_names()) - found <= without
    assert STRATEGIES
