"""The laws of templates hold for every part that ships, in every template that takes it."""

import random
import re
from functools import partial

import pytest

from llmrs_bench.core.config import TEXTS
from llmrs_bench.core.errors import OptionError
from llmrs_bench.prompts.template import PART_NAMES, read_source, template_names, template_parts
from template_runs import ITEMS, NEEDS, REQUEST, best, catalog, flat, make, oracle, play, read, text

SHOP = catalog(*ITEMS)
FORMS = [name for name in template_names() if read_source(name).template_file.form not in TEXTS]
JUNK = (
    "",
    "\n",
    "1",
    "I cannot.",
    "{",
    "[[",
    "Film I1",
    "7, 8, 9",
    "<think>",
    "\u0000",
    "A" * 500,
    "1. Film I1 2. Film I2",
)


def taken() -> list[tuple[str, str]]:
    """Template and part, where one takes the other; parts that need a grammar of their own are refused."""
    found = []
    for template in FORMS:
        for part in PART_NAMES:
            for name in template_parts(part):
                try:
                    make(template, **{part: name, **NEEDS.get(f"{part}={name}", {})})
                except OptionError:
                    continue
                found.append((template, f"{part}={name}"))
    return found


TAKEN = taken()


def test_most_parts_go_with_most_templates() -> None:
    shipped = {f"{part}={name}" for part in PART_NAMES for name in template_parts(part)}
    assert {part for _, part in TAKEN} == shipped
    assert len(TAKEN) > len(FORMS) * len(shipped) / 2


@pytest.mark.parametrize(("template", "part"), TAKEN, ids=str)
def test_the_laws_hold(template: str, part: str) -> None:
    """An oracle is read back, no candidate is told outside its list, and any text is read."""
    name, _, template_part = part.partition("=")
    made = make(template, **{name: template_part, **NEEDS.get(part, {})})
    order = random.Random(part).sample(REQUEST.candidates, len(REQUEST.candidates))
    exchanges = flat(play(made, REQUEST, SHOP, oracle(order)))
    assert best(dict(read(made, exchanges).values), len(order)) == order
    for prompt, _ in exchanges:
        told = "\n".join(message.content for message in prompt.messages)
        for item in REQUEST.candidates:
            assert len(re.findall(rf"\b{SHOP.items[item].title}\b", told)) <= (item in prompt.shown)
    if made.mode == "generate":
        for junk in JUNK:
            scores = read(made, flat(play(made, REQUEST, SHOP, partial(text, answer=junk))))
            assert set(scores.values) <= set(REQUEST.candidates)
            assert len(scores.kinds) > 0
