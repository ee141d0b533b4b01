"""The named models.

* `strings`: their architecture strings (reconstructions), data only
* `peers`: the costs of small networks of timm, data only
* `names`: `resolve_arch`: from a name or a string to the architecture
* `models`: timm entrypoints and cfgs; `register_arch`
* `report`: description of a model, and its counts compared with fvcore's and Table B.1's
* `reconstruct`: how the strings are derived from the paper
"""
from typing import TYPE_CHECKING

from .._lazy import lazy_names
from .names import resolve_arch
from .strings import ARCHS

if TYPE_CHECKING:
    from .models import (
        fpnas,
        fpnas_l0,
        fpnas_l1,
        fpnas_l2,
        fpnas_s1pp,
        fpnas_s2pp,
        fpnas_s3pp,
        fpnas_s4pp,
        known_weights,
        register_arch,
    )

__all__ = [
    'ARCHS', 'fpnas', 'fpnas_l0', 'fpnas_l1', 'fpnas_l2', 'fpnas_s1pp', 'fpnas_s2pp', 'fpnas_s3pp', 'fpnas_s4pp',
    'known_weights', 'register_arch', 'resolve_arch',
]

__getattr__, __dir__ = lazy_names(
    __name__, dict.fromkeys(['fpnas', *ARCHS, 'known_weights', 'register_arch'], 'models')
)
