"""Writes the weights of one layer into another of any width, kernel size and number of splits."""
import math
from typing import cast

import torch
from torch import nn

from ..model.blocks import ConvNormAct, MBConv, SplitAttention
from .importance import hidden_importance
from .layers import Channels, all_channels, kept_channels

__all__ = ['copy_block', 'copy_conv', 'fit_kernel', 'near_identity', 'output_zero', 'straight']

NEW_GATE = 3.0  # bias of a new Squeeze-Excite's gate: sigmoid(3) = 0.95; the projection makes up for it
SMALL = 1e-6  # scale of a new split after ReLU or ReLU6: at exactly 0 these would never learn


def copy_conv(source: ConvNormAct, target: ConvNormAct, out: Channels, inputs: Channels | None = None) -> None:
    """Copy a convolution and its batch norm.

    Args:
        source: the layer to copy.
        target: the layer to write.
        out: the output channels of the target.
        inputs: the input channels of the target; None for a depthwise convolution.
    """
    weight = source.conv.weight[out.index]
    if inputs is not None:
        weight = weight[:, inputs.index] * inputs.is_first.view(1, -1, 1, 1)
    target.conv.weight.copy_(fit_kernel(weight, target.conv.kernel_size[0]))
    copy_norm(source.bn, target.bn, out)


def copy_norm(source: nn.BatchNorm2d, target: nn.BatchNorm2d, out: Channels) -> None:
    """Copy a batch norm; in eval mode it computes the same, also with another epsilon."""
    for name in ('weight', 'bias', 'running_mean'):
        getattr(target, name).copy_(getattr(source, name)[out.index])
    var = cast(torch.Tensor, source.running_var)[out.index] + source.eps
    cast(torch.Tensor, target.running_var).copy_((var - target.eps).clamp_min(0))
    larger = target.eps > var  # then the scale makes up for the epsilon
    target.weight[larger] *= (target.eps / var[larger]).sqrt()


def fit_kernel(weight: torch.Tensor, size: int) -> torch.Tensor:
    """A kernel (.., k, k) of another size: zeros around it, or its centre."""
    ring = (size - weight.shape[-1]) // 2
    if ring < 0:
        return weight[..., -ring:ring, -ring:ring]
    return nn.functional.pad(weight, (ring,) * 4)


def copy_block(
        source: MBConv, target: MBConv, inputs: Channels, out: Channels, importance: torch.Tensor | None = None
) -> Channels:
    """Copy an MBConv block.

    Args:
        source: the block to copy.
        target: the block to write.
        inputs: the input channels of the target.
        out: its output channels.
        importance: of the source's expanded channels (C,); that of its weights if None.

    Returns:
        The expanded channels of the target, as channels of the source.
    """
    hidden = _copy_expansion(source, target, inputs, hidden_importance(source) if importance is None else importance)
    splits = (_splits(source), _splits(target))
    maps, theirs = cast(list[ConvNormAct], list(target.conv_dw)), cast(list[ConvNormAct], list(source.conv_dw))
    for t, conv in enumerate(maps):
        copy_conv(theirs[t * len(theirs) // len(maps)], conv, hidden)
    if splits[0] > 1 and splits[1] < 2:  # the mean of the splits, as the attention starts out
        _average(theirs, maps[0], hidden)
    copy_conv(source.conv_pwl, target.conv_pwl, out, hidden)
    if target.attn is not None:
        _copy_attention(source, target, target.attn, hidden)
    elif splits[0] == 1:  # Squeeze-Excite that the target lacks: a constant gate, that of its bias alone
        _scale_projection(target.conv_pwl, _usual_gate(cast(SplitAttention, source.attn))[hidden.index])
    return hidden


def _splits(block: MBConv) -> int:
    return block.attn.splits if block.attn is not None else 0


def _copy_expansion(source: MBConv, target: MBConv, inputs: Channels, importance: torch.Tensor) -> Channels:
    """Copy the 1x1 expansion; returns the expanded channels."""
    count = target.conv_pwl.conv.in_channels
    pw, own = source.conv_pw, target.conv_pw
    if isinstance(own, ConvNormAct):
        hidden = kept_channels(importance, count)
        if isinstance(pw, ConvNormAct):
            copy_conv(pw, own, hidden, inputs)
        else:  # each channel goes straight through, but for the activation
            straight(own, inputs, hidden)
        return hidden
    if isinstance(pw, ConvNormAct):  # each input takes the expanded channel that reads it most
        reads = (pw.conv.weight.flatten(1)[:, inputs.index] * (pw.bn.weight * importance).unsqueeze(1)).abs()
        return Channels(reads.argmax(0), inputs.is_first)
    return inputs


def straight(conv: ConvNormAct, inputs: Channels, out: Channels) -> None:
    """Make a 1x1 convolution that copies each channel, with a batch norm that changes nothing in eval mode."""
    same = (out.index.unsqueeze(1) == inputs.index.unsqueeze(0)) & inputs.is_first
    conv.conv.weight.copy_(same.to(conv.conv.weight.dtype).view_as(conv.conv.weight))
    conv.bn.reset_parameters()
    nn.init.constant_(conv.bn.weight, math.sqrt(1 + conv.bn.eps))


def near_identity(target: MBConv | ConvNormAct, inputs: Channels, out: Channels) -> None:
    """Make a block without a residual sum that passes its input on as well as it can."""
    if isinstance(target, ConvNormAct):
        straight(target, inputs, out)
        return
    hidden = inputs
    if isinstance(target.conv_pw, ConvNormAct):
        hidden = kept_channels(torch.ones_like(inputs.index, dtype=torch.float), target.conv_pwl.conv.in_channels)
        hidden = Channels(inputs.index[hidden.index], hidden.is_first & inputs.is_first[hidden.index])
        straight(target.conv_pw, inputs, hidden)
    for conv in cast(list[ConvNormAct], list(target.conv_dw)):
        middle = conv.conv.kernel_size[0] // 2
        conv.conv.weight.mul_(0.3)[:, :, middle, middle] += 1
        conv.bn.reset_parameters()
    straight(target.conv_pwl, hidden, out)


def output_zero(target: MBConv) -> None:
    """Make the block add nothing to its residual stream, while it can still learn to."""
    nn.init.zeros_(target.conv_pwl.bn.weight)
    nn.init.zeros_(target.conv_pwl.bn.bias)


def _average(theirs: list[ConvNormAct], target: ConvNormAct, hidden: Channels) -> None:
    """The mean of the splits' depthwise convolutions, each with its batch norm folded in."""
    folded, shifts = [], []
    for conv in theirs:
        scale = conv.bn.weight / (cast(torch.Tensor, conv.bn.running_var) + conv.bn.eps).sqrt()
        folded.append(conv.conv.weight * scale.view(-1, 1, 1, 1))
        shifts.append(conv.bn.bias - cast(torch.Tensor, conv.bn.running_mean) * scale)
    weight, shift = torch.stack(folded).mean(0)[hidden.index], torch.stack(shifts).mean(0)[hidden.index]
    target.conv.weight.copy_(fit_kernel(weight, target.conv.kernel_size[0]))
    target.bn.reset_parameters()
    nn.init.constant_(target.bn.weight, math.sqrt(1 + target.bn.eps))
    target.bn.bias.copy_(shift)


def _scale_projection(projection: ConvNormAct, factor: torch.Tensor) -> None:
    """Multiply the columns of a projection by a factor per expanded channel."""
    projection.conv.weight.mul_(factor.view(1, -1, 1, 1))


def _usual_gate(attention: SplitAttention) -> torch.Tensor:
    """The gate of Squeeze-Excite at hidden units of 0 (C,): its bias alone."""
    return attention.fc2.bias.sigmoid()


def _copy_attention(source: MBConv, target: MBConv, attention: SplitAttention, hidden: Channels) -> None:
    """Attention of the target from that of the source, so that the sum of the maps is the same if all fit."""
    count, chs = attention.splits, len(hidden.index)
    theirs = source.attn
    if theirs is None or (theirs.splits > 1 and count == 1):
        if count == 1:  # a gate that starts out constant
            nn.init.zeros_(attention.fc2.weight)
            nn.init.constant_(attention.fc2.bias, NEW_GATE)
            target.conv_pwl.conv.weight.mul_(1 + math.exp(-NEW_GATE))  # 1 / sigmoid(NEW_GATE)
        return  # equal maps: any softmax over them gives the same sum, so its random weights stay
    units = _copy_reduction(theirs, attention, hidden, 1 if theirs.splits == 1 else count / theirs.splits)
    weight = attention.fc2.weight.view(count, chs, -1)
    bias = attention.fc2.bias.view(count, chs)
    weight.zero_()
    bias.zero_()
    of_source = theirs.fc2.weight.view(theirs.splits, -1, theirs.fc2.in_features)[:, hidden.index][:, :, units]
    bias_of_source = theirs.fc2.bias.view(theirs.splits, -1)[:, hidden.index]
    if theirs.splits == 1 and count > 1:
        # softmax over (z + log(n - 1), 0, .., 0) is sigmoid(z) for the first map; the others start at zero
        weight[0, :, : len(units)] = of_source[0]
        bias[0] = bias_of_source[0] + math.log(count - 1)
        for conv in cast(list[ConvNormAct], list(target.conv_dw))[1:]:
            clipped = isinstance(conv.act, (nn.ReLU, nn.ReLU6))
            conv.bn.weight.mul_(SMALL if clipped else 0.0)
            nn.init.zeros_(conv.bn.bias)
        return
    for t in range(count):
        s = t * theirs.splits // count
        weight[t, :, : len(units)] = of_source[s]
        bias[t] = bias_of_source[s]


def _copy_reduction(
        source: SplitAttention, target: SplitAttention, hidden: Channels, copies: float
) -> torch.Tensor:
    """Copy the reduction layer; returns which of the source's hidden units the target's first ones are.

    Args:
        source: attention of the source.
        target: attention of the target; units beyond the source's keep their random weights.
        hidden: channels of the target.
        copies: how many equal maps each map of the source has become: their sum is that much larger.
    """
    have, count = source.fc1.out_features, target.fc1.out_features
    units = all_channels(have, hidden.index.device).index
    if count < have:
        strength = source.fc2.weight.norm(dim=0) * source.fc1.weight[:, hidden.index].norm(dim=1)
        units = strength.topk(count).indices.sort().values
    weight = source.fc1.weight[units][:, hidden.index] * hidden.is_first / max(copies, 1)
    target.fc1.weight[: len(units)] = weight
    target.fc1.bias[: len(units)] = source.fc1.bias[units]
    return units
