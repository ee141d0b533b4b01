"""The halves and batches of a search: disjoint, stratified, and the same wherever one starts."""

import collections
import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from timm.data import create_transform

from fpnas_timm.errors import UsageError
from fpnas_timm.search.folder import saved_halves
from fpnas_timm.search.halves import Half, HalfLoader, Halves, StepBatches, pick_classes, stratified_halves


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
    assert abs(len(halves.train) - len(halves.val)) == len(targets) % 2
    assert halves == stratified_halves(targets, sorted(counts), seed)


def test_odd_images_go_to_the_smaller_half() -> None:
    """By hand: 2 and 3 of the first class, 3 and 2 of the second, 2 and 3 of the third."""
    targets = [0] * 5 + [1] * 5 + [2] * 5
    halves = stratified_halves(targets, [0, 1, 2], 0)
    assert [[targets[i] for i in half].count(c) for half in (halves.train, halves.val) for c in range(3)] == [
        2, 3, 2, 3, 2, 3
    ]
    mixed = stratified_halves([0] * 4 + [1] * 7 + [2] * 2 + [3] * 3, [0, 1, 2, 3], 0)
    assert (len(mixed.train), len(mixed.val)) == (2 + 3 + 1 + 2, 2 + 4 + 1 + 1)


def test_halves_of_a_record(tmp_path: Path) -> None:
    """A resumed search has the halves of its record, however they were drawn, if they are halves of its images."""
    targets = [0] * 5 + [1] * 5 + [2] * 5 + [3] * 2
    old = {'train': [0, 1, 5, 6, 10, 11], 'val': [2, 3, 4, 7, 8, 9, 12, 13, 14], 'classes': [0, 1, 2]}
    path = tmp_path / 'halves.json'

    def read(classes: tuple[int, ...] = (0, 1, 2), **changes: object) -> Halves | None:
        path.write_text(json.dumps({'processes': 1, **old, **changes}))
        return saved_halves(tmp_path, targets, classes)

    assert read() == Halves(**old)
    assert read(classes=(0, 1, 3)) is None
    assert read(train=[0, 1, 5, 6, 10]) is None  # an image is missing
    assert read(train=[0, 1, 5, 6, 10, 12]) is None  # one is in both
    assert read(train=[0, 1, 5, 6, 10, 11, 15]) is None  # one is of another class
    assert read(train=[0, 1, 5, 6, 10, '11']) is None
    assert read(val=None) is None
    assert saved_halves(tmp_path / 'none.json', targets, (0, 1, 2)) is None


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


def loader(
        workers: int = 0, rank: int = 0, world_size: int = 1, accum_steps: int = 1, batch_size: int = 2
) -> HalfLoader:
    transform = create_transform(16, is_training=True, auto_augment='rand-m9')
    half = Half(images(), range(2, 22), [0, 1, 2], transform, 'RGB', seed=5)
    batches = StepBatches(len(half), batch_size, (5, 0), accum_steps, rank, world_size)
    return HalfLoader(half, batches, workers)


def test_batches_depend_on_seed_epoch_and_step_alone() -> None:
    whole = list(loader().start(3, 0))
    torch.rand(7), random.random(), np.random.rand()
    state = torch.get_rng_state()
    for workers, step in ((0, 0), (0, 4), (2, 4)):
        part = list(loader(workers).start(3, step))
        assert len(part) == 10 - step
        for (x, y), (other_x, other_y) in zip(part, whole[step:]):
            assert torch.equal(x, other_x)
            assert torch.equal(y, other_y)
    assert torch.equal(torch.get_rng_state(), state)  # nothing of it touches the generators of the process
    other = next(loader().start(4, 0))[0]
    assert not torch.equal(other, whole[0][0])


def test_processes_share_out_what_one_accumulates() -> None:
    alone = list(loader(accum_steps=2).start(0, 0))
    first, second = (list(loader(rank=r, world_size=2).start(0, 0)) for r in range(2))
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


def test_classes_with_one_image_are_named() -> None:
    names = list('abcdefgh')
    for targets, message in (
        ([0, 0, 1, 2, 2], "^class 'b' has 1 image: expected at least 2"),
        ([0, 1, 2, 2], r"^class 'a' has 1 image \(so have 'b'\): expected"),
        (list(range(7)), r"^class 'a' has 1 image \(so have 'b', 'c', 'd', 'e', ..\): "),
    ):
        with pytest.raises(UsageError, match=message):
            stratified_halves(targets, sorted(set(targets)), 0, names)
