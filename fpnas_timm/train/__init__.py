"""Training: timm's parts in one loop, with timm's options and the paper's recipes.

* `options`, `validate_options`: the command lines' options
* `setup`, `arguments`: from options to a `Run`, and to plain arguments of its parts
* `run`: `train()`, and the loop over the epochs
* `network`, `data`, `task`: what is trained, on what, with which loss
* `epoch`: one pass over the images
* `validate`: loss and accuracy
* `folder`: what a run writes
* `checkpoints`, `workers`: what makes a resumed run exact
"""
from typing import TYPE_CHECKING

from .._lazy import lazy_names

if TYPE_CHECKING:
    from .run import TrainResult, train

__all__ = ['TrainResult', 'train']

__getattr__, __dir__ = lazy_names(__name__, {'TrainResult': 'run', 'train': 'run'})
