"""The supernet as the search's evaluator: it trains the shared weights and scores architectures on held-out images.

What several architectures of a step have in common is computed once (`model/shared_pass.py`).

In distributed runs (`torchrun`) the processes divide the data of a step or its architectures (`work_split.py`).
"""
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..arch import Arch
from ..errors import NonFiniteError, UsageError
from ..model import shared_pass
from ..model.supernet import SuperNet
from ..runs.checkpoints import random_state, set_random_state
from ..spaces import Choices
from .halves import HalfLoader
from .image_evaluator import ImageEvaluator, on_cpu
from .weight_training import StepArchs, StepLoss, WeightAverage
from .work_split import WorkSplit

__all__ = ['SuperNetEvaluator']


class SuperNetEvaluator(ImageEvaluator):
    """An `Evaluator` (see `loop.py`) that trains and scores the sub-networks of a supernet."""

    def __init__(
            self,
            net: SuperNet,
            train_loader: HalfLoader,
            val_loader: HalfLoader,
            optimizer: torch.optim.Optimizer,
            scheduler: Any,
            loss_fn: nn.Module,
            autocast: Callable[[], AbstractContextManager],
            scaler: torch.amp.GradScaler,
            clip_grad: float | None = None,
            accum_steps: int = 1,
            cost_classes: int | None = None,
            split: WorkSplit | None = None,
            memory_format: torch.memory_format = torch.contiguous_format,
            val_class_weights: Sequence[float] | None = None,
            weight_archs: str = 'sampled',
            weight_draws: str = 'search',
            weight_window: tuple[int, int] | None = None,
            distill: float = 0.0,
            weight_ema: float | None = None,
            seed: int = 0,
    ) -> None:
        """
        Args:
            net: the supernet, on its device.
            train_loader: batches of the half that trains the weights.
            val_loader: batches of the half that trains alpha.
            optimizer: optimizer of the weights.
            scheduler: timm's learning-rate scheduler, stepped once per update; None: the rate stays as it is.
            loss_fn: (logits, classes) -> mean loss.
            autocast: context manager for forward passes.
            scaler: gradient scaler; disabled unless the precision is float16.
            clip_grad: maximum norm of the gradient.
            accum_steps: batches per step and process.
            cost_classes: number of classes assumed for the multiply-adds; the supernet's if None.
            split: what this process does of a step's work; all if None.
            memory_format: memory format of the images.
            val_class_weights: weights of the classes in the log-likelihood; all 1 if None. The log-likelihood is then
                that of images counted as often as their weight, so their mean weight should be 1: otherwise the weights
                of equation (2), a softmax over log-likelihoods, become sharper or flatter.
            weight_archs: the architectures that a step trains, see `StepArchs`: 'sampled', 'largest' or 'sandwich'.
            weight_draws: where the sampled ones come from, see `StepArchs`: 'search', 'uniform' or 'budget'.
            weight_window: smallest and largest multiply-adds of the draws of 'budget'.
            distill: share of the distillation from the largest one, see `StepLoss`; not with 'sampled'.
            weight_ema: decay of the average of the weights that scores the architectures; None: score with the weights.
            seed: seed of the draws of `StepArchs`.

        Raises:
            UsageError: an unknown name, distillation without the largest one, or no architecture in the window.
        """
        super().__init__(
            net, next(net.parameters()).device, train_loader, val_loader, autocast, accum_steps, cost_classes, split,
            memory_format, val_class_weights,
        )
        self.net = net
        self.optimizer, self.scheduler, self.loss_fn = optimizer, scheduler, loss_fn
        self.scaler, self.clip_grad = scaler, clip_grad
        if distill and weight_archs == 'sampled':
            raise UsageError(f'distill {distill:g}: the others learn from the largest: expected weight_archs sandwich')
        self.step_archs = StepArchs(
            net.space, weight_archs, weight_draws, seed, weight_window, self.cost_classes, net.in_chans
        )
        self.step_loss = StepLoss(loss_fn, distill)
        self.average = WeightAverage(net, weight_ema) if weight_ema is not None else None
        self.updates = 0

    @property
    def scored(self) -> SuperNet:  # type: ignore[override]
        """The supernet that scores the architectures and that the result is extracted from: the average, if any."""
        return self.average.net if self.average is not None and self.updates else self.net

    def train_step(self, archs: Sequence[Choices]) -> float:
        """Update the weights once with the mean gradient of a step's architectures on one batch.

        Args:
            archs: those that the search sampled; `StepArchs` adds to them or replaces them.

        Returns:
            The mean loss of the architectures, see `StepLoss`.

        Raises:
            NonFiniteError: a loss or the gradient is not finite; the weights are unchanged.
        """
        archs = self.step_archs(archs)
        losses = torch.zeros(len(archs), device=self.device)
        self.optimizer.zero_grad()
        networks = [self._arch(arch) for arch in archs]
        share = 1 / (len(archs) * self.accum_steps * self.split.data_parts)
        own = self.split.own(networks)
        for _ in range(self.accum_steps):
            for k, loss in zip(own, self._add_gradients(networks, own, share)):
                losses[k] += loss / self.accum_steps  # with a list as index, Python would wait for the device
        losses = self.split.gathered(losses).sum(0) / self.split.data_parts
        self.split.sum_gradients(self.net.parameters())
        self.scaler.unscale_(self.optimizer)
        total = nn.utils.clip_grad_norm_(self.net.parameters(), self.clip_grad or math.inf)
        read = on_cpu(torch.cat([losses, total.reshape(1)]))
        losses, norm = read[:-1], read[-1].item()
        if not losses.isfinite().all():
            raise NonFiniteError('the training loss', losses.tolist(), archs)
        if not self.scaler.is_enabled() and not math.isfinite(norm):  # an enabled scaler skips such a step
            raise NonFiniteError('the gradient', [norm], archs)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.updates += 1
        if self.average is not None:
            self.average.update(self.net, self.updates)
        if self.scheduler is not None:
            self.scheduler.step_update(num_updates=self.updates)
        return losses.mean().item()

    def _add_gradients(self, networks: Sequence[Arch], own: Sequence[int], share: float) -> torch.Tensor:
        """Add `share` times the gradient of each of this process's `own` networks on the next batch.

        Returns:
            Their losses, (len(own),).
        """
        images, target = self._next(self._train)
        if not own:
            return self.scaler.scale(torch.zeros(0, device=self.device))  # a scaler must have scaled something
        if self.step_loss.distill and own[0]:  # another process trains the teacher
            with torch.no_grad(), self.autocast():
                self.step_loss(self.net(images, networks[0]), 0, target)
        return shared_pass.train(
            self.net, images, [networks[k] for k in own], lambda logits, i: self.step_loss(logits, own[i], target),
            lambda loss: self.scaler.scale(loss * share).backward(), self.autocast,
        ).float()

    def log_likelihoods(self, archs: Sequence[Choices]) -> torch.Tensor:
        """log P(y_val|X_val, w, A_k): log-probability of the true class, summed over the batch, float64, (K,)."""
        return self._sums(archs, lambda logits, target: -F.cross_entropy(
            logits, target, self.val_class_weights, reduction='sum'
        ))

    def hits(self, archs: Sequence[Choices]) -> torch.Tensor:
        """Number of images of the next validation batch whose class has the largest logit, float64, (K,).

        With weights of the classes, the sum of those of the images.
        """
        def count(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            right = logits.argmax(1) == target
            return right.sum() if self.val_class_weights is None else self.val_class_weights[target[right]].sum()

        return self._sums(archs, count)

    @torch.no_grad()
    def _sums(
            self, archs: Sequence[Choices], measure: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        """The sum of a measure of (logits, classes) over the next validation batch, for each architecture, (K,)."""
        net, networks = self.scored, [self._arch(arch) for arch in archs]
        sums = torch.zeros(len(archs), dtype=torch.float64, device=self.device)
        own = self.split.own(networks)
        for _ in range(self.accum_steps):
            images, target = self.val_batch()
            for equal, logits in shared_pass.score(net, images, [networks[k] for k in own], self.autocast):
                value = measure(logits.float(), target)
                for i in equal:
                    sums[own[i]] += value
        return on_cpu(self.split.gathered(sums)).sum(0)

    def state_dict(self) -> dict[str, Any]:
        """Weights and their average, optimizer, scaler, number of updates and the states of the random generators."""
        return {
            'net': self.net.state_dict(),
            'average': self.average.net.state_dict() if self.average is not None else None,
            'step_archs': self.step_archs.state_dict(),
            'optimizer': self.optimizer.state_dict(),
            'scaler': self.scaler.state_dict(),
            'updates': self.updates,
            'random': random_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state returned by `state_dict`."""
        self.net.load_state_dict(state['net'])
        if self.average is not None:
            self.average.net.load_state_dict(state['average'])
        if 'step_archs' in state:  # an earlier version had none, and trained the sampled ones
            self.step_archs.load_state_dict(state['step_archs'])
        self.optimizer.load_state_dict(state['optimizer'])
        self.scaler.load_state_dict(state['scaler'])
        self.updates = state['updates']
        set_random_state(state['random'])
