"""A supernet that starts from a trained network: its largest sub-network computes what that network does.

The channels are sorted by importance first, as in Once-for-All (https://arxiv.org/abs/1908.09791), since a narrower
sub-network uses the first channels of each layer.
"""
import copy
import itertools
from collections.abc import Sequence
from typing import cast

import torch
from torch import nn

from ..errors import UsageError
from ..model.blocks import ConvNormAct, MBConv, SplitAttention
from ..model.elastic import ElasticConvNormAct, ElasticMBConv
from ..model.network import FPNAS
from ..model.supernet import SuperNet
from ..spaces.around import check_around
from .classes import order_of_classes
from .importance import hidden_importance, stream_importance
from .layers import Unit, check_plain, units_of

__all__ = ['sorted_by_importance', 'start_supernet']


@torch.no_grad()
def start_supernet(
        supernet: SuperNet, source: FPNAS, label_names: Sequence[str] = (), classes: Sequence[str] = ()
) -> bool:
    """Write the weights of a network into a supernet of a space around it.

    Args:
        supernet: of a space whose largest network is the source's architecture (`space_around`).
        source: the trained network; not modified.
        label_names: class names of the source's outputs; empty if unknown.
        classes: class names of the supernet's outputs; empty if unknown.

    Returns:
        Whether the classifier is the source's: as many classes, and of the same names if these are known.

    Raises:
        UsageError: the space is not around the source, the numbers of image channels differ, or the source has another
            pooling or output stride.
    """
    try:
        check_around(supernet.space, source.arch)
    except ValueError as e:
        raise UsageError(f'{e}: make it with `fpnas space around`') from None
    check_plain(source)
    if source.in_chans != supernet.in_chans:
        raise UsageError(f'the source takes {source.in_chans} image channels, the search {supernet.in_chans}')
    net = sorted_by_importance(source).to(supernet.classifier.weight)
    _fill_conv(supernet.stem, net.stem)
    layers = itertools.chain(*supernet.groups)  # the groups may be divided in another way
    plain_layers = itertools.chain(*cast(Sequence[nn.Sequential], net.blocks))
    for elastic, plain in zip(layers, plain_layers, strict=True):
        if isinstance(plain, MBConv):
            _fill_block(elastic, plain)
        elif isinstance(plain, ConvNormAct) and elastic.bypass is not None:
            _fill_conv(elastic.bypass, plain)
    _fill_conv(supernet.conv_head, cast(ConvNormAct, net.conv_head))
    order = order_of_classes(label_names, classes)
    if source.num_classes != supernet.num_classes or order is None:
        return False
    for ours, theirs in zip(supernet.classifier.parameters(), net.classifier.parameters(), strict=True):
        ours.copy_(theirs[order] if order else theirs)
    return True


def _fill_conv(elastic: ElasticConvNormAct, plain: ConvNormAct) -> None:
    var = cast(torch.Tensor, plain.bn.running_var)
    same_scale = ((var + elastic.bn.eps) / (var + plain.bn.eps)).sqrt()  # 1 unless the epsilons differ
    elastic.conv.weight.copy_(plain.conv.weight)
    elastic.bn.weight.copy_(plain.bn.weight * same_scale)
    elastic.bn.bias.copy_(plain.bn.bias)


def _fill_block(elastic: ElasticMBConv, plain: MBConv) -> None:
    if isinstance(plain.conv_pw, ConvNormAct):
        _fill_conv(cast(ElasticConvNormAct, elastic.conv_pw), plain.conv_pw)
    for ours, theirs in zip(elastic.depthwise, plain.conv_dw):
        _fill_conv(ours, cast(ConvNormAct, theirs))
    if plain.attn is not None:
        attn = elastic.attn
        assert attn is not None
        attn.fc1.load_state_dict(plain.attn.fc1.state_dict())
        layers = attn._fc2(plain.attn.splits)
        for layer, weight, bias in zip(
            layers, plain.attn.fc2.weight.chunk(len(layers)), plain.attn.fc2.bias.chunk(len(layers))
        ):
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
    _fill_conv(cast(ElasticConvNormAct, elastic.conv_pwl), plain.conv_pwl)


@torch.no_grad()
def sorted_by_importance(net: FPNAS) -> FPNAS:
    """A copy of a network that computes the same, with the channels of every layer sorted from important to not.

    The channels of the head, which no sub-network cuts, keep their order.
    """
    net = copy.deepcopy(net)
    units = units_of(net)
    order = {run: scores.argsort(descending=True, stable=True) for run, scores in stream_importance(net, units).items()}
    hidden = {unit.name: _hidden_order(unit) for unit in units}
    run = 0
    _permute(net.stem, out=order[0])
    for unit in units:
        layer = unit.layer
        if isinstance(layer, ConvNormAct):
            _permute(layer, out=order[unit.run], inputs=order[run])
        else:
            inside = hidden[unit.name]
            if isinstance(layer.conv_pw, ConvNormAct):
                assert inside is not None
                _permute(layer.conv_pw, out=inside, inputs=order[run])
            inside = order[run] if inside is None else inside
            for conv in layer.conv_dw:
                _permute(cast(ConvNormAct, conv), out=inside)
            if layer.attn is not None:
                _permute_attention(layer.attn, inside)
            _permute(layer.conv_pwl, out=order[unit.run], inputs=inside)
        run = unit.run
    head = cast(ConvNormAct, net.conv_head)
    _permute(head, out=torch.arange(head.conv.out_channels, device=order[run].device), inputs=order[run])
    return net


def _hidden_order(unit: Unit) -> torch.Tensor | None:
    """The order of a block's expanded channels; None if they are the channels of its input."""
    layer = unit.layer
    if isinstance(layer, MBConv) and isinstance(layer.conv_pw, ConvNormAct):
        return hidden_importance(layer).argsort(descending=True, stable=True)
    return None


def _permute(layer: ConvNormAct, out: torch.Tensor, inputs: torch.Tensor | None = None) -> None:
    weight = layer.conv.weight[out]
    layer.conv.weight.copy_(weight if inputs is None else weight[:, inputs])
    for name in ('weight', 'bias', 'running_mean', 'running_var'):
        values = getattr(layer.bn, name)
        values.copy_(values[out].clone())


def _permute_attention(attn: SplitAttention, inside: torch.Tensor) -> None:
    strength = attn.fc2.weight.norm(dim=0) * attn.fc1.weight.norm(dim=1)
    units = strength.argsort(descending=True, stable=True)
    attn.fc1.weight.copy_(attn.fc1.weight[units][:, inside])
    attn.fc1.bias.copy_(attn.fc1.bias[units].clone())
    weight = attn.fc2.weight.view(attn.splits, -1, attn.fc2.in_features)[:, inside][:, :, units]
    attn.fc2.weight.copy_(weight.reshape_as(attn.fc2.weight))
    attn.fc2.bias.copy_(attn.fc2.bias.view(attn.splits, -1)[:, inside].reshape_as(attn.fc2.bias))
