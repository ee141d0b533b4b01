"""The weights of a timm network in the FP-NAS network of its string: the same outputs, where the string is exact."""
import copy
from collections.abc import Sequence
from typing import Any, cast

import timm
import torch
from torch import nn

from ..errors import UsageError
from ..model.blocks import ConvNormAct, MBConv, SplitAttention
from ..model.network import FPNAS
from .layers import pooling
from .timm_arch import arch_of, create_source, input_size_of
from .timm_network import Attention, ConvBn, TimmBlock, TimmNetwork, read_network

__all__ = ['from_timm']

# sigmoid(s * x) is closest to the hard sigmoid, relu6(x + 3) / 6, at this s (least squares for x in -4 to 4).
HARD_SIGMOID_SLOPE = 0.87
# Entries of a timm model's `pretrained_cfg` that describe images and classes, not where the weights are.
DATA_KEYS = (
    'input_size', 'test_input_size', 'fixed_input_size', 'interpolation', 'crop_pct', 'test_crop_pct', 'crop_mode',
    'mean', 'std', 'license', 'origin_url', 'paper_ids', 'paper_name', 'label_names',
)


@torch.no_grad()
def from_timm(model: nn.Module | str, num_classes: int | None = None, **kwargs: Any) -> FPNAS:
    """An FP-NAS network with the weights of a timm network.

    Args:
        model: a network of timm's EfficientNet builder or of this package, or its name with the tag of its weights,
            such as 'efficientnet_b0.ra_in1k'; a name is created with `pretrained=True`.
        num_classes: number of classifier outputs; that of the source if None. The source's classifier is kept if the
            numbers and the pooling before it agree, else the classifier starts anew.
        kwargs: further arguments of `timm.create_model` for a source given by name (`in_chans`) or for the new network
            (`drop_rate`, `drop_path_rate`, `global_pool`: that of the source if it is not given).

    Returns:
        The network, on the source's device, in its dtype and mode (train or eval). Its logits are the source's, up to
        rounding, if `as_arch(model).exact`; else they are close. Its `pretrained_cfg` has the source's input size, mean
        and standard deviation.

    Raises:
        UsageError: an unknown name, no weights, a network that a string cannot express (`as_arch`), or `in_chans` for a
            model that is there already.
    """
    if isinstance(model, str):
        channels = {'in_chans': kwargs.pop('in_chans')} if 'in_chans' in kwargs else {}
        model = create_source(model, pretrained=True, **channels).eval()
    if 'in_chans' in kwargs:
        raise UsageError('in_chans: expected with the name of a model only; a model that is there has its own')
    if isinstance(model, FPNAS):
        return _own(model, num_classes, kwargs)
    network = read_network(model)
    config: dict[str, Any] = dict(getattr(model, 'pretrained_cfg', None) or {})
    found = arch_of(network, input_size_of(model))
    old_head = network.classifier
    theirs = old_head.out_features if isinstance(old_head, nn.Linear) else 0
    weight = network.stem.conv.weight
    target = cast(FPNAS, timm.create_model(
        'fpnas', arch=str(found.arch), num_classes=theirs if num_classes is None else num_classes,
        in_chans=network.stem.conv.in_channels, bn_eps=found.bn_eps, bn_momentum=found.bn_momentum,
        **{'global_pool': pooling(model), **kwargs},
    ))
    target.to(device=weight.device, dtype=weight.dtype)
    _copy_network(network, target)
    if theirs and target.num_classes == theirs and pooling(target) == pooling(model):
        target.classifier.load_state_dict(old_head.state_dict())
    described = {key: config[key] for key in DATA_KEYS if key in config}
    target.pretrained_cfg = {**getattr(target, 'pretrained_cfg', {}), **described}  # type: ignore[assignment]
    return target.train(model.training)


def _own(model: FPNAS, num_classes: int | None, kwargs: dict[str, Any]) -> FPNAS:
    """A copy of a network of this package, with a new classifier if the numbers of classes or the pooling differ."""
    classes = model.num_classes if num_classes is None else num_classes
    if not kwargs:
        copied = copy.deepcopy(model)
        if classes != model.num_classes:
            copied.reset_classifier(classes)
        return copied
    norm, weight = model.stem.bn, model.stem.conv.weight
    created = cast(FPNAS, timm.create_model('fpnas', arch=str(model.arch), in_chans=model.in_chans, **{
        'num_classes': classes, 'global_pool': pooling(model), 'output_stride': model.output_stride,
        'drop_rate': model.drop_rate, 'bn_eps': norm.eps, 'bn_momentum': norm.momentum, **kwargs,
    })).to(device=weight.device, dtype=weight.dtype)
    same = created.num_classes == model.num_classes and pooling(created) == pooling(model)
    kept = {name: v for name, v in model.state_dict().items() if same or not name.startswith('classifier.')}
    nn.Module.load_state_dict(created, kept, strict=same)
    created.pretrained_cfg = model.pretrained_cfg
    return created.train(model.training)


def _copy_network(network: TimmNetwork, target: FPNAS) -> None:
    _copy_layer(network.stem, target.stem)
    ours = [block for group in cast(Sequence[nn.Sequential], target.blocks) for block in group]
    for block, layer in zip(network.blocks, ours, strict=True):
        if isinstance(layer, MBConv):
            _copy_block(block, layer)
        else:
            _copy_layer(block.project, cast(ConvNormAct, layer))
    _copy_layer(network.head, cast(ConvNormAct, target.conv_head))


def _copy_block(block: TimmBlock, layer: MBConv) -> None:
    if block.expand is not None:
        _copy_layer(block.expand, cast(ConvNormAct, layer.conv_pw))
    assert block.depthwise is not None
    _copy_layer(block.depthwise, cast(ConvNormAct, layer.conv_dw[0]))
    if block.attention is not None:
        _copy_attention(block.attention, cast(SplitAttention, layer.attn))
    _copy_layer(block.project, layer.conv_pwl)


def _copy_layer(source: ConvBn, target: ConvNormAct) -> None:
    """Copy convolution and batch norm; further channels of the target get zero weights."""
    _pad(source.conv.weight, target.conv.weight)
    norm, bn = target.bn, source.bn
    if bn is None:  # a convolution with a bias: the batch norm only adds it, in eval mode
        norm.reset_running_stats()
        nn.init.constant_(norm.weight, (1 + norm.eps) ** 0.5)
        bias = source.conv.bias
        _pad(torch.zeros(1) if bias is None else bias, norm.bias)
        return
    _pad(bn.bias, norm.bias)
    for name in ('weight', 'running_var'):  # ones in further channels, whose input is 0
        values = getattr(norm, name)
        values.fill_(1)
        values[: len(getattr(bn, name))] = getattr(bn, name)
    _pad(cast(torch.Tensor, bn.running_mean), cast(torch.Tensor, norm.running_mean))
    if norm.num_batches_tracked is not None and bn.num_batches_tracked is not None:
        norm.num_batches_tracked.copy_(bn.num_batches_tracked)


def _copy_attention(source: Attention, target: SplitAttention) -> None:
    """Copy Squeeze-Excite; hidden units that ours has beyond the source's get zero outgoing weights."""
    reduce, expand = source.reduce, source.expand
    assert reduce.bias is not None and expand.bias is not None
    kept = torch.arange(reduce.out_channels, device=reduce.weight.device)
    if len(kept) > target.fc1.out_features:
        strength = expand.weight.flatten(1).norm(dim=0) * reduce.weight.flatten(1).norm(dim=1)
        kept = strength.topk(target.fc1.out_features).indices.sort().values
    slope = HARD_SIGMOID_SLOPE if source.hard else 1.0
    own = target.fc1.weight.clone()
    _pad(reduce.weight[kept].flatten(1), target.fc1.weight)
    target.fc1.weight[len(kept) :, : own.shape[1]] = own[len(kept) :]  # so that further units can learn
    _pad(reduce.bias[kept], target.fc1.bias)
    _pad(expand.weight[:, kept].flatten(1) * slope, target.fc2.weight)
    _pad(expand.bias * slope, target.fc2.bias)


def _pad(source: torch.Tensor, target: torch.Tensor) -> None:
    """Write `source` to the first channels of `target`, and zeros to the rest."""
    target.zero_()
    target[tuple(map(slice, source.shape))] = source
