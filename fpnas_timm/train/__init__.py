"""Training: timm's parts in one loop, with timm's options and the paper's recipes.

* `options`, `option_checks`, `validate_options`: command-line options, and what does not go together
* `setup`, `arguments`, `images`, `schedule`: from options to a `Run` and to plain arguments of its parts
* `run`: `train()` and the loop over the epochs
* `inherit`: `--init-from`: from a trained network
* `network`, `data`, `sampling`, `task`: the network, the data, balanced sampling and the loss
* `start`: the model that `--model` names, and what of it starts from random weights
* `classes`, `channels`: what a model's folder says of it, matched with the data and the options
* `epoch`, `losses`: one pass over the training images, and its mean loss
* `validate`: loss and accuracy
* `accuracy`: accuracy of networks that run elsewhere, such as exported files
* `folder`: the files that a run writes
* `resume`, `state`: whether a run starts or goes on, and from what
* `checkpoints`, `workers`: exact resume
"""
from typing import TYPE_CHECKING

from .._lazy import lazy_names

if TYPE_CHECKING:
    from .run import TrainResult, train

__all__ = ['TrainResult', 'train']

__getattr__, __dir__ = lazy_names(__name__, {'TrainResult': 'run', 'train': 'run'})
