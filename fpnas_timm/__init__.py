"""FP-NAS (Fast Probabilistic Neural Architecture Search, CVPR 2021) for timm: importing this registers the models.

The import itself needs no torch: if timm is not imported yet, the models are registered when it is (`_register.py`).
"""
from typing import TYPE_CHECKING

from . import _register
from ._lazy import lazy_names
from ._version import __version__
from .arch import Arch, ArchError
from .arch.cost import cost
from .spaces import get_space

if TYPE_CHECKING:
    from .zoo.models import register_arch

__all__ = ['Arch', 'ArchError', '__version__', 'cost', 'get_space', 'register_arch']

__getattr__, __dir__ = lazy_names(__name__, {'register_arch': 'zoo.models'})

_register.with_timm()
