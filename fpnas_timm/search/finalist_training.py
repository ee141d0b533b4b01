"""Trains one finalist on, from the weights that it inherits, on the half of the images that trains the weights."""
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from ..errors import NonFiniteError
from .evaluator import SuperNetEvaluator
from .image_evaluator import on_cpu
from .scoring import Tick

__all__ = ['FinalistTraining', 'OpenOptimizer']

# (network, epochs, updates per epoch) -> optimizer, and timm's scheduler of its learning rate (None: it stays as it is)
OpenOptimizer = Callable[[nn.Module, int, int], tuple[torch.optim.Optimizer, Any]]


class FinalistTraining:
    """The training of one network in one round, and its complete state.

    Loss, precision, clipping and batches are those of the search's weights.

    Attributes:
        epoch, step: the next step to take, both counted from 0.
    """

    def __init__(
            self,
            evaluator: SuperNetEvaluator,
            model: nn.Module,
            open_optimizer: OpenOptimizer,
            epochs: int,
            first_epoch: int,
    ) -> None:
        """
        Args:
            evaluator: the evaluator of the search, for images and settings.
            model: the network, on its device.
            open_optimizer: makes a new optimizer and its schedule.
            epochs: number of epochs.
            first_epoch: number of the first epoch, which decides about the order of the images and their augmentation.
        """
        self.evaluator, self.model, self.epochs, self.first_epoch = evaluator, model, epochs, first_epoch
        self.steps_per_epoch = evaluator.train_loader.steps
        self.optimizer, self.scheduler = open_optimizer(model, epochs, self.steps_per_epoch)
        self.scaler = torch.amp.GradScaler(evaluator.device.type, enabled=evaluator.scaler.is_enabled())
        self.epoch = self.step = 0
        self.loss = 0.0  # sum over the steps of the epoch

    @property
    def steps_taken(self) -> int:
        return self.epoch * self.steps_per_epoch + self.step

    def run(self, tick: Tick, on_epoch: Callable[[float], None]) -> None:
        """Train from the current state to the end.

        Args:
            tick: called after every step; if it raises, the state is that after the step.
            on_epoch: called after every epoch with its mean loss.

        Raises:
            NonFiniteError: a loss or a gradient is not finite.
        """
        while self.epoch < self.epochs:
            batches = self.evaluator.train_loader.start(self.first_epoch + self.epoch, self.step)
            self.model.train()
            while self.step < self.steps_per_epoch:
                self._take_step(batches)
                tick()
            mean = self.loss / self.steps_per_epoch
            self.epoch, self.step, self.loss = self.epoch + 1, 0, 0.0
            on_epoch(mean)

    def _take_step(self, batches: Iterator) -> None:
        """One update with the gradient of one step's images, of all processes."""
        evaluator, split = self.evaluator, self.evaluator.split
        total = torch.zeros((), device=evaluator.device)
        self.optimizer.zero_grad()
        for _ in range(evaluator.accum_steps):
            images, target = next(batches)
            images = images.to(evaluator.device, non_blocking=True, memory_format=evaluator.memory_format)
            with evaluator.autocast():
                loss = evaluator.loss_fn(self.model(images), target.to(evaluator.device, non_blocking=True))
            self.scaler.scale(loss / (evaluator.accum_steps * split.world_size)).backward()
            total += loss.detach() / evaluator.accum_steps
        split.sum_gradients(self.model.parameters())
        self.scaler.unscale_(self.optimizer)
        size = nn.utils.clip_grad_norm_(self.model.parameters(), evaluator.clip_grad or math.inf)
        mean, norm = on_cpu(torch.stack([split.gathered(total).mean(), size])).tolist()
        if not math.isfinite(mean):
            raise NonFiniteError('the training loss', [mean])
        if not self.scaler.is_enabled() and not math.isfinite(norm):  # an enabled scaler skips such a step
            raise NonFiniteError('the gradient', [norm])
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.step += 1
        self.loss += mean
        if self.scheduler is not None:
            self.scheduler.step_update(num_updates=self.steps_taken)

    def state_dict(self) -> dict[str, Any]:
        """The complete state; its tensors are not copied."""
        return {
            'model': self.model.state_dict(), 'optimizer': self.optimizer.state_dict(),
            'scaler': self.scaler.state_dict(), 'epoch': self.epoch, 'step': self.step, 'loss': self.loss,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state returned by `state_dict`."""
        self.model.load_state_dict(state['model'])
        self.optimizer.load_state_dict(state['optimizer'])
        self.scaler.load_state_dict(state['scaler'])
        self.epoch, self.step, self.loss = state['epoch'], state['step'], state['loss']
