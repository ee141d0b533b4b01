"""DataLoader workers that are killed: a sentence, whatever torch raises and wherever."""
import os
import signal
from collections.abc import Iterator

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from fpnas_timm.errors import RunError
from fpnas_timm.runs.loading import lost_worker, tell_lost_workers


class Killed(Dataset):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> torch.Tensor:
        if index == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.zeros(3)


def test_a_killed_worker() -> None:
    said = r'^a DataLoader worker was ended( by a signal \(Killed\))?: for lack of memory, if nobody stopped it'
    with pytest.raises(RunError, match=said):  # torch says either
        with tell_lost_workers():
            list(DataLoader(Killed(), num_workers=1))


@pytest.mark.parametrize(('error', 'said'), [
    (RuntimeError('DataLoader worker (pid(s) 12, 13) exited unexpectedly'), '^a DataLoader worker was ended: for lack'),
    (ConnectionResetError(104, 'Connection reset by peer'), '^a DataLoader worker was ended: for lack of memory'),
    (EOFError(), '^a DataLoader worker was ended: for lack of memory'),
    (RuntimeError('DataLoader worker (pid 5) is killed by signal: Bus error. It is possible that dataloader\'s workers '
                  'are out of shared memory.'), '^a DataLoader worker has no shared memory left: .*--shm-size'),
])
def test_sentences(error: Exception, said: str) -> None:
    @tell_lost_workers()
    def failing() -> Iterator[None]:
        raise error

    for _ in range(2):
        with pytest.raises(RunError, match=said):
            failing()


@pytest.mark.parametrize('error', [RuntimeError('shapes cannot be multiplied'), FileNotFoundError('x'), RunError('y')])
def test_other_errors_stay(error: Exception) -> None:
    assert lost_worker(error) is None
    with pytest.raises(type(error)) as e, tell_lost_workers():
        raise error
    assert e.value is error
