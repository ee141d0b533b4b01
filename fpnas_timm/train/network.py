"""The network of a training run: created with its weights, moved to its device, partly frozen."""
import argparse
from difflib import get_close_matches
from pathlib import Path

import timm
import torch
from timm.layers import convert_splitbn_model, convert_sync_batchnorm
from timm.models import group_parameters, load_checkpoint
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import UsageError
from ..runs.device import model_dtype
from .checkpoints import arch_in

__all__ = ['Frozen', 'create_network', 'freeze', 'to_device']


def create_network(args: argparse.Namespace) -> nn.Module:
    """The model that the options name, with the weights that they name; `args.num_classes` becomes the model's.

    Raises:
        UsageError: an unknown model, an argument that it does not take, weights that are not there or do not fit.
    """
    in_chans = args.in_chans if args.in_chans is not None else (args.input_size or [3])[0]
    overlay = dict(args.pretrained_cfg_overlay)
    if args.pretrained_path:  # timm's way: as if these were the published weights, with another head
        _check_file(args.pretrained_path)
        overlay = {'file': args.pretrained_path, 'num_classes': -1, **overlay}
    try:
        model = timm.create_model(
            args.model,
            pretrained=args.pretrained or bool(args.pretrained_path),
            in_chans=in_chans,
            num_classes=args.num_classes,
            drop_rate=args.drop,
            drop_path_rate=args.drop_path,
            drop_block_rate=args.drop_block,
            global_pool=args.gp,
            bn_momentum=args.bn_momentum,
            bn_eps=args.bn_eps,
            **({'pretrained_cfg_overlay': overlay} if overlay else {}),
            **args.model_kwargs,
        )
    except Exception as e:  # a model's own checks raise many kinds
        reason = ' '.join(str(e).split()) or type(e).__name__
        if 'Unknown model' in reason:
            close = get_close_matches(args.model, timm.list_models(), n=1)
            reason = f'no model of timm or of {args.device_modules or "this package"} has this name' + (
                f'; did you mean {close[0]}?' if close else ''
            )
        raise UsageError(f'--model {args.model}: {reason}') from None
    if args.initial_checkpoint:
        _check_file(args.initial_checkpoint)
        try:
            load_checkpoint(model, args.initial_checkpoint)
        except Exception as e:  # damaged, of another network, not a checkpoint
            theirs = _arch_of_file(args.initial_checkpoint)
            hint = f'; it is of {theirs}' if theirs else ''
            reason = ' '.join(str(e).split())[:400]
            raise UsageError(f'{args.initial_checkpoint}: {reason}{hint}') from None
    classifier = model.get_classifier()
    with torch.no_grad():
        if args.head_init_scale is not None:
            classifier.weight.mul_(args.head_init_scale)
            classifier.bias.mul_(args.head_init_scale)
        if args.head_init_bias is not None:
            classifier.bias.fill_(args.head_init_bias)
    args.num_classes = model.num_classes
    if args.grad_checkpointing:
        model.set_grad_checkpointing(enable=True)
    return model


def to_device(model: nn.Module, args: argparse.Namespace, device: torch.device) -> nn.Module:
    """The model on its device, in its precision and memory format, with the batch norms that were asked for."""
    if args.split_bn:
        model = convert_splitbn_model(model, max(args.aug_splits, 2))
    model.to(device=device, dtype=model_dtype(args))
    if args.channels_last:
        model.to(memory_format=torch.channels_last)
    if args.distributed and args.sync_bn:
        if device.type == 'cpu':
            raise UsageError('--sync-bn: torch synchronises batch norms on GPUs only; leave it out on a CPU')
        args.dist_bn = ''  # there is nothing left to distribute
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

    def __init__(self, norms: list[nn.Module], num_params: int) -> None:
        self.norms = norms
        self.num_params = num_params

    def eval(self) -> None:
        """Keep the running statistics: use them, and do not change them."""
        for norm in self.norms:
            norm.eval()


def freeze(model: nn.Module, layers: str) -> Frozen:
    """Freeze the first layers, in place.

    Args:
        model: with timm's `group_matcher`, whose layers count from the stem (0) on.
        layers: how many, or 'all' but the classifier.

    Raises:
        UsageError: not a number of layers of this model, or the model has no `group_matcher`.
    """
    head = {id(p) for p in model.get_classifier().parameters()}
    if layers == 'all':
        frozen = {name for name, p in model.named_parameters() if id(p) not in head}
    else:
        if not hasattr(model, 'group_matcher'):
            raise UsageError(f'--freeze {layers}: this model has no layers to count (no group_matcher): use `all`')
        groups = group_parameters(model, model.group_matcher())
        count = int(layers) if layers.isdigit() else 0
        if not 0 < count < len(groups):
            raise UsageError(f'--freeze {layers}: expected 1 to {len(groups) - 1} layers, or `all` but the classifier')
        frozen = {name for layer in range(count) for name in groups[layer]}
    for name, p in model.named_parameters():
        if name in frozen:
            p.requires_grad = False
    norms = [
        module
        for module in model.modules()
        if isinstance(module, _BatchNorm) and (p := next(module.parameters(), None)) is not None and not p.requires_grad
    ]
    return Frozen(norms, sum(p.numel() for p in model.parameters() if not p.requires_grad))
