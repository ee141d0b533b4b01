"""Scores that compare architectures whose shared weights no longer change: all on the same images."""
from collections.abc import Sequence

import torch

from ..spaces import Choices
from .evaluator import SuperNetEvaluator

__all__ = ['FixedScores']


class FixedScores:
    """Scores architectures by their mean log-likelihood on the first batches of the half that trains alpha.

    The batches are read once, and then kept on the device.
    """

    def __init__(self, evaluator: SuperNetEvaluator, batches: int = 0) -> None:
        """
        Args:
            evaluator: has the weights and the images.
            batches: number of batches, of `grad_accum_steps` batches of every process; if there are fewer, all complete
                ones are used, and so for 0.
        """
        self.evaluator = evaluator
        loader = evaluator.val_loader.batches
        there = max(1, loader.size // loader.images_per_step)
        self.steps = min(batches or there, there)
        self.images = self.steps * loader.images_per_step  # of all processes together
        self._kept: list[tuple[torch.Tensor, torch.Tensor]] = []

    def __call__(self, archs: Sequence[Choices]) -> torch.Tensor:
        """Mean over the images of the log-probability of the true class (nats), float64, shape (K,)."""
        evaluator = self.evaluator
        if not self._kept:
            evaluator.close()
            batches = evaluator.val_loader.start(0, 0)
            for _ in range(self.steps * evaluator.accum_steps):
                images, target = next(batches)
                images = images.to(evaluator.device, memory_format=evaluator.memory_format)
                self._kept.append((images, target.to(evaluator.device)))
            evaluator.val_loader.close()
        evaluator.use_batches(iter(self._kept))
        return torch.stack([evaluator.log_likelihoods(archs) for _ in range(self.steps)]).sum(0) / self.images
