"""The random state of a training run, so that a resumed run draws the same numbers as an uninterrupted one.

Random numbers are drawn in the main process and in the DataLoader workers, which live as long as the loader. Each
worker writes its random state to shared memory after each batch; the workers of a resumed run start from that state.
"""
import logging
from collections.abc import Callable
from typing import Any

import torch
from timm.data import FastCollateMixup
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from ..runs.checkpoints import random_state, set_random_state
from ..runs.processes import shield_workers

__all__ = ['WorkerStates', 'gather_random_states', 'random_state_of', 'restore_random_states', 'track_workers']

_logger = logging.getLogger(__name__)


class WorkerStates:
    """A collate function that also writes the DataLoader worker's random state to shared memory.

    The row of a worker that has had no batch (an epoch has fewer batches than there are workers) is zero. It never gets
    one later, since each epoch hands out its batches from the first worker on.
    """

    def __init__(self, collate_fn: Callable[[Any], Any], num_workers: int) -> None:
        self.collate_fn = collate_fn
        self.states = torch.zeros(num_workers, len(random_state()), dtype=torch.float64).share_memory_()
        self.mixes = torch.ones(1, dtype=torch.bool).share_memory_()  # shared, since workers have their own copy

    def __call__(self, batch: Any) -> Any:
        worker = get_worker_info()
        if isinstance(self.collate_fn, FastCollateMixup):
            self.collate_fn.mixup_enabled = bool(self.mixes)
        out = self.collate_fn(batch)
        if worker is not None:
            self.states[worker.id] = random_state()
        return out

    def stop_mixing(self) -> None:
        """Disable mixup from the next batch on."""
        self.mixes.fill_(False)


class _Restored:
    """A `worker_init_fn` that starts a DataLoader worker from a saved random state."""

    def __init__(self, init_fn: Callable[[int], None] | None, states: Tensor) -> None:
        self.init_fn, self.states = init_fn, states

    def __call__(self, worker_id: int) -> None:
        if self.init_fn is not None:
            self.init_fn(worker_id)
        if self.states[worker_id].any():  # zeros: it had no batch, see `WorkerStates`
            set_random_state(self.states[worker_id])


def track_workers(loader: Any, saved: Tensor | None = None) -> WorkerStates:
    """Record the random states of the DataLoader workers, and start them from saved states if given.

    The workers leave Ctrl-C and SIGTERM to the main process (`shield_workers`).

    Args:
        loader: a loader made by timm's `create_loader`, not yet iterated.
        saved: `WorkerStates.states` of the run that is resumed, shape (workers, n).

    Returns:
        The states, shape (workers, n).
    """
    plain: DataLoader = getattr(loader, 'loader', loader)  # wrapped by timm's PrefetchLoader
    tracked = WorkerStates(plain.collate_fn, plain.num_workers)
    plain.collate_fn = tracked
    if saved is not None and plain.num_workers and not isinstance(plain.dataset, IterableDataset):
        plain.worker_init_fn = _Restored(plain.worker_init_fn, saved)
        use_own_generator(loader)
    shield_workers(loader)
    return tracked


def gather_random_states(workers: WorkerStates, world_size: int) -> dict[str, Any]:
    """The random states of all processes and their workers, for a checkpoint; must be called on every process."""
    own = {'main': random_state(), 'workers': workers.states.clone()}
    if torch.cuda.is_available():
        own['cuda'] = torch.cuda.get_rng_state()
    states = [own]
    if world_size > 1:
        states = [{} for _ in range(world_size)]
        torch.distributed.all_gather_object(states, own)
    return {'processes': states}


def random_state_of(checkpoint: dict[str, Any], world_size: int, rank: int, workers: int) -> dict[str, Any]:
    """This process's entry of `gather_random_states` in a checkpoint; empty if none matches this run."""
    processes = checkpoint.get('random', {}).get('processes', [])
    if not processes:
        return {}
    if len(processes) != world_size or len(processes[rank]['workers']) != workers:
        _logger.warning(
            'The checkpoint was saved by %d processes with %d workers each: with different numbers, this run is not '
            'an exact continuation.', len(processes), len(processes[0]['workers']),
        )
        return {}
    return processes[rank]


def restore_random_states(own: dict[str, Tensor], eval_loader: Any | None) -> None:
    """Restore the random state of this process; call this right before the first epoch.

    Args:
        own: this process's entry of `gather_random_states`; `track_workers` restores the `workers` in it.
        eval_loader: the validation loader.
    """
    set_random_state(own['main'])
    if 'cuda' in own and torch.cuda.is_available():
        torch.cuda.set_rng_state(own['cuda'])
    if eval_loader is not None:
        use_own_generator(eval_loader)


def use_own_generator(loader: Any) -> None:
    """Draw the seeds of the DataLoader workers from a new generator instead of torch's global one.

    An uninterrupted run drew these seeds at its start; drawing them again on resume would shift all later random
    numbers.
    """
    plain: DataLoader = getattr(loader, 'loader', loader)
    if plain.num_workers:
        plain.generator = torch.Generator()
