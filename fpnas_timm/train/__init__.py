"""Training: timm's parts in one loop, with timm's options and the paper's recipes.

* `options`, `setup`, `run`: from options to a finished run
* `network`, `data`, `task`: what is trained, on what, with which loss
* `epoch`: one pass over the images
* `validate`: loss and accuracy
* `checkpoints`, `workers`: what makes a resumed run exact
"""
from typing import TYPE_CHECKING

from .._lazy import lazy_names

if TYPE_CHECKING:
    from .run import train
    from .validate import validate

__all__ = ['train', 'validate']

__getattr__, __dir__ = lazy_names(__name__, {
    'train': 'run',
    'validate': 'validate',
})
