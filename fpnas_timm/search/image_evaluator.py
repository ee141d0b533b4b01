"""What every evaluator of a search on images has: batches of both halves, and costs."""
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any, Protocol

import torch

from ..arch import Arch
from ..arch.cost import Cost, cost
from ..errors import RunError
from ..model.network import FPNAS
from ..spaces import Choices, MBConvSpace
from ..spaces.costs import AdditiveCost
from ..spaces.ranked import decode_ranked
from .distribution import Distribution
from .halves import HalfLoader
from .work_split import WorkSplit

__all__ = ['ImageEvaluator', 'Scored', 'fingerprint', 'on_cpu']


class Scored(Protocol):
    """The weights of all architectures of a space."""

    space: MBConvSpace
    num_classes: int
    in_chans: int

    def extract(self, arch: Arch, batches: Iterable[torch.Tensor] | None = None) -> FPNAS:
        """The stand-alone network of an architecture; `batches` of images are for its batch-norm statistics."""


class ImageEvaluator(ABC):
    """Batches and costs; subclasses have the weights and are an `Evaluator` (see `loop.py`)."""

    scored: Scored
    steps_per_epoch: int
    others: Sequence[AdditiveCost] = ()  # costs beside multiply-adds and parameters that the search has budgets of

    def __init__(
            self,
            net: Scored,
            device: torch.device,
            train_loader: HalfLoader,
            val_loader: HalfLoader,
            autocast: Callable[[], AbstractContextManager],
            accum_steps: int = 1,
            cost_classes: int | None = None,
            split: WorkSplit | None = None,
            memory_format: torch.memory_format = torch.contiguous_format,
            val_class_weights: Sequence[float] | None = None,
    ) -> None:
        """
        Args:
            net: the weights.
            device: where they are.
            train_loader: batches of the half that trains the weights.
            val_loader: batches of the half that trains alpha.
            autocast: context manager for forward passes.
            accum_steps: batches per step and process.
            cost_classes: number of classes assumed for the multiply-adds; those of `net` if None.
            split: what this process does of a step's work; all if None.
            memory_format: memory format of the images.
            val_class_weights: weights of the classes in the log-likelihood; all 1 if None.
        """
        self.space, self.in_chans = net.space, net.in_chans
        self.device = device
        self.train_loader, self.val_loader = train_loader, val_loader
        self.autocast = autocast
        self.accum_steps = accum_steps
        self.split = split or WorkSplit()
        self.memory_format = memory_format
        self.val_class_weights = None
        if val_class_weights is not None:
            self.val_class_weights = torch.tensor(val_class_weights, dtype=torch.float32, device=device)
        self.cost_classes = cost_classes or net.num_classes
        self.steps_per_epoch = min(train_loader.steps, val_loader.steps)
        self._arch = lru_cache(4096)(net.space.to_arch)
        self._macs = lru_cache(65536)(lambda choices: self.full_cost(self._arch(choices)).macs)
        self._train: Iterator = iter(())
        self._val: Iterator | None = None
        self._start = (0, 0)

    def start_epoch(self, epoch: int, step: int) -> None:
        """Start the batches of `epoch` at `step`; the validation half is only loaded in epochs that use it."""
        self._start = epoch, step
        self._train = self.train_loader.start(epoch, step)
        self._val = None

    def close(self) -> None:
        """End the DataLoader workers; `start_epoch` starts new ones."""
        self.train_loader.close()
        self.val_loader.close()

    @abstractmethod
    def train_step(self, archs: Sequence[Choices]) -> float | None:
        """Update the weights with these architectures; return their mean loss, None if there is nothing to train."""

    @abstractmethod
    def log_likelihoods(self, archs: Sequence[Choices]) -> torch.Tensor:
        """log P(y_val|X_val, w, A_k) of each on the next validation batch, summed over it (nats), float64, (K,)."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """The state that a resumed search needs."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state returned by `state_dict`."""

    def val_batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The next batch of the half that trains alpha: images (B, C, H, W) and classes (B,), on the device."""
        if self._val is None:
            self._val = self.val_loader.start(*self._start)
        return self._next(self._val)

    def use_batches(self, batches: Iterator) -> None:
        """Let `log_likelihoods` take these batches of images and classes, instead of those of the epoch."""
        self._val = batches

    def check_in_sync(self, alpha: torch.Tensor) -> None:
        """Raise RunError unless alpha is bitwise identical on all processes."""
        prints = self.split.gathered(torch.tensor(fingerprint(alpha), dtype=torch.float64, device=self.device))
        if (prints != prints[0]).any():
            raise RunError('the processes no longer hold the same architecture parameters; the last checkpoint is kept')

    def full_cost(self, arch: Arch) -> Cost:
        """Multiply-adds and parameters of the stand-alone network, with the budget's number of classes."""
        return cost(arch, num_classes=self.cost_classes, in_chans=self.in_chans)

    def cost(self, arch: Choices) -> int:
        """Multiply-adds of the stand-alone network."""
        return self._macs(arch)

    def decode(
            self, distribution: Distribution, windows: Mapping[str, tuple[float, float]], count: int
    ) -> list[Choices]:
        """The `count` most probable different networks within the windows, by names of costs, proven optimal."""
        found = decode_ranked(
            self.space, distribution.log_probs(), count, num_classes=self.cost_classes, in_chans=self.in_chans,
            macs=windows.get('macs'), params=windows.get('params'),
            others=[(cost, windows[cost.name]) for cost in self.others if cost.name in windows],
        )
        return [network.choices for network in found]

    def calibration_batches(self, count: int) -> Iterator[torch.Tensor]:
        """Image batches of the training half, for `SuperNet.extract`."""
        for _, (images, _) in zip(range(count), self.train_loader.start(0, 0)):
            yield images.to(self.device, non_blocking=True)

    def _next(self, batches: Iterator) -> tuple[torch.Tensor, torch.Tensor]:
        images, target = next(batches)
        images = images.to(self.device, non_blocking=True, memory_format=self.memory_format)
        return images, target.to(self.device, non_blocking=True)


def on_cpu(values: torch.Tensor) -> torch.Tensor:
    """The values on the CPU. Only the gradient scaler and `--split archs` make a step wait for a GPU elsewhere."""
    return values.cpu()


def fingerprint(alpha: torch.Tensor) -> int:
    """A 48-bit hash of the bytes of `alpha`: an integer that float64 represents exactly."""
    digest = hashlib.blake2b(alpha.detach().cpu().numpy().tobytes(), digest_size=6).digest()
    return int.from_bytes(digest, 'big')
