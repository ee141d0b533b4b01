"""Training: timm's parts in one loop, with timm's options and the paper's recipes.

* `options`, `setup`, `run`: from options to a finished run
* `network`, `data`, `task`: what is trained, on what, with which loss
* `epoch`: one pass over the images
* `validate`: loss and accuracy
* `checkpoints`, `workers`: what makes a resumed run exact
"""
from .run import train

__all__ = ['train']
