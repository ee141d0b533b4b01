"""Scores that compare architectures whose shared weights no longer change: all on the same images."""
import logging
from collections.abc import Callable, Iterator, Sequence

import torch

from ..runs.processes import log_on_primary
from ..spaces import Choices
from .image_evaluator import ImageEvaluator

__all__ = ['FixedScores']

MAX_KEPT = 2**31  # bytes of images that are kept

_logger = logging.getLogger('search')


class FixedScores:
    """Scores architectures by what a measure gives per image of the first batches of the half that trains alpha.

    The batches are read once and kept on the device, unless they are more than `MAX_KEPT` bytes.
    """

    def __init__(
            self,
            evaluator: ImageEvaluator,
            batches: int = 0,
            measure: Callable[[Sequence[Choices]], torch.Tensor] | None = None,
    ) -> None:
        """
        Args:
            evaluator: has the weights and the images.
            batches: number of batches, of `grad_accum_steps` batches of every process; if there are fewer, all complete
                ones are used, and so for 0.
            measure: the sum over the evaluator's next validation batch for some architectures, float64, shape (K,)
                (default: its log-likelihoods).
        """
        self.evaluator = evaluator
        self.measure = measure or evaluator.log_likelihoods
        self.loader = evaluator.val_loader.whole()
        self.steps = min(batches or self.loader.steps, self.loader.steps)
        self.images = self.steps * self.loader.batches.images_per_step  # of all processes together
        self._kept: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._told = False

    def __call__(self, archs: Sequence[Choices]) -> torch.Tensor:
        """Mean of the measure over the images, by default of the log-probability of the true class (nats), (K,)."""
        evaluator = self.evaluator
        if self._kept:
            evaluator.use_batches(iter(self._kept))
            return self._mean(archs)
        evaluator.close()
        seen: list[tuple[torch.Tensor, torch.Tensor]] = []
        try:
            evaluator.use_batches(self._noted(self.loader.start(0, 0), seen))
            scores = self._mean(archs)
        finally:
            self.loader.close()
        self._kept = seen
        return scores

    def _mean(self, archs: Sequence[Choices]) -> torch.Tensor:
        return torch.stack([self.measure(archs) for _ in range(self.steps)]).sum(0) / self.images

    def _noted(
            self, batches: Iterator[tuple[torch.Tensor, torch.Tensor]], seen: list[tuple[torch.Tensor, torch.Tensor]]
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The batches on the device; they are added to `seen` if there is room for all."""
        evaluator = self.evaluator
        for images, target in batches:
            images = images.to(evaluator.device, memory_format=evaluator.memory_format)
            target = target.to(evaluator.device)
            if images.nbytes * self.steps * evaluator.accum_steps <= MAX_KEPT:
                seen.append((images, target))
            elif not self._told:
                self._told = True
                log_on_primary(_logger, f'{self.images:,} images are more than are kept in memory: they are read '
                                        'again and again, which fewer --score-batches avoid')
            yield images, target
