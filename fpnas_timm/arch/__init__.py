"""Architectures: the architecture string, its parts and its exact cost. Needs neither torch nor timm.

* `encoding`: `Arch` and its parts; strings and JSON in both directions
* `tokens`: the grammar of the string
* `choices`: tables of the non-linearities, kernels and splits that a group may have
* `checks`: limits, and the wording of errors
* `sizes`: widths and map sizes that follow from an architecture
* `edit`: changes a group or a block
* `cost`: exact multiply-adds and parameters
"""
from .checks import ArchError
from .encoding import Arch, Block, Conv, Group

__all__ = ['Arch', 'ArchError', 'Block', 'Conv', 'Group']
