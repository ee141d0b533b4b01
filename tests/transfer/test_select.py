"""Which channels a narrower block keeps: against trying every removal with least squares."""
import itertools

import torch

from fpnas_timm.transfer.rows import random_rows
from fpnas_timm.transfer.select import removal_ranks


def left_error(inputs: torch.Tensor, outputs: torch.Tensor, kept: list[int]) -> float:
    """What least squares on some of the inputs leaves of the outputs."""
    weight = torch.linalg.lstsq(inputs[:, kept], outputs).solution
    return float((outputs - inputs[:, kept] @ weight).square().sum())


def test_each_removal_is_the_one_that_least_squares_makes_up_for_best() -> None:
    torch.manual_seed(0)
    mixed = torch.randn(400, 4, dtype=torch.float64) @ torch.randn(4, 6, dtype=torch.float64)
    inputs = torch.cat([mixed, torch.randn(400, 2, dtype=torch.float64)], 1)
    inputs = inputs + 0.1 * torch.randn_like(inputs)
    inputs = inputs - inputs.mean(0)
    weight = torch.randn(5, 8, dtype=torch.float64)
    outputs = inputs @ weight.T
    ranks = removal_ranks(inputs, weight, keep=2)
    alive = list(range(8))
    for step in range(6):
        best = min(alive, key=lambda i: left_error(inputs, outputs, [k for k in alive if k != i]))
        assert ranks[best] == step
        alive.remove(best)
    assert sorted(alive) == (ranks == 8).nonzero().flatten().tolist()


def test_copies_of_a_channel_go_first() -> None:
    torch.manual_seed(1)
    inputs = torch.randn(300, 5, dtype=torch.float64)
    inputs[:, 3] = inputs[:, 1]
    ranks = removal_ranks(inputs, 10 * torch.ones(2, 5, dtype=torch.float64), keep=4)
    assert (ranks < 5).nonzero().flatten().tolist() in ([1], [3])


def test_rows_of_every_column_of_the_map_are_drawn() -> None:
    column = torch.arange(16.0).expand(8, 1, 16, 16)
    rows = random_rows(column, 512)  # every fourth pixel would always be in columns 0, 4, 8, 12
    assert len(rows) == 512
    assert set(rows.flatten().tolist()) == set(range(16))


def test_the_same_rows_of_all_maps() -> None:
    a, b = torch.randn(4, 3, 8, 8), torch.randn(4, 5, 8, 8)
    both = random_rows(torch.cat([a, b], 1), 100)
    assert torch.equal(both[:, :3], random_rows(a, 100))
    assert torch.equal(both[:, 3:], random_rows(b, 100))
    assert all(len(random_rows(a, n)) == min(n, 256) for n in itertools.chain(range(250, 260)))
