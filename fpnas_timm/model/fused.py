"""Split-Attention for inference: the same weights of the splits, from fewer numbers."""
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

if TYPE_CHECKING:
    from .blocks import SplitAttention

__all__ = ['FusedSplitAttention']


class FusedSplitAttention(nn.Module):
    """The network's `SplitAttention` in another form, which is faster at small batch sizes (`docs/performance.md`).

    A softmax does not change if the last logit is subtracted from all of them. Its layer is folded into the others, so
    that one split less is read from memory, which is what the layer costs at batch size 1; with two splits, the softmax
    becomes a sigmoid. The linear layers are 1x1 convolutions, before which runtimes need not change the layout.

    Args:
        attention: the layer to take the weights from; it is left as it is.
    """

    def __init__(self, attention: 'SplitAttention') -> None:
        super().__init__()
        self.splits = splits = attention.splits
        first, second = attention.fc1, attention.fc2
        weight, bias = second.weight.detach(), second.bias.detach()
        if splits > 1:
            weights, biases = weight.unflatten(0, (splits, -1)), bias.unflatten(0, (splits, -1))
            weight, bias = (weights[:-1] - weights[-1]).flatten(0, 1), (biases[:-1] - biases[-1]).flatten()
        self.fc1 = _convolution(first.weight.detach(), first.bias.detach())
        self.act = attention.act
        self.fc2 = _convolution(weight, bias)

    def forward(self, xs: list[torch.Tensor]) -> torch.Tensor:
        """As `SplitAttention`."""
        pooled = F.adaptive_avg_pool2d(xs[0], 1)
        for x in xs[1:]:
            pooled = pooled + F.adaptive_avg_pool2d(x, 1)
        logits = self.fc2(self.act(self.fc1(pooled)))
        if self.splits == 1:
            return xs[0] * logits.sigmoid()
        if self.splits == 2:
            return xs[1] + (xs[0] - xs[1]) * logits.sigmoid()
        others = logits.flatten(1).unflatten(1, (self.splits - 1, -1))
        weights = F.pad(others, (0, 0, 0, 1)).softmax(1).unsqueeze(-1).unsqueeze(-1)
        out = xs[0] * weights[:, 0]
        for i, x in enumerate(xs[1:]):
            out += x * weights[:, i + 1]
        return out


def _convolution(weight: torch.Tensor, bias: torch.Tensor) -> nn.Conv2d:
    """A linear layer as a 1x1 convolution."""
    conv = nn.Conv2d(weight.shape[1], weight.shape[0], 1, device='meta')
    conv.weight = nn.Parameter(weight.clone().unsqueeze(-1).unsqueeze(-1))
    conv.bias = nn.Parameter(bias.clone())
    return conv
