"""Which prompts are read together, what they share, and how many of their tokens are read again."""

import pytest

from llmrs_bench.core.types import Prompt
from llmrs_bench.llm.backends.token_tree import Group, chain_group, fits, group_jobs, shared_head
from llmrs_bench.llm.token_counts import token_counts
from llmrs_bench.llm.tokenization import Ids, Job, Tokenized, cut


def job(name: str, request: str, prefix: Ids, *suffixes: Ids) -> Job:
    return Job(Prompt(name, request, (), (), ()), Tokenized(prefix, suffixes))


def names(group: Group) -> list[str]:
    return [member.prompt.prompt_id for member in group.jobs]


def test_prompts_of_one_request_that_begin_alike_are_one_group() -> None:
    jobs = [
        job("a", "r", (1, 2, 3, 4), (9,), (8,)),
        job("x", "other", (1, 2, 3, 4), (9,)),
        job("b", "r", (1, 2, 3, 5), (9,), (8,)),
    ]
    groups = group_jobs(jobs, rows=100)
    assert [names(group) for group in groups] == [["x"], ["a", "b"]]
    shared = groups[1]
    assert shared.prefix == (1, 2, 3)
    assert shared.packs[0].inputs == (4, 5)
    assert shared.cached() == [0, 3]
    assert shared.assign([[0.1], [0.2], [0.3], [0.4]]) == [[[0.1], [0.2]], [[0.3], [0.4]]]


@pytest.mark.parametrize(
    ("other", "apart"), [((1, *[5] * 7), True), ((1, 2, *[5] * 6), False), ((7, 2, 3, 4, 5, 6, 7, 8), True)]
)
def test_prompts_that_share_too_little_stay_alone(other: Ids, apart: bool) -> None:
    jobs = [job("a", "r", (1, 2, 3, 4, 5, 6, 7, 8), (9,)), job("b", "r", other, (9,))]
    assert len(group_jobs(jobs, rows=100)) == 1 + apart


def test_tokens_behind_the_shared_ones_are_read_once_for_each_branch() -> None:
    jobs = [
        job("a", "r", (1, 2, 3, 4, 5), (9,)),
        job("b", "r", (1, 2, 3, 4, 6), (9, 9)),
        job("c", "r", (1, 2, 3), (4, 4)),
    ]
    (group,) = group_jobs(jobs, rows=100)
    assert group.prefix == (1, 2, 3)
    # The row of the 4 is made for c, whose choice comes first in the tree.
    assert group.cached() == [1, 4, 3]
    rows = len(group.packs[0].inputs)
    read = sum(len(member.tokens.prefix) - cached for member, cached in zip(group.jobs, group.cached(), strict=True))
    assert (rows, read) == (4, 3 + 2)


def test_a_prompt_whose_choices_are_in_two_packs_is_read_again_for_the_second() -> None:
    jobs = [job("a", "r", (1, 2, 3, 4), (7, 8), (9, 8)), job("b", "r", (1, 2, 5, 6), (7, 8))]
    (group,) = group_jobs(jobs, rows=3)
    assert [len(made.inputs) for made in group.packs] == [3, 3, 3]
    assert group.cached() == [0, 2]


def test_groups_come_longest_first_whatever_the_order_of_prompts() -> None:
    jobs = [job(f"p{n}", f"r{n}", tuple(range(5 + n % 3)), (1, 2)) for n in range(7)]
    straight = group_jobs(jobs, rows=100)
    assert group_jobs(jobs[::-1], rows=100) == straight
    assert [names(group)[0] for group in straight] == ["p2", "p5", "p1", "p4", "p0", "p3", "p6"]


def test_batches_keep_the_bound_and_waste_little() -> None:
    lengths = [100, 98, 96, 95, 50, 49, 10]
    jobs = [job(f"p{n}", f"r{n}", tuple(range(length)), (1, 2)) for n, length in enumerate(lengths)]
    groups = group_jobs(jobs, rows=100)
    batches = list(cut(groups, fits=lambda batch: fits(batch, tokens=303)))
    assert [[len(group.prefix) for group in batch] for batch in batches] == [[100, 98, 96], [95], [50, 49], [10]]


def test_groups_of_several_packs_stand_alone() -> None:
    wide = job("w", "w", (1, 2, 3), (1, 2), (2, 3), (3, 4))
    groups = group_jobs([wide, job("s", "s", (1, 2, 3), (1, 2))], rows=2)
    assert [len(group.packs) for group in groups] == [2, 1]
    assert [len(batch) for batch in cut(groups, fits=lambda batch: fits(batch, tokens=1000))] == [1, 1]


def test_chains_begin_with_the_start_token() -> None:
    group = chain_group(job("a", "r", (5, 6), (7, 8), (7,), (7, 8)), start=0, rows=100)
    assert group.packs[0].inputs == (0, 0, 7)
    assert group.assign([[1.0], [1.0, 2.0]]) == [[[1.0], [1.0, 2.0]]]
    assert group.cached() == [0]


def test_tokens_are_counted_as_engines_compute_them() -> None:
    begin = tuple(range(40))
    prompts = [job(name, "r", (*begin, last), (7, 8), (7, 8), (9,)) for name, last in (("a", 50), ("b", 51))]
    asked, tokens = [each.prompt for each in prompts], [each.tokens for each in prompts]
    counts = {engine: token_counts(asked, tokens, engine=engine) for engine in ("transformers", "vllm", "mock")}
    assert {(each.prompt, each.choices) for each in counts.values()} == {(82, 6)}
    assert {engine: each.cached for engine, each in counts.items()} == {"transformers": 40, "vllm": 32, "mock": 0}


@pytest.mark.parametrize(
    ("prefixes", "switch", "head"),
    [
        ([(*range(64), 7), (*range(64), 8)], 0, 64),
        ([(*range(63), 7), (*range(63), 8)], 0, 0),  # a pass of its own would save 63 tokens
        ([(*range(32), 7), (*range(32), 8, 9), (*range(32), 9)], 0, 32),
        ([tuple(range(65)), tuple(range(65)), tuple(range(70))], 0, 64),  # a prefix keeps its last token
        ([tuple(range(80))], 0, 0),
        ([(*range(64), 7), (*range(64), 8)], 63, 64),
        ([(*range(64), 7), (*range(64), 8)], 64, 0),  # the head alone would be read by the other factors
        ([(*range(64), 7), (*range(64), 8)], 65, 64),
    ],
)
def test_the_head_of_several_prompts_is_worth_a_pass_of_its_own(prefixes: list[Ids], switch: int, head: int) -> None:
    assert shared_head(prefixes, switch=switch) == head
