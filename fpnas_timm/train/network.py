"""The network of a training run: creating it, loading weights, moving it to the device, freezing layers."""
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers import convert_splitbn_model, convert_sync_batchnorm
from timm.models import group_parameters, load_checkpoint
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import UsageError, did_you_mean, one_line
from ..runs.device import Precision, Process
from ..weights.folder import config_problem
from .checkpoints import arch_in

__all__ = ['Frozen', 'NetworkConfig', 'create_network', 'freeze', 'has_trained_classifier', 'to_device']


@dataclass(frozen=True)
class NetworkConfig:
    """Which network to create, and its initial weights. None stands for the model's default."""

    model: str  # a timm model name, 'fpnas', 'local-dir:FOLDER' or 'hf-hub:REPO'
    model_kwargs: Mapping[str, Any] = field(default_factory=dict)  # such as the architecture string, `arch`
    num_classes: int | None = None
    in_chans: int | None = None
    global_pool: str | None = None
    drop_rate: float | None = None  # dropout before the classifier
    drop_path_rate: float | None = None  # stochastic depth
    drop_block_rate: float | None = None
    bn_momentum: float | None = None
    bn_eps: float | None = None
    pretrained: bool = False
    pretrained_path: str | None = None  # load this file like the published weights (head adapted)
    pretrained_cfg_overlay: Mapping[str, Any] = field(default_factory=dict)
    initial_checkpoint: str = ''  # load exactly these weights
    head_init_scale: float | None = None  # factor on the classifier's weights and bias
    head_init_bias: float | None = None
    grad_checkpointing: bool = False


def create_network(config: NetworkConfig) -> nn.Module:
    """Create the network and load its weights.

    Raises:
        UsageError: an unknown model, an argument that the model does not accept, or missing or mismatched weights.
    """
    model = _create_model(config)
    if config.initial_checkpoint:
        _load_exactly(model, config.initial_checkpoint)
    if config.head_init_scale is not None or config.head_init_bias is not None:
        _init_heads(model, config.head_init_scale, config.head_init_bias)
    if config.grad_checkpointing:
        model.set_grad_checkpointing(enable=True)  # type: ignore[operator]  # of timm's models, not of nn.Module
    return model


@torch.no_grad()
def _init_heads(model: nn.Module, scale: float | None, value: float | None) -> None:
    """`--head-init-scale` and `--head-init-bias`."""
    for head in heads_of(model):
        weight, bias = (getattr(head, name, None) for name in ('weight', 'bias'))
        if scale is not None:
            if weight is None:
                raise UsageError(f'--head-init-scale: the classifier, a {type(head).__name__}, has no weight')
            for parameter in (weight, bias):
                if parameter is not None:
                    parameter.mul_(scale)
        if value is not None:
            if bias is None:
                raise UsageError(f'--head-init-bias: the classifier, a {type(head).__name__}, has no bias')
            bias.fill_(value)


def _create_model(config: NetworkConfig) -> nn.Module:
    overlay = dict(config.pretrained_cfg_overlay)
    if config.pretrained_path:  # as in timm: loaded like published weights, with a new head
        _check_file(config.pretrained_path)
        overlay = {'file': config.pretrained_path, 'num_classes': -1, **overlay}
    kwargs: dict[str, Any] = dict(
        pretrained=config.pretrained or bool(config.pretrained_path),
        in_chans=config.in_chans,
        num_classes=config.num_classes,
        drop_rate=config.drop_rate,
        drop_path_rate=config.drop_path_rate,
        drop_block_rate=config.drop_block_rate,
        global_pool=config.global_pool,
        bn_momentum=config.bn_momentum,
        bn_eps=config.bn_eps,
    )
    if overlay:
        kwargs['pretrained_cfg_overlay'] = overlay
    given = {name: value for name, value in kwargs.items() if value is not None}
    try:
        return timm.create_model(config.model, **{**config.model_kwargs, **given})
    except Exception as e:  # models raise many kinds of errors
        reason = config_problem(config.model) or one_line(e, limit=2000)  # it may contain an architecture string
        if 'Unknown model' in reason:
            reason = 'no model with this name is registered' + did_you_mean(config.model, timm.list_models())
        raise UsageError(f'--model {config.model}: {reason}') from None


def has_trained_classifier(model: nn.Module, config: NetworkConfig) -> bool:
    """Whether the classifier of a network created by `create_network` has been trained before; else it is random."""
    if config.initial_checkpoint:
        return True
    if not config.pretrained or config.pretrained_path:
        return False
    cfg: Any = model.pretrained_cfg
    return bool(model.num_classes) and cfg.get('num_classes') == model.num_classes


def _load_exactly(model: nn.Module, path: str) -> None:
    _check_file(path)
    try:
        load_checkpoint(model, path)
    except Exception as e:  # damaged, of another network, not a checkpoint
        theirs = _arch_of_file(path)
        hint = f'; the file belongs to {theirs}' if theirs else ''
        raise UsageError(f'{path}: {one_line(e, limit=400)}{hint}') from None


def heads_of(model: nn.Module) -> tuple[Any, ...]:
    """The layers of a timm model's classifier: one, or two with a distillation token."""
    heads = model.get_classifier()  # type: ignore[operator]  # of timm's models, not of nn.Module
    return tuple(heads) if isinstance(heads, (tuple, list)) else (heads,)


def to_device(
        model: nn.Module,
        process: Process,
        precision: Precision,
        split_bn: int = 0,
        sync_bn: bool = False,
) -> nn.Module:
    """Move a network to its device, in its precision and memory format, and convert its batch norms.

    Args:
        model: modified in place; the returned model may be a different object.
        process: provides the device.
        precision: dtype and memory format of the weights.
        split_bn: number of separate batch norms, one for each part of the batch; 0: no change.
        sync_bn: in a distributed run, synchronise the batch statistics over all processes.

    Raises:
        UsageError: synchronised batch norms on a CPU.
    """
    if split_bn:
        model = convert_splitbn_model(model, split_bn)
    model.to(device=process.device, dtype=precision.dtype)
    if precision.channels_last:
        model.to(memory_format=torch.channels_last)
    if process.distributed and sync_bn:
        if process.device.type == 'cpu':
            raise UsageError('--sync-bn: torch synchronises batch norms on GPUs only; remove it on a CPU')
        model = convert_sync_batchnorm(model)
    return model


def _check_file(path: str) -> None:
    if not Path(path).is_file():
        raise UsageError(f'{path}: no such file of weights')


def _arch_of_file(path: str) -> str | None:
    try:
        state = torch.load(path, map_location='cpu', weights_only=True)
        return arch_in(state)
    except Exception:  # not one of ours
        return None


class Frozen:
    """The frozen batch norms of a network; call `eval` after each `model.train()`."""

    def __init__(self, norms: Sequence[nn.Module], num_params: int) -> None:
        self.norms = norms
        self.num_params = num_params

    def eval(self) -> None:
        """Put them in eval mode: they normalise with the running statistics and do not update them."""
        for norm in self.norms:
            norm.eval()


def freeze(model: nn.Module, layers: str) -> Frozen:
    """Freeze the first layers, in place.

    Args:
        model: a model with timm's `group_matcher`, which numbers the layers from the stem (0).
        layers: number of layers to freeze, or 'all' except the classifier.

    Raises:
        UsageError: `layers` is not a valid number of layers for this model, or the model has no `group_matcher`.
    """
    head = {id(p) for layer in heads_of(model) for p in layer.parameters()}
    if layers == 'all':
        frozen = {name for name, p in model.named_parameters() if id(p) not in head}
    else:
        if not hasattr(model, 'group_matcher'):
            raise UsageError(f'--freeze {layers}: this model does not number its layers (no group_matcher): use `all`')
        groups = group_parameters(model, model.group_matcher())  # type: ignore[operator]
        count = int(layers) if layers.isdigit() else 0
        if not 0 < count < len(groups):
            raise UsageError(f'--freeze {layers}: expected 1 to {len(groups) - 1} layers, or `all`')
        frozen = {name for layer in range(count) for name in groups[layer]}
    for name, p in model.named_parameters():
        if name in frozen:
            p.requires_grad = False
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and _is_frozen(m)]
    return Frozen(norms, sum(p.numel() for p in model.parameters() if not p.requires_grad))


def _is_frozen(module: nn.Module) -> bool:
    first = next(module.parameters(), None)
    return first is not None and not first.requires_grad
