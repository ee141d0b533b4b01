"""The halves and batches of a search: disjoint, stratified, and the same wherever one starts."""

import collections
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from timm.data import create_transform
from torch.utils.data import DataLoader

from fpnas_timm.errors import UsageError
from fpnas_timm.search.halves import Half, StepBatches, epoch_loader, pick_classes, stratified_halves


@given(st.lists(st.integers(0, 6), min_size=2, max_size=80), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_halves(targets: list[int], seed: int) -> None:
    counts = collections.Counter(targets)
    if min(counts.values()) < 2:
        with pytest.raises(UsageError, match='has 1 image'):
            stratified_halves(targets, sorted(counts), seed)
        return
    halves = stratified_halves(targets, sorted(counts), seed)
    assert sorted(halves.train + halves.val) == list(range(len(targets)))
    for c, n in counts.items():
        for half in (halves.train, halves.val):
            assert n // 2 <= sum(targets[i] == c for i in half) <= (n + 1) // 2
    assert abs(len(halves.train) - len(halves.val)) <= 1 + sum(n % 2 for n in counts.values()) // 2
    assert halves == stratified_halves(targets, sorted(counts), seed)


def test_classes() -> None:
    targets = list(range(1000)) * 2
    hundred = pick_classes(targets, 100, 3)
    assert len(set(hundred)) == 100
    assert hundred == pick_classes(targets, 100, 3) != pick_classes(targets, 100, 4)
    assert pick_classes([2, 0, 2], None, 0) == [0, 2]
    halves = stratified_halves(targets, hundred, 0)
    assert len(halves.train) == len(halves.val) == 100
    with pytest.raises(UsageError, match='--search-classes 1001: expected 2 to 1000'):
        pick_classes(targets, 1001, 0)


def images(count: int = 24) -> list:
    rng = np.random.default_rng(0)
    return [(Image.fromarray(rng.integers(0, 255, (20, 20, 3), dtype=np.uint8)), i % 3) for i in range(count)]


def loader(workers: int = 0, rank: int = 0, world_size: int = 1, accum_steps: int = 1, batch_size: int = 2):
    transform = create_transform(16, is_training=True, auto_augment='rand-m9')
    half = Half(images(), range(2, 22), [0, 1, 2], transform, 'RGB', seed=5)
    batches = StepBatches(len(half), batch_size, (5, 0), accum_steps, rank, world_size)
    return DataLoader(half, batch_sampler=batches, num_workers=workers, generator=torch.Generator())


def test_batches_depend_on_seed_epoch_and_step_alone() -> None:
    whole = list(epoch_loader(loader(), 3, 0))
    torch.rand(7), random.random(), np.random.rand()
    state = torch.get_rng_state()
    for workers, step in ((0, 0), (0, 4), (2, 4)):
        part = list(epoch_loader(loader(workers), 3, step))
        assert len(part) == 10 - step
        for (x, y), (other_x, other_y) in zip(part, whole[step:]):
            assert torch.equal(x, other_x)
            assert torch.equal(y, other_y)
    assert torch.equal(torch.get_rng_state(), state)  # nothing of it touches the generators of the process
    other = next(epoch_loader(loader(), 4, 0))[0]
    assert not torch.equal(other, whole[0][0])


def test_processes_share_out_what_one_accumulates() -> None:
    alone = list(epoch_loader(loader(accum_steps=2), 0, 0))
    first, second = (list(epoch_loader(loader(rank=r, world_size=2), 0, 0)) for r in range(2))
    assert len(alone) == len(first) + len(second) == 10
    for step in range(5):
        assert torch.equal(alone[2 * step][0], first[step][0])
        assert torch.equal(alone[2 * step + 1][0], second[step][0])


def test_every_image_once_an_epoch() -> None:
    batches = StepBatches(20, 2, (0, 1))
    for epoch in range(3):
        batches.epoch = epoch
        assert sorted(i for batch in batches for i in batch) == list(range(20))


def test_classes_count_from_zero() -> None:
    half = Half(images(), [1, 2, 4, 5], [1, 2], create_transform(16, mean=(0.5,), std=(0.5,)), 'L', 0)
    assert [half[i][1] for i in range(4)] == [0, 1, 0, 1]
    assert half[0][0].shape[0] == 1


def test_the_two_halves_go_different_ways() -> None:
    """Images at the same place of both halves are of the same class no more often than by chance."""
    targets = sorted(list(range(10)) * 40)
    halves = stratified_halves(targets, range(10), 0)
    orders = [[i for batch in StepBatches(200, 10, (0, half)) for i in batch] for half in (1, 0)]
    classes = [[targets[half[i]] for i in order] for half, order in zip((halves.train, halves.val), orders)]
    assert 0.03 < sum(a == b for a, b in zip(*classes)) / 200 < 0.2
