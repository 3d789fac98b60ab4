"""Positions and masks of packed suffixes, against literals."""

import torch

from llmrs_bench.engines.packing import additive, pack, packs, pad_right

Y, N = True, False


def test_each_token_sees_the_prefix_and_its_own_suffix_so_far() -> None:
    packed = pack([(7, 8, 9), (5, 6), (1, 2, 3)], prefix=2)
    assert packed.inputs.tolist() == [7, 8, 5, 1, 2]
    assert packed.targets.tolist() == [8, 9, 6, 2, 3]
    assert packed.positions.tolist() == [2, 3, 2, 2, 3]
    assert packed.mask.tolist() == [
        [Y, Y, Y, N, N, N, N],
        [Y, Y, Y, Y, N, N, N],
        [Y, Y, N, N, Y, N, N],
        [Y, Y, N, N, N, Y, N],
        [Y, Y, N, N, N, Y, Y],
    ]


def test_groups_keep_the_bound_and_leave_out_single_tokens() -> None:
    suffixes = [(1, 2), (3,), (1, 2, 3), (1, 2, 3, 4, 5, 6), (7, 8)]
    assert list(packs(suffixes, 3)) == [[(1, 2), (1, 2, 3)], [(1, 2, 3, 4, 5, 6)], [(7, 8)]]
    assert list(packs([(3,)], 3)) == []


def test_masks_add_nothing_or_the_least_number() -> None:
    low = torch.finfo(torch.float16).min
    added = additive(torch.tensor([[True, False]]), torch.float16)
    assert added.shape == (1, 1, 1, 2)
    assert added.flatten().tolist() == [0.0, low]


def test_rows_are_padded_at_their_ends() -> None:
    assert pad_right([(1,), (2, 3)], 0).tolist() == [[1, 0], [2, 3]]
