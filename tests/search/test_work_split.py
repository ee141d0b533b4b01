"""Architectures divided among processes, against the best of all divisions."""
import itertools
import random

import pytest

from fpnas_timm.arch import Arch
from fpnas_timm.arch.cost import group_costs
from fpnas_timm.errors import UsageError
from fpnas_timm.model.shared_pass import Node, tree
from fpnas_timm.search.work_split import WorkSplit, divide

from .test_evaluator import SPACE, sampled


def archs(count: int, seed: int) -> list[Arch]:
    return [SPACE.to_arch(choices) for choices in sampled(count, seed)]


def from_left(node: Node) -> list[list[int]]:
    return [end for child in node.children for end in from_left(child)] if node.children else [node.members]


def spent(chosen: list[Arch]) -> int:
    """Multiply-adds of all beginnings, each once, and of the ends."""
    found = {}
    for arch in chosen:
        costs = [c.macs for c in group_costs(arch).values()]
        for n in range(len(arch.blocks) + 1):
            found[arch.blocks[:n]] = costs[n]
        found[arch.blocks, 'end'] = sum(costs[len(arch.blocks) + 1 :])
    return sum(found.values())


@pytest.mark.parametrize(('seed', 'count'), itertools.product(range(5), (2, 3, 4)))
def test_the_slowest_process_has_as_little_as_possible(seed: int, count: int) -> None:
    networks = archs(9, seed)
    shares = divide(networks, count)
    assert sorted(k for share in shares for k in share) == list(range(9))
    assert all(share == sorted(share) for share in shares)
    ends = from_left(tree(networks))
    best = min(
        max(
            spent([networks[k] for end in ends[a:b] for k in end])
            for a, b in itertools.pairwise((0, *cuts, len(ends)))
        )
        for parts in range(1, count + 1)
        for cuts in itertools.combinations(range(1, len(ends)), parts - 1)
    )
    assert max(spent([networks[k] for k in share]) for share in shares) == best


def test_fewer_architectures_than_processes(caplog: pytest.LogCaptureFixture) -> None:
    networks = [SPACE.sample_arch(random.Random(seed)) for seed in (0, 1)] * 2
    splits = [WorkSplit('archs', rank, 4) for rank in range(4)]
    assert sorted(split.own(networks) for split in splits) == [[], [], [0, 2], [1, 3]]
    splits[0].own(networks)
    said = [m for m in caplog.messages if '2 different architectures for 4 processes: 2 of them wait' in m]
    assert len(said) == 4  # once a process; in a distributed run on the first one only


def test_one_process_and_shares_of_data(caplog: pytest.LogCaptureFixture) -> None:
    networks = archs(3, 0)
    with caplog.at_level('INFO'):
        alone = WorkSplit('archs', 0, 1)
        assert alone.own(networks) == alone.own(networks) == [0, 1, 2]
    assert caplog.messages == ['--split archs: there is one process, and it runs all architectures']
    assert (alone.data_part, alone.data_parts) == (0, 1)
    data = WorkSplit('data', 2, 3)
    assert (data.own(networks), data.data_part, data.data_parts) == ([0, 1, 2], 2, 3)
    assert (WorkSplit('archs', 2, 3).data_part, WorkSplit('archs', 2, 3).data_parts) == (0, 1)
    with pytest.raises(UsageError, match=r"^split 'both': expected one of data, archs$"):
        WorkSplit('both')


def test_a_step_of_many_is_divided_quickly() -> None:
    """A hundred architectures among eight processes: no search over divisions."""
    rng = random.Random(0)
    networks = [SPACE.sample_arch(rng) for _ in range(100)]
    assert len(divide(networks, 8)) == 8
