"""The random state of a loader's workers: a new loader that starts from it draws what the old one would have drawn."""
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from fpnas_timm.train.workers import random_state_of, track_workers, use_own_generator


class Noise(Dataset):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.rand(1)


def loader(num_workers: int = 2) -> DataLoader:
    return DataLoader(Noise(), 2, num_workers=num_workers, persistent_workers=num_workers > 0)


def test_workers_go_on() -> None:
    torch.manual_seed(0)
    first = loader()
    states = track_workers(first)
    assert states.states.shape[0] == 2
    list(first)
    saved = states.states.clone()
    expected = torch.cat(list(first))  # a second epoch of the same workers
    second = loader()
    track_workers(second, saved)
    before = torch.get_rng_state()
    assert torch.equal(torch.cat(list(second)), expected)
    assert torch.equal(torch.get_rng_state(), before)  # the seeds of the workers come from elsewhere


def test_own_generator() -> None:
    plain = loader()
    before = torch.get_rng_state()
    use_own_generator(plain)
    list(plain)
    assert torch.equal(torch.get_rng_state(), before)
    without = loader(0)
    use_own_generator(without)
    assert without.generator is None


def test_a_checkpoint_of_other_processes(caplog: Any) -> None:
    state = {'main': torch.zeros(3), 'workers': torch.zeros(2, 3)}
    checkpoint = {'random': {'processes': [state, {**state, 'main': torch.ones(3)}]}}
    assert random_state_of(checkpoint, 2, 1, 2)['main'].tolist() == [1, 1, 1]
    assert random_state_of({}, 1, 0, 2) == {}
    assert not caplog.records
    assert random_state_of(checkpoint, 1, 0, 2) == {}
    assert 'by 2 processes with 2 workers' in caplog.text
