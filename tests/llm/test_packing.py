"""Trees of packed tokens and their masks, against literals and against walks through them."""

import random

import pytest
import torch

from llmrs_bench.llm.backends.packing import PackBatch, edge_logprobs, pad_right
from llmrs_bench.llm.backends.token_tree import Branch, Pack, packs

Y, N = True, False
LOW = torch.finfo(torch.float32).min


def pack(*branches: Branch, share: bool = True) -> Pack:
    (made,) = packs(sorted(branches), rows=1000, share=share)
    return made


def seen(made: Pack, prefix: int) -> list[list[bool]]:
    mask = PackBatch([made], torch.device("cpu")).mask(torch.tensor([prefix]), prefix, torch.float32)
    found: list[list[bool]] = (mask[0, 0] == 0).tolist()
    return found


def test_equal_beginnings_are_one_row_and_last_tokens_none() -> None:
    made = pack(Branch((7, 8, 9)), Branch((7, 8, 5, 6)), Branch((3,)), Branch((7, 8)), Branch((4, 2)))
    assert made.inputs == (4, 7, 8, 5)
    assert made.depths == (0, 0, 1, 2)
    assert made.firsts == (3, 4, 7)
    assert made.edges == ((0, 2), (1, 8), (2, 5), (3, 6), (2, 9))
    assert made.paths == ((0,), (1, 3), (2, 4), (2, 4, 5, 6), (2, 4, 7))
    assert made.reused == (0, 0, 0, 1, 2)
    assert seen(made, 2) == [
        [Y, Y, Y, N, N, N],
        [Y, Y, N, Y, N, N],
        [Y, Y, N, Y, Y, N],
        [Y, Y, N, Y, Y, Y],
    ]


def test_rows_that_score_nothing_come_first() -> None:
    made = pack(Branch((1, 2, 8), 2), Branch((1, 2, 9), 2), Branch((5, 8), 1))
    assert made.inputs == (1, 2, 5)
    assert (made.scored, made.firsts) == (2, ())
    assert made.edges == ((1, 8), (1, 9), (2, 8))
    assert seen(made, 1) == [[Y, Y, N, N], [Y, Y, Y, N], [Y, N, N, Y]]
    turned = pack(Branch((5, 6, 8)), Branch((1, 8), 1), Branch((9, 2, 8), 2))
    assert turned.inputs == (9, 1, 5, 6, 2)
    assert turned.scored == 4
    assert seen(turned, 0)[0] == [Y, N, N, N, N]
    assert seen(turned, 0)[3] == [N, N, Y, Y, N]
    assert seen(turned, 0)[4] == [Y, N, N, N, Y]


def test_chains_share_nothing_and_follow_each_other() -> None:
    made = pack(Branch((0, 7, 8), 1), Branch((0, 7, 9), 1), share=False)
    assert made.inputs == (0, 7, 0, 7)
    assert made.depths == (0, 1, 0, 1)
    assert seen(made, 0) == [[Y, N, N, N], [Y, Y, N, N], [N, N, Y, N], [N, N, Y, Y]]


@pytest.mark.parametrize("bound", [1, 3, 7, 1000])
@pytest.mark.parametrize("seed", range(5))
def test_any_branches_read_their_own_tokens_in_any_pack(seed: int, bound: int) -> None:
    rng = random.Random(seed)
    drawn = [tuple(rng.choices(range(3), k=rng.randint(1, 6))) for _ in range(25)]
    branches = sorted(Branch(tokens, rng.randrange(len(tokens))) for tokens in drawn)
    cut = list(packs(branches, rows=bound))
    owners = iter(branches)
    for made in cut:
        assert len(made.inputs) <= max(bound, 5)
        visible = seen(made, 0)
        edges = [(-1, token) for token in made.firsts] + list(made.edges)
        assert len(set(edges)) == len(edges)
        assert {row for row, _ in made.edges} == set(range(len(made.inputs) - made.scored, len(made.inputs)))
        for path in made.paths:
            branch = next(owners)
            assert [edges[edge][1] for edge in path] == list(branch.tokens[branch.scored :])
            for place, edge in enumerate(path, start=branch.scored):
                row = edges[edge][0]
                above = [other for other in range(len(made.inputs)) if row >= 0 and visible[row][other]]
                assert sorted(made.depths[other] for other in above) == list(range(place))
                ordered = sorted(above, key=lambda other: made.depths[other])
                assert tuple(made.inputs[other] for other in ordered) == branch.tokens[:place]
    assert next(owners, None) is None
    if bound == 1000:
        prefixes = {branch.tokens[:end] for branch in branches for end in range(1, len(branch.tokens))}
        assert len(cut[0].inputs) == len(prefixes)


def test_batches_are_padded_at_their_beginning_and_see_prefixes_of_their_own() -> None:
    batch = PackBatch([pack(Branch((7, 8, 9))), pack(Branch((4, 5), 1))], torch.device("cpu"))
    assert (batch.rows, batch.scored.tolist()) == (2, [0, 1, 3])
    assert batch.inputs.tolist() == [[7, 8], [0, 4]]
    mask = batch.mask(torch.tensor([1, 3]), 3, torch.float32)
    assert mask.shape == (2, 1, 2, 5)
    assert mask[0, 0].tolist() == [[0, LOW, LOW, 0, LOW], [0, LOW, LOW, 0, 0]]
    assert mask[1, 0, 1].tolist() == [0, 0, 0, LOW, 0]
    assert mask[1, 0, 0, :3].tolist() == [0, 0, 0]


def test_batches_read_each_token_from_the_row_above_it() -> None:
    batch = PackBatch([pack(Branch((1, 2, 3)), Branch((2,))), pack(Branch((0, 3), 1))], torch.device("cpu"))
    last = torch.randn(2, 4)
    logits = torch.randn(3, 4)
    one, two = batch.read(last, logits)
    expected = last[0].log_softmax(-1)[1], logits[0].log_softmax(-1)[2], logits[1].log_softmax(-1)[3]
    assert one[0] == pytest.approx([value.item() for value in expected], abs=1e-6)
    assert one[1] == pytest.approx([last[0].log_softmax(-1)[2].item()], abs=1e-6)
    assert two == [pytest.approx([logits[2].log_softmax(-1)[3].item()], abs=1e-6)]


def test_log_probabilities_of_many_rows_are_taken_over_the_whole_vocabulary() -> None:
    logits = torch.randn(300, 5, generator=torch.Generator().manual_seed(0))
    edges = [(index, index % 5) for index in range(0, 300, 7)]
    expected = logits.log_softmax(-1)
    assert edge_logprobs(logits, edges) == pytest.approx(
        [expected[row, token].item() for row, token in edges], abs=1e-5
    )
    assert edge_logprobs(None, []) == []


def test_rows_are_padded_at_their_ends() -> None:
    assert pad_right([(1,), (2, 3)], 0).tolist() == [[1, 0], [2, 3]]
