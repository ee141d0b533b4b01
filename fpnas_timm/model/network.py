"""The network of an architecture string, with timm's complete model API.

Paper: `FP-NAS: Fast Probabilistic Neural Architecture Search` - https://arxiv.org/abs/2011.10949
"""
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import create_classifier, get_device_dtype
from timm.models import checkpoint_seq
from timm.models._features import feature_take_indices
from torch import nn

from ..arch import Arch
from .blocks import ConvNormAct, MBConv, init_weights, to_fast_memory_format

__all__ = ['FPNAS', 'check_same_arch', 'checkpoint_filter_fn', 'feature_levels']

torch.fx.wrap('to_fast_memory_format')  # one operation for torch.fx: what it does depends on the image's device

OUTPUT_STRIDES = (8, 16, 32)


class FPNAS(nn.Module):
    """An FP-NAS network.

    Stem, `blocks` (one `nn.Sequential` per group of the architecture), 1x1 head convolution, pooling, classifier.
    """

    def __init__(
            self,
            arch: str,
            num_classes: int = 1000,
            in_chans: int = 3,
            global_pool: str = 'avg',
            output_stride: int = 32,
            drop_rate: float = 0.0,
            drop_path_rate: float = 0.0,
            bn_momentum: float | None = None,
            bn_eps: float | None = None,
            device: torch.device | str | None = None,
            dtype: torch.dtype | None = None,
    ) -> None:
        """
        Args:
            arch: architecture string (`docs/format.md`).
            num_classes: number of classifier outputs; 0 for no classifier.
            in_chans: number of image channels.
            global_pool: pooling before the classifier, by timm's name; '' for no pooling.
            output_stride: total stride of the last feature map (8, 16 or 32); further strides become dilation.
            drop_rate: dropout rate before the classifier.
            drop_path_rate: stochastic depth rate; increases linearly with the block, from 0 towards this, as in timm.
            bn_momentum: momentum of all batch norms; torch's default if None.
            bn_eps: epsilon of all batch norms; torch's default if None.
            device: device of the parameters ('meta' allocates no memory); torch's default if None.
            dtype: dtype of the parameters; torch's default if None.

        Raises:
            ArchError: `arch` is not an architecture string.
            ValueError: `output_stride` is not one of 8, 16, 32.
        """
        super().__init__()
        if output_stride not in OUTPUT_STRIDES:
            raise ValueError(f'output_stride {output_stride}: expected one of {OUTPUT_STRIDES}')
        dd: dict[str, Any] = {'device': device, 'dtype': dtype}
        bn_args = {k: v for k, v in (('momentum', bn_momentum), ('eps', bn_eps)) if v is not None}
        layer_args: dict[str, Any] = {'bn_args': bn_args, **dd}
        self.arch = parsed = Arch.parse(arch)
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.output_stride = output_stride
        self.drop_rate = drop_rate
        self.grad_checkpointing = False

        stem, head = parsed.stem, parsed.head
        self.stem = ConvNormAct(in_chans, stem.channels, stem.kernel, stem.stride, act=stem.act, **layer_args)
        self.feature_info = feature_levels(parsed, output_stride)
        self.stage_ends = [f['stage'] for f in self.feature_info]
        self.blocks = nn.Sequential(*_make_groups(parsed, output_stride, drop_path_rate, layer_args))
        self.num_features = self.head_hidden_size = head.channels
        self.conv_head: nn.Module = ConvNormAct(
            parsed.groups[-1].channels, head.channels, 1, act=head.act, **layer_args
        )
        self.global_pool, self.classifier = create_classifier(
            self.num_features, num_classes, pool_type=global_pool, **dd
        )
        self.head_hidden_size = self.num_features * self.global_pool.feat_mult()
        init_weights(self)

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Regular expressions that group the parameters by layer, for layer-wise learning rates and freezing."""
        return dict(
            stem=r'^stem',
            blocks=[
                (r'^blocks\.(\d+)' if coarse else r'^blocks\.(\d+)\.(\d+)', None),
                (r'^conv_head', (99999,)),
            ],
        )

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute activations in the backward pass instead of storing them."""
        self.grad_checkpointing = enable

    @torch.jit.ignore
    def get_classifier(self) -> nn.Module:
        """The last linear layer (an `nn.Identity` at `num_classes=0`)."""
        return self.classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier with a new one.

        Args:
            num_classes: number of outputs; 0 for no classifier.
            global_pool: pooling before the classifier; the current one if None.
        """
        dd = get_device_dtype(self)
        self.num_classes = num_classes
        if global_pool is None:
            global_pool = self.global_pool.pool_type
        self.global_pool, self.classifier = create_classifier(
            self.num_features, num_classes, pool_type=global_pool, **dd
        )
        self.head_hidden_size = self.num_features * self.global_pool.feat_mult()
        self.global_pool.train(self.training)
        self.classifier.train(self.training)

    def forward_intermediates(
            self,
            x: torch.Tensor,
            indices: int | list[int] | None = None,
            norm: bool = False,
            stop_early: bool = False,
            output_fmt: str = 'NCHW',
            intermediates_only: bool = False,
    ) -> list[torch.Tensor] | tuple[torch.Tensor, list[torch.Tensor]]:
        """The feature maps at the end of each resolution.

        Args:
            x: images (B, C, H, W).
            indices: levels of `feature_info` to return: the last n if int, all if None.
            norm: has no effect, since every level already ends in a batch norm.
            stop_early: do not run the blocks after the last requested level.
            output_fmt: only 'NCHW' is supported.
            intermediates_only: return only the feature maps.

        Returns:
            The list of feature maps, or the output of `forward_features` and that list.
        """
        assert output_fmt == 'NCHW', 'Output format must be NCHW.'
        intermediates: list[torch.Tensor] = []
        take_indices, max_index = feature_take_indices(len(self.stage_ends), indices)
        take_indices = [self.stage_ends[i] for i in take_indices]
        max_index = self.stage_ends[max_index]

        stage = 0  # the stem
        x = self.stem(to_fast_memory_format(x))
        if stage in take_indices:
            intermediates.append(x)
        if torch.jit.is_scripting() or not stop_early:  # can't slice blocks in torchscript
            blocks = self.blocks
        else:
            blocks = self.blocks[:max_index]
        for stage, group in enumerate(blocks, start=1):
            if self.grad_checkpointing and not torch.jit.is_scripting():
                x = checkpoint_seq(group, x)
            else:
                x = group(x)
            if stage in take_indices:
                intermediates.append(x)
        if intermediates_only:
            return intermediates
        if stage == self.stage_ends[-1]:
            x = self.conv_head(x)
        return x, intermediates

    @torch.jit.ignore
    def prune_intermediate_layers(
            self,
            indices: int | list[int] = 1,
            prune_norm: bool = False,
            prune_head: bool = True,
    ) -> list[int]:
        """Remove all layers not needed for the given levels (as in `forward_intermediates`); return their indices."""
        take_indices, max_index = feature_take_indices(len(self.stage_ends), indices)
        num_chs = self.feature_info[max_index]['num_chs']
        last = self.stage_ends[max_index]
        # the head convolution follows the last group and never feeds a level
        prune_end = prune_norm or prune_head or last < len(self.blocks)
        self.blocks = self.blocks[:last]
        if prune_end:
            self.conv_head = nn.Identity()
            self.num_features = self.head_hidden_size = num_chs
            self.reset_classifier(0, '')
        return take_indices

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Images (B, C, H, W) -> the unpooled feature map of the head convolution (B, num_features, H', W')."""
        x = self.stem(to_fast_memory_format(x))
        if self.grad_checkpointing and not torch.jit.is_scripting():
            x = checkpoint_seq(self.blocks, x, flatten=True)
        else:
            x = self.blocks(x)
        return self.conv_head(x)

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Output of `forward_features` -> logits (B, num_classes), or pooled features (B, head_hidden_size)."""
        x = self.global_pool(x)
        if self.drop_rate > 0.0:
            x = F.dropout(x, p=self.drop_rate, training=self.training)
        return x if pre_logits else self.classifier(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images (B, C, H, W) -> logits (B, num_classes)."""
        return self.forward_head(self.forward_features(x))

    @torch.jit.ignore
    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Like `nn.Module.load_state_dict`, but with a short error for weights of a different architecture."""
        check_same_arch(self, state_dict)
        return super().load_state_dict(state_dict, strict=strict, assign=assign)


def _make_groups(
        arch: Arch, output_stride: int, drop_path_rate: float, layer_args: dict[str, Any]
) -> list[nn.Sequential]:
    """The layers of each group; `layer_args` are `bn_args`, `device` and `dtype`."""
    num_blocks, index = sum(len(group) for group in arch.blocks), 0
    current_stride, dilation = arch.stem.stride, 1
    groups = []
    for group in arch.blocks:
        layers: list[nn.Module] = []
        for block in group:
            stride, next_dilation = block.stride, dilation
            if stride > 1 and current_stride * stride > output_stride:  # keep the resolution, dilate later kernels
                stride, next_dilation = 1, dilation * stride
            current_stride *= stride
            if block.is_identity:
                layers.append(nn.Identity())
            elif block.kernel == 0:
                layers.append(ConvNormAct(block.in_chs, block.out_chs, 1, stride, act=block.act, **layer_args))
            else:
                layers.append(MBConv(block, stride, dilation, drop_path_rate * index / num_blocks, **layer_args))
            dilation = next_dilation
            index += 1
        groups.append(nn.Sequential(*layers))
    return groups


def feature_levels(arch: Arch, output_stride: int = 32) -> list[dict[str, Any]]:
    """timm's `feature_info`: the last layer at each resolution; `stage` is 0 for the stem and i for the i-th group."""
    levels: list[dict[str, Any]] = []
    reduction, num_chs, module = arch.stem.stride, arch.stem.channels, 'stem'
    for i, group in enumerate(arch.groups):
        if group.stride > 1:
            levels.append(dict(num_chs=num_chs, reduction=min(reduction, output_stride), module=module, stage=i))
            reduction *= group.stride
        num_chs, module = group.channels, f'blocks.{i}'
    levels.append(
        dict(num_chs=num_chs, reduction=min(reduction, output_stride), module=module, stage=len(arch.groups))
    )
    return levels


def checkpoint_filter_fn(state_dict: dict[str, Any], model: nn.Module) -> dict[str, Any]:
    """Convert the state dict of a training checkpoint or a wrapped model to the names of the plain model.

    Unpacks `state_dict` and `model` entries; strips the prefixes of DDP (`module.`) and torch.compile (`_orig_mod.`).
    """
    for key in ('state_dict', 'model'):
        if isinstance(state_dict.get(key), dict):
            state_dict = state_dict[key]
    out = {}
    for name, value in state_dict.items():
        while name.startswith(('module.', '_orig_mod.')):
            name = name.split('.', 1)[1]
        out[name] = value
    return out


def check_same_arch(model: FPNAS, state_dict: Mapping[str, Any]) -> None:
    """Raise RuntimeError if `state_dict` belongs to an FP-NAS network with an architecture other than `model.arch`."""
    own = model.state_dict()
    body, theirs = (
        {n: t.shape for n, t in sd.items() if n.startswith(('stem.', 'blocks.', 'conv_head.')) and n.endswith('weight')}
        for sd in (own, state_dict)
    )
    if not any(n.startswith('blocks.') for n in theirs):
        return  # not an FP-NAS network: torch's own message is clearer
    if 'stem.conv.weight' in body and 'stem.conv.weight' in theirs:  # the number of image channels may differ
        theirs['stem.conv.weight'] = (*theirs['stem.conv.weight'][:1], model.in_chans, *theirs['stem.conv.weight'][2:])
    wrong = [n for n in body if n in theirs and theirs[n] != body[n]]
    missing, other = [n for n in body if n not in theirs], [n for n in theirs if n not in body]
    are_whole = 'conv_head.conv.weight' in body and 'conv_head.conv.weight' in theirs  # neither is a part of a network
    if wrong:
        name = wrong[0]
        what = f'{name} is {tuple(theirs[name])} in the weights and {tuple(body[name])} in the model'
    elif (missing and other) or (are_whole and (missing or other)):
        what = f'{(missing or other)[0]} is only in the {"model" if missing else "weights"}'
    else:
        return
    raise RuntimeError(
        f'These weights are of another architecture: {what}. Build the model with the architecture string that the '
        f'weights were made for; this one is {model.arch}'
    )
