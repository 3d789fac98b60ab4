"""The grammar of permutations: it admits every one of them, and nothing else."""

import random
from itertools import permutations

import pytest

from llmrs_bench.llm.constrained import Permutation, permutation
from tiny_models import train_tokenizer

STOP = 2


def walk(grammar: Permutation, rng: random.Random) -> list[int]:
    """Write tokens that are allowed, at random, until the stop."""
    written: list[int] = []
    while (token := rng.choice(grammar.allowed(written))) not in grammar.stops:
        written.append(token)
    return written


@pytest.mark.parametrize("prompt", ["Ranking:", "<|assistant|>", "Ranking:\n"])
@pytest.mark.parametrize("count", [1, 2, 12, 25])
def test_any_allowed_walk_is_a_permutation(prompt: str, count: int) -> None:
    tokenizer = train_tokenizer()
    grammar = permutation(tokenizer, prompt, count, [STOP])
    for seed in range(20):
        written = walk(grammar, random.Random(seed))
        text = tokenizer.decode(written)
        assert text.startswith(" ") == (prompt == "Ranking:")
        assert sorted(int(number) for number in text.split(", ")) == list(range(1, count + 1))
        assert len(written) + 1 <= grammar.longest


def test_every_permutation_is_admitted() -> None:
    tokenizer = train_tokenizer()
    grammar = permutation(tokenizer, "Ranking:", 3, [STOP])
    reached = {tokenizer.decode(walk(grammar, random.Random(seed))).strip() for seed in range(200)}
    assert reached == {", ".join(map(str, order)) for order in permutations((1, 2, 3))}


def test_a_number_that_begins_another_stays_open_until_the_next_token() -> None:
    one, comma, two = 10, 11, 12
    grammar = Permutation(((one,), (one, two)), ((comma, one), (comma, one, two)), (STOP,))  # 1 and 12
    assert grammar.allowed([]) == [one]
    assert grammar.allowed([one]) == [comma, two]
    assert grammar.allowed([one, two]) == [comma]
    assert grammar.allowed([one, comma, one]) == [two]
    assert grammar.allowed([one, comma, one, two]) == [STOP]
    assert grammar.allowed([one, two, comma, one]) == [STOP]


def test_what_may_follow_depends_on_what_is_written_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmrs_bench.llm.constrained._READINGS", 5)
    fresh = [permutation(train_tokenizer(), "Ranking:", 12, [STOP]) for _ in range(2)]
    answers = [walk(fresh[0], random.Random(seed)) for seed in range(3)]
    beginnings = [answer[:end] for answer in answers for end in range(len(answer) + 1)]
    shuffled = random.Random(0).sample(beginnings, len(beginnings))
    expected = {tuple(written): fresh[0].allowed(written) for written in beginnings}
    assert {tuple(written): fresh[1].allowed(written) for written in shuffled} == expected
    begin = fresh[1].allowed([])
    assert [fresh[1].allowed([99, *more]) for more in ([], [begin[0]], [])] == [[], [], []]  # never allowed: a dead end
