"""DataLoader workers whose batches a thread copies to pinned memory: one that is killed is a sentence here too."""
import os
import signal

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from fpnas_timm.runs.processes import LostWorker, explain_lost_workers, shield_workers

from .common import ON_GPU


class Killed(Dataset):
    """Its worker is killed when it reads an image, perhaps while the thread reads what it has sent."""

    def __init__(self, at: int) -> None:
        self.at = at

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> torch.Tensor:
        if index == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.zeros(3, 64, 64)


@pytest.mark.parametrize('at', [0, 3, 9, 21])
def test_a_killed_worker(at: int) -> None:
    loader = DataLoader(Killed(at), batch_size=2, num_workers=2, pin_memory=ON_GPU)
    shield_workers(loader)
    said = r'^a DataLoader worker (was killed by the signal Killed|ended unexpectedly.*), often for lack of memory: '
    with pytest.raises(LostWorker, match=said), explain_lost_workers('start again'):
        for batch in loader:
            assert batch.is_pinned() == ON_GPU
