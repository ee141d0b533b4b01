"""Computes a program of coremltools' intermediate language with torch, from the weights that are in the program."""
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F


def run_mil(function: Any, images: torch.Tensor) -> torch.Tensor:
    """The output of a function with one input and one output.

    Raises:
        KeyError: an operation that no FP-NAS network needs.
    """
    [name] = function.inputs
    values: dict[str, torch.Tensor] = {name: images}

    def value(variable: Any) -> Any:
        if isinstance(variable, (list, tuple)):
            return [value(v) for v in variable]
        if variable.name in values:
            return values[variable.name]
        found = variable.val
        return torch.as_tensor(found) if getattr(found, 'ndim', 0) else getattr(found, 'item', lambda: found)()

    for op in function.operations:
        if op.op_type != 'const':
            [out] = op.outputs
            values[out.name] = OPERATIONS[op.op_type](**{k: value(v) for k, v in op.inputs.items() if v is not None})
    [out] = function.outputs
    return values[out.name]


def _conv(
        x: torch.Tensor, weight: torch.Tensor, strides: torch.Tensor, pad_type: str, pad: torch.Tensor,
        dilations: torch.Tensor, groups: int, bias: torch.Tensor | None = None,
) -> torch.Tensor:
    top, bottom, left, right = pad.tolist() if pad_type == 'custom' else (0, 0, 0, 0)
    x = F.pad(x, (left, right, top, bottom))
    return F.conv2d(x, weight, bias, strides.tolist(), 0, dilations.tolist(), groups)


def _slice(x: torch.Tensor, begin: torch.Tensor, end: torch.Tensor, **masks: Any) -> torch.Tensor:
    def mask(name: str) -> list[bool]:
        return masks[name].tolist() if name in masks else [False] * x.ndim

    strides = masks['stride'].tolist() if 'stride' in masks else [1] * x.ndim
    index: list[int | slice] = []
    for first, last, stride, from_start, to_end, squeeze in zip(
        begin.tolist(), end.tolist(), strides, mask('begin_mask'), mask('end_mask'), mask('squeeze_mask')
    ):
        index.append(first if squeeze else slice(None if from_start else first, None if to_end else last, stride))
    return x[tuple(index)]


def _expand_dims(x: torch.Tensor, axes: torch.Tensor) -> torch.Tensor:
    for axis in sorted(axes.tolist(), key=lambda a: (a < 0, a if a >= 0 else -a)):
        x = x.unsqueeze(axis)
    return x


OPERATIONS: dict[str, Callable[..., torch.Tensor]] = {
    'add': lambda x, y: x + y,
    'cast': lambda x, dtype: x.to(getattr(torch, {'fp32': 'float32', 'fp16': 'float16'}[dtype])),
    'conv': _conv,
    'expand_dims': _expand_dims,
    'linear': lambda x, weight, bias: F.linear(x, weight, bias),
    'mul': lambda x, y: x * y,
    'reduce_mean': lambda x, axes, keep_dims: x.mean(axes.tolist(), keep_dims),
    'relu': torch.relu,
    'reshape': lambda x, shape: x.reshape(shape.tolist()),
    'sigmoid': torch.sigmoid,
    'silu': lambda x: F.silu(x),
    'slice_by_index': _slice,
    'softmax': lambda x, axis: x.softmax(axis),
}
