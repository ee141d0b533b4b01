"""The network of an architecture, and the supernet, which shares weights among all architectures of a space.

* `blocks`: `ConvNormAct`, `SplitAttention`, `MBConv`
* `fused`: `FusedSplitAttention`, for inference
* `network`: `FPNAS`, with timm's complete model API
* `elastic`: the supernet's layers, which run at any width with slices of shared weights
* `supernet`: `SuperNet`
* `shared_pass`: several architectures of a supernet at once; what they have in common is run once
"""
from typing import TYPE_CHECKING

from .._lazy import lazy_names

if TYPE_CHECKING:
    from .network import FPNAS, checkpoint_filter_fn, feature_levels
    from .supernet import SuperNet

__all__ = ['FPNAS', 'SuperNet', 'checkpoint_filter_fn', 'feature_levels']

__getattr__, __dir__ = lazy_names(__name__, {
    'FPNAS': 'network', 'checkpoint_filter_fn': 'network', 'feature_levels': 'network',
    'SuperNet': 'supernet',
})
