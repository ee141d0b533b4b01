"""The network of an architecture, and the supernet that shares its weights among all architectures of a space.

* `blocks`: `ConvNormAct`, `SplitAttention`, `MBConv`
* `network`: `FPNAS`, with timm's whole model API
* `elastic`: the same layers at any width, as slices of shared weights
* `supernet`: `SuperNet`
"""
from .network import FPNAS, checkpoint_filter_fn, feature_levels
from .supernet import SuperNet

__all__ = ['FPNAS', 'SuperNet', 'checkpoint_filter_fn', 'feature_levels']
