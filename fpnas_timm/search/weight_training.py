"""How a step trains the supernet's weights: which architectures, with which loss, and the average that is scored.

* `StepArchs`: the sampled architectures, or beside them the largest one, or the largest and the smallest (the sandwich
  rule, https://arxiv.org/abs/1903.05134). The sampled ones are those of the search, or drawn uniformly, also from those
  near the budget alone.
* `StepLoss`: the loss with the labels, and distillation in place: the others learn from the largest one's outputs.
* `WeightAverage`: an exponential moving average of the weights, which scores the architectures.
"""
import copy
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..errors import UsageError
from ..model.supernet import SuperNet
from ..spaces import Choices, MBConvSpace
from ..spaces.around import largest_arch, smallest_arch
from ..spaces.decode import InfeasibleError
from .names import WEIGHT_ARCHS, WEIGHT_DRAWS
from .within import Draw, network_sampler

__all__ = ['BESIDE_LARGEST', 'StepArchs', 'StepLoss', 'WeightAverage']

BESIDE_LARGEST = 2  # sampled architectures of a step that trains the largest too: BigNAS, arXiv:2003.11142


class StepArchs:
    """Which architectures a step trains, from those that the search sampled for it.

    The same on all processes, since all have the same generator.
    """

    def __init__(
            self,
            space: MBConvSpace,
            rule: str = 'sampled',
            draws: str = 'search',
            seed: int = 0,
            window: tuple[int, int] | None = None,
            num_classes: int = 1000,
            in_chans: int = 3,
    ) -> None:
        """
        Args:
            space: the space of the supernet.
            rule: 'sampled': the sampled ones; 'largest': the largest one of the space too; 'sandwich': the largest and
                the smallest one too.
            draws: 'search': the sampled ones are the search's; 'uniform': as many, drawn uniformly over the choices;
                'budget': as many, drawn uniformly over those within `window`.
            seed: seed of these draws.
            window: smallest and largest multiply-adds of 'budget'.
            num_classes: number of classes that the multiply-adds are counted for.
            in_chans: number of image channels that they are counted for.

        Raises:
            UsageError: an unknown rule or kind of draws, or no architecture is within the window.
        """
        for name, value, known in (('weight_archs', rule, WEIGHT_ARCHS), ('weight_draws', draws, WEIGHT_DRAWS)):
            if value not in known:
                raise UsageError(f'{name} {value!r}: expected one of {", ".join(known)}')
        self.space = space
        self.draw: Draw | None = space.sample if draws == 'uniform' else None
        if draws == 'budget':
            self.draw = _draw_within(space, window, num_classes, in_chans)
        self.largest = space.from_arch(largest_arch(space)) if rule != 'sampled' else None
        self.smallest = space.from_arch(smallest_arch(space)) if rule == 'sandwich' else None
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, sampled: Sequence[Choices]) -> list[Choices]:
        """The architectures of the next step: the largest first, the smallest last.

        Args:
            sampled: those of the search.
        """
        archs = list(sampled) if self.draw is None else [self.draw(self.generator) for _ in sampled]
        if self.largest is not None:
            archs.insert(0, self._with_any_act(self.largest))
        if self.smallest is not None:
            archs.append(self._with_any_act(self.smallest))
        return archs

    def _with_any_act(self, choices: Choices) -> Choices:
        """Non-linearities have no size: drawn, so that none is trained more than the others."""
        drawn = []
        for group, chosen in zip(self.space.groups, choices):
            place, count = list(group).index('act'), len(group['act'])
            act = int(torch.randint(count, (), generator=self.generator))
            drawn.append((*chosen[:place], act, *chosen[place + 1 :]))
        return tuple(drawn)

    def state_dict(self) -> dict[str, Any]:
        """The state of the generator."""
        return {'generator': self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state returned by `state_dict`."""
        self.generator.set_state(state['generator'])


def _draw_within(space: MBConvSpace, window: tuple[int, int] | None, num_classes: int, in_chans: int) -> Draw:
    if window is None:
        raise UsageError("weight_draws 'budget': expected a window of multiply-adds, weight_window")
    draw = network_sampler(space, window, None, num_classes, in_chans)
    try:
        draw(torch.Generator().manual_seed(0))
    except InfeasibleError as e:
        raise UsageError(f'weight_window: {e}') from None
    return draw


class StepLoss:
    """The loss of each architecture of a step on one batch.

    With distillation in place (BigNAS, https://arxiv.org/abs/2003.11142, section 3.1), the first architecture, the
    largest, learns from the labels; the others learn from its class probabilities p too, which have no gradient:

        (1 - distill) * loss(labels) + distill * mean over the images of KL(p || q), q those of the architecture
    """

    def __init__(self, loss_fn: nn.Module, distill: float = 0.0) -> None:
        """
        Args:
            loss_fn: (logits, classes) -> mean loss. If it has weights of the classes (`weight`), an image counts as
                often in the distillation too.
            distill: share of the distillation, 0 to 1.
        """
        self.loss_fn, self.distill = loss_fn, distill
        self._teacher: torch.Tensor | None = None

    def __call__(self, logits: torch.Tensor, k: int, target: torch.Tensor) -> torch.Tensor:
        """The loss of an architecture, a scalar.

        Args:
            logits: its outputs (B, C).
            k: its number in the step; 0, the teacher, comes first.
            target: classes (B,).
        """
        plain = self.loss_fn(logits, target)
        if not self.distill:
            return plain
        wide = torch.promote_types(logits.dtype, torch.float32)
        if k == 0:
            self._teacher = logits.detach().to(wide).log_softmax(1)
            return plain
        if self._teacher is None:
            raise ValueError('distillation: the largest architecture comes first in a step')
        each = F.kl_div(logits.to(wide).log_softmax(1), self._teacher, reduction='none', log_target=True).sum(1)
        weight = getattr(self.loss_fn, 'weight', None)
        if weight is not None:
            each = each * weight[target]
        return (1 - self.distill) * plain + self.distill * each.mean()


class WeightAverage:
    """An exponential moving average of the supernet's weights.

    After update t it is d * average + (1 - d) * weights, with d = min(decay, (t - 1) / (t + 8)): it starts at the
    weights after the first update, and early on it spans the last ninth of the updates.
    """

    def __init__(self, net: SuperNet, decay: float) -> None:
        """
        Args:
            net: the supernet; it is copied.
            decay: at least 0 and below 1.
        """
        self.net = copy.deepcopy(net).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, net: SuperNet, updates: int) -> None:
        """Move on, after update number `updates` (the first is 1)."""
        decay = min(self.decay, (updates - 1) / (updates + 8))
        torch._foreach_lerp_(list(self.net.parameters()), list(net.parameters()), 1 - decay)
