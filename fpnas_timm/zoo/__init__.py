"""The named models.

* `strings`: their architecture strings (reconstructions), data only
* `models`: timm entrypoints and cfgs; `register_arch`, `resolve_arch`
* `report`: what a model is, and its counts beside fvcore's and Table B.1's
* `reconstruct`: how the strings follow from the paper
"""
from .models import (
    fpnas,
    fpnas_l0,
    fpnas_l1,
    fpnas_l2,
    fpnas_s1pp,
    fpnas_s2pp,
    fpnas_s3pp,
    fpnas_s4pp,
    register_arch,
    resolve_arch,
)
from .strings import ARCHS

__all__ = [
    'ARCHS', 'fpnas', 'fpnas_l0', 'fpnas_l1', 'fpnas_l2', 'fpnas_s1pp', 'fpnas_s2pp', 'fpnas_s3pp', 'fpnas_s4pp',
    'register_arch', 'resolve_arch',
]
