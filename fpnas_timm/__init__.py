"""FP-NAS (Fast Probabilistic Neural Architecture Search, CVPR 2021) for timm: importing this registers the models."""
from ._version import __version__
from .arch import Arch, ArchError
from .arch.cost import cost
from .spaces import get_space
from .zoo import register_arch  # importing it registers the models

__all__ = ['Arch', 'ArchError', '__version__', 'cost', 'get_space', 'register_arch']
