"""DataLoader workers of a search: what they read does not depend on them, and they end with it."""
import multiprocessing
import signal
from pathlib import Path

import pytest
import torch
from PIL import Image
from timm.data import create_transform
from torch.utils.data import DataLoader
from torchvision.transforms import RandomHorizontalFlip

from fpnas_timm.runs.processes import end_workers, shield_workers, start_workers
from fpnas_timm.search.halves import Half, HalfLoader, StepBatches
from fpnas_timm.search.loop import Search
from fpnas_timm.search.run import search

from .test_api import SETTINGS, SPACE, Colours


class Flipped(Colours):
    """Augments its images itself, with draws from torch's generator."""

    flip = RandomHorizontalFlip()

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        image, target = self.items[index]
        return self.flip(image), target


def loader(workers: int = 0) -> HalfLoader:
    transform = create_transform(16, no_aug=True, is_training=True)
    half = Half(Flipped(), range(15), [0, 1, 2], transform, 'RGB', seed=5)
    return HalfLoader(half, StepBatches(len(half), 3, (5, 0)), workers)


def test_a_dataset_that_augments_is_the_same_wherever_it_goes_on() -> None:
    whole = [images for images, _ in loader().start(1, 0)]
    for workers, step in ((0, 2), (1, 2), (2, 0)):
        torch.rand(7)
        part = [images for images, _ in loader(workers).start(1, step)]
        assert torch.equal(torch.cat(part), torch.cat(whole[step:]))
    unflipped = {image.tobytes() for image, _ in Colours().items}
    flips = [Flipped()[i][0].tobytes() not in unflipped for i in range(15) for _ in range(4)]
    assert 0 < sum(flips) < 60


def test_workers_end_with_a_search_that_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with a later error, and with its end: an interrupted cell of a notebook leaves none behind."""
    before = multiprocessing.active_children()
    take_step = Search._take_step

    def stop(self: Search) -> dict[str, float]:
        if self.epoch == 1:
            signal.raise_signal(signal.SIGINT)
        return take_step(self)

    def fail(self: Search) -> dict[str, float]:
        take_step(self)
        raise ValueError('a bug')

    options = {**SETTINGS, 'batch_size': 2, 'workers': 1, 'output': tmp_path / 'out', 'resume': 'auto'}
    for patched, error in ((stop, KeyboardInterrupt), (fail, ValueError)):
        with monkeypatch.context() as patch:
            patch.setattr(Search, '_take_step', patched)
            with pytest.raises(error):
                search(SPACE, Colours(), **options)
        assert multiprocessing.active_children() == before
    search(SPACE, Colours(), **options)
    assert multiprocessing.active_children() == before


def test_workers_end_although_one_was_killed() -> None:
    plain: DataLoader = DataLoader(range(100), num_workers=2)
    shield_workers(plain)
    batches = start_workers(plain)
    next(batches)
    workers = batches._workers
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    try:
        workers[0].kill()
        workers[0].join()
        end_workers(batches)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    for worker in workers:
        worker.join(5)
        assert not worker.is_alive()
