"""The random state of a training run, so that a resumed run draws what an uninterrupted one would have drawn.

Random numbers are drawn in the main process and in the loader's workers, which live as long as the loader. A worker
writes its state into shared memory after each batch; the workers of a resumed run start from that state.
"""
import logging
from collections.abc import Callable
from typing import Any

import torch
from timm.data import FastCollateMixup
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from ..runs.checkpoints import random_state, set_random_state

__all__ = ['WorkerStates', 'gather_random_states', 'random_state_of', 'restore_random_states', 'track_workers']

_logger = logging.getLogger(__name__)


class WorkerStates:
    """A loader's collate function that also writes the worker's random state into shared memory."""

    def __init__(self, collate_fn: Callable[[Any], Any], num_workers: int) -> None:
        self.collate_fn = collate_fn
        self.states = torch.zeros(num_workers, len(random_state()), dtype=torch.float64).share_memory_()
        self.mixes = torch.ones(1, dtype=torch.bool).share_memory_()  # a worker's copy of a plain flag never changes

    def __call__(self, batch: Any) -> Any:
        worker = get_worker_info()
        if isinstance(self.collate_fn, FastCollateMixup):
            self.collate_fn.mixup_enabled = bool(self.mixes)
        out = self.collate_fn(batch)
        if worker is not None:
            self.states[worker.id] = random_state()
        return out

    def stop_mixing(self) -> None:
        """No mixup from the next batch on."""
        self.mixes.fill_(False)


class _Restored:
    """A loader's worker_init_fn that starts a worker from a saved state."""

    def __init__(self, init_fn: Callable[[int], None] | None, states: Tensor) -> None:
        self.init_fn, self.states = init_fn, states

    def __call__(self, worker_id: int) -> None:
        if self.init_fn is not None:
            self.init_fn(worker_id)
        set_random_state(self.states[worker_id])


def track_workers(loader: Any, saved: Tensor | None = None) -> WorkerStates:
    """Record the random state of a loader's workers, and start them from a saved one if there is one.

    Args:
        loader: of timm's `create_loader`, not yet iterated.
        saved: `WorkerStates.states` of the run that is resumed, (workers, n).

    Returns:
        The states, (0, n) without workers.
    """
    plain: DataLoader = getattr(loader, 'loader', loader)  # below timm's PrefetchLoader
    tracked = WorkerStates(plain.collate_fn, plain.num_workers)
    plain.collate_fn = tracked
    if saved is not None and plain.num_workers and not isinstance(plain.dataset, IterableDataset):
        plain.worker_init_fn = _Restored(plain.worker_init_fn, saved)
        use_own_generator(loader)
    return tracked


def gather_random_states(workers: WorkerStates, world_size: int) -> dict[str, Any]:
    """The random states of all processes and their workers, for a checkpoint; every process must call it."""
    own = {'main': random_state(), 'workers': workers.states.clone()}
    if torch.cuda.is_available():
        own['cuda'] = torch.cuda.get_rng_state()
    states = [own]
    if world_size > 1:
        states = [{} for _ in range(world_size)]
        torch.distributed.all_gather_object(states, own)
    return {'processes': states}


def random_state_of(checkpoint: dict[str, Any], world_size: int, rank: int, workers: int) -> dict[str, Any]:
    """This process's entry of `gather_random_states` in a checkpoint; empty if there is none that fits this run."""
    processes = checkpoint.get('random', {}).get('processes', [])
    if not processes:
        return {}
    if len(processes) != world_size or len(processes[rank]['workers']) != workers:
        _logger.warning(
            'The checkpoint is of %d processes with %d workers: with other numbers of them, this run is not an exact '
            'continuation.', len(processes), len(processes[0]['workers']),
        )
        return {}
    return processes[rank]


def restore_random_states(own: dict[str, Tensor], eval_loader: Any | None) -> None:
    """Continue the random numbers of this process from a saved state; to be called right before the first epoch.

    Args:
        own: this process's entry of `gather_random_states`; its `workers` are for `track_workers`.
        eval_loader: the validation loader.
    """
    set_random_state(own['main'])
    if 'cuda' in own and torch.cuda.is_available():
        torch.cuda.set_rng_state(own['cuda'])
    if eval_loader is not None:
        use_own_generator(eval_loader)


def use_own_generator(loader: Any) -> None:
    """Draw the seeds of a loader's workers from a new generator instead of torch's global one.

    A run that was never interrupted drew these seeds when it started; drawing them again on resume would shift all
    later random numbers.
    """
    plain: DataLoader = getattr(loader, 'loader', loader)
    if plain.num_workers:
        plain.generator = torch.Generator()
