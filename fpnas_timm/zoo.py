"""The named models: Table B.1's rows, their architecture strings and pretrained cfgs, registered in timm.

The paper does not publish the encodings. **Every string here is a reconstruction**: the most probable architecture of
the row's search space under the prior of `fpnas_timm/reconstruct.py`, within the budgets that Table B.1 prints.
`python -m fpnas_timm.reconstruct NAME` prints it again. No weights are published.
"""
from dataclasses import dataclass
from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model

from .arch import Arch, ArchError, out_size
from .model import FPNAS, checkpoint_filter_fn, feature_levels

__all__ = ['ARCHS', 'TABLE_B1', 'TableRow', 'resolve_arch']


@dataclass(frozen=True)
class TableRow:
    """A row of Table B.1: input size (pixels), multiply-adds and parameters (millions), ImageNet top-1 (%)."""

    img_size: int
    macs: int
    params: float
    top1: float | None
    top1_distilled: float | None = None


TABLE_B1 = {
    'fpnas_s1pp': TableRow(128, 66, 5.9, 70.0),
    'fpnas_s2pp': TableRow(160, 98, 5.8, 72.2),
    'fpnas_s3pp': TableRow(192, 147, 5.8, 74.2),
    'fpnas_s4pp': TableRow(224, 268, 6.4, 76.6),
    'fpnas_l0': TableRow(224, 399, 11.3, 78.0),
    'fpnas_l1': TableRow(240, 728, 15.8, None, 79.8),
    'fpnas_l2': TableRow(256, 997, 20.7, 80.7, 81.6),
}

# Reconstructions, see the module's docstring.
ARCHS = {
}
