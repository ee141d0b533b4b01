"""Describes a model (string, budgets, feature maps, weights) and compares its counts with fvcore and Table B.1.

The paper's FLOPS are multiply-adds of convolutions and linear layers, which fvcore counts as `conv` and `linear`.
fvcore's total also includes batch norm and pooling; these are reported separately.
"""
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..arch import Arch
from ..arch.cost import cost
from ..arch.sizes import ImgSize, hw
from ..model.network import FPNAS, feature_levels
from ..paper import TABLE_B1
from .models import default_cfgs, known_weights, resolve_arch
from .strings import ARCHS

__all__ = ['BudgetReport', 'Counts', 'count', 'describe', 'report', 'table_b1']


@dataclass(frozen=True)
class Counts:
    """fvcore's counts for one image: multiply-adds of convolutions and linear layers, and other operators by name."""

    macs: int
    others: dict[str, int]


def count(model: nn.Module, img_size: ImgSize, in_chans: int = 3) -> Counts:
    """fvcore's count for any model at an input size in pixels and batch size 1; restores the model's mode."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', FutureWarning)  # from torch.jit.script in fvcore's import
        from fvcore.nn import FlopCountAnalysis

    training = model.training
    try:
        with torch.no_grad():
            analysis = FlopCountAnalysis(model.eval(), torch.zeros(1, in_chans, *hw(img_size)))
            analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
            by_operator = analysis.by_operator()
    finally:
        model.train(training)
    macs = by_operator.pop('conv', 0) + by_operator.pop('linear', 0)
    return Counts(int(macs), {name: int(n) for name, n in by_operator.items()})


@dataclass(frozen=True)
class BudgetReport:
    """The numbers of Table B.1 for a model (None for other models), and the counted ones."""

    model: str
    img_size: ImgSize
    printed_macs: int | None  # millions
    fvcore_macs: int
    cost_macs: int
    others: dict[str, int]
    printed_params: float | None  # millions
    params: int
    cost_params: int

    @property
    def agrees(self) -> bool:
        """Whether the two counts are equal and round to every printed digit."""
        if (self.fvcore_macs, self.params) != (self.cost_macs, self.cost_params):
            return False
        if self.printed_macs is None or self.printed_params is None:
            return True
        return round(self.fvcore_macs / 1e6) == self.printed_macs and round(self.params / 1e6, 1) == self.printed_params


def report(
        label: str, arch: Arch, img_size: ImgSize | None = None, num_classes: int = 1000, in_chans: int = 3, **more: Any
) -> BudgetReport:
    """Both counts of an architecture, and Table B.1's if `label` is in it.

    Args:
        label: name of the model.
        arch: its architecture.
        img_size: input size in pixels; the architecture's own if None.
        num_classes: number of classifier outputs.
        in_chans: number of image channels.
        more: `output_stride` and `global_pool`, as in `cost`.
    """
    size = arch.img_size if img_size is None else img_size
    expected = cost(arch, size, num_classes, in_chans, **more)
    model = FPNAS(str(arch), num_classes, in_chans, **more)
    counts = count(model, size, in_chans)
    row = TABLE_B1.get(label)
    if row is not None and row.img_size != size:
        row = None
    return BudgetReport(
        model=label,
        img_size=size,
        printed_macs=row.macs if row else None,
        fvcore_macs=counts.macs,
        cost_macs=expected.macs,
        others=counts.others,
        printed_params=row.params if row else None,
        params=sum(p.numel() for p in model.parameters()),
        cost_params=expected.params,
    )


def table_b1() -> list[BudgetReport]:
    """Reports for all models of Table B.1."""
    return [report(name, Arch.parse(string)) for name, string in ARCHS.items()]


def describe(name_or_string: str, **sizes: Any) -> dict[str, Any]:
    """A model as data: string, budgets, feature maps, published weights and, for a named model, the paper's numbers.

    Args:
        name_or_string: a model name or an architecture string.
        sizes: arguments of `cost`, for a network with other classes or images.

    Returns:
        A dict that can be written as JSON; sizes in pixels, costs in units (not millions).

    Raises:
        ArchError: the argument is neither of these.
        UsageError: a manifest of weights cannot be read.
    """
    arch, label = resolve_arch(name_or_string)
    macs, params = cost(arch, **sizes)
    row = TABLE_B1.get(name_or_string)
    info: dict[str, Any] = {
        'model': name_or_string if name_or_string in default_cfgs else None,
        'label': label,
        'arch': str(arch),
        'img_size': sizes.get('img_size', arch.img_size),
        'num_classes': sizes.get('num_classes', 1000),
        'in_chans': sizes.get('in_chans', 3),
        'macs': macs,
        'params': params,
        'blocks': sum(len(group) for group in arch.blocks),
        'features': [
            {'channels': f['num_chs'], 'reduction': f['reduction']}
            for f in feature_levels(arch, sizes.get('output_stride', 32))
        ],
        'weights': _published_weights(name_or_string),
    }
    if row:
        info['paper'] = {'macs_millions': row.macs, 'params_millions': row.params, 'top1': row.top1,
                         'top1_distilled': row.top1_distilled}
    return info


def _published_weights(name: str) -> list[str]:
    known_weights()  # raises for an invalid manifest, instead of returning an incomplete list
    cfgs = default_cfgs[name].cfgs if name in default_cfgs else {}
    return [f'{name}.{tag}' for tag, cfg in cfgs.items() if cfg.has_weights]
