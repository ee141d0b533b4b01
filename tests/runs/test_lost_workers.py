"""DataLoader workers that are killed: a sentence, whatever torch raises and wherever; other errors stay as they are."""
import os
import signal
from collections.abc import Iterator

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from fpnas_timm.errors import RunError
from fpnas_timm.runs.processes import LostWorker, explain_lost_workers, lost_worker


class Killed(Dataset):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> torch.Tensor:
        if index == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.zeros(3)


class Failing(Killed):
    def __getitem__(self, index: int) -> torch.Tensor:
        raise ConnectionResetError(104, 'Connection reset by peer')


def test_a_killed_worker() -> None:
    said = r'^a DataLoader worker (was killed by the signal Killed|ended unexpectedly.*), often for lack of memory: '
    with pytest.raises(LostWorker, match=said):  # torch says either
        with explain_lost_workers('start again'):
            list(DataLoader(Killed(), num_workers=1))


@pytest.mark.parametrize(('error', 'said'), [
    (RuntimeError('DataLoader worker (pid(s) 12, 13) exited unexpectedly'), '^a DataLoader worker ended unexpectedly'),
    (RuntimeError('DataLoader worker (pid 5) is killed by signal: Bus error. It is possible that dataloader\'s workers '
                  'are out of shared memory.'), '^a DataLoader worker has no shared memory left .*--shm-size'),
    (RuntimeError('unable to open shared memory object </torch_1_2> in read-write mode'), 'no shared memory left'),
    (RuntimeError('Pin memory thread exited unexpectedly'), '^a DataLoader worker ended unexpectedly'),
])
def test_sentences(error: Exception, said: str) -> None:
    @explain_lost_workers('resume')
    def failing() -> Iterator[None]:
        raise error

    for _ in range(2):
        with pytest.raises(LostWorker, match=f'{said}.*, then resume$'):
            failing()


@pytest.mark.parametrize('error', [
    RuntimeError('shapes cannot be multiplied'), FileNotFoundError('x'), RunError('y'), ConnectionResetError(104, 'z')
])
def test_other_errors_stay(error: Exception) -> None:
    assert lost_worker(error) is None
    with pytest.raises(type(error)) as e, explain_lost_workers(''):
        raise error
    assert e.value is error


def test_a_connection_that_was_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a loader with workers: one of them has gone."""
    def failing(*_: object) -> None:
        raise ConnectionResetError(104, 'Connection reset by peer')

    loader = DataLoader(Failing(), num_workers=1)
    monkeypatch.setattr('torch.utils.data.dataloader._MultiProcessingDataLoaderIter._try_get_data', failing)
    with pytest.raises(LostWorker, match=r'a DataLoader worker ended unexpectedly .*reset by peer'):
        with explain_lost_workers('resume'):
            list(loader)


def test_without_workers_none_is_lost() -> None:
    with pytest.raises(ConnectionResetError, match='reset by peer'), explain_lost_workers(''):
        list(DataLoader(Failing(), num_workers=0))


def test_an_error_of_the_data_stays() -> None:
    with pytest.raises(ConnectionResetError, match='Caught'), explain_lost_workers(''):
        list(DataLoader(Failing(), num_workers=1))
