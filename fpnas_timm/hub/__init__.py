"""Exchanging models with the Hugging Face Hub in timm's format.

* `push`: uploading a model
* `pull`: downloading and verifying a model
* `card`: the model card

    from fpnas_timm.hub import pull, push, verify

    push('output/train/RUN', 'ORG/NAME')          # weights, config, card and picture
    pull('ORG/NAME', 'model')                     # a folder for local-dir:
    verify('model')                               # hash, string, budgets, a forward pass

* `pull`: fetch and verify
* `push`: publish
* `card`: the model card
"""
from typing import TYPE_CHECKING

from .._lazy import lazy_names

if TYPE_CHECKING:
    from .pull import pull, verify
    from .push import push

__all__ = ['pull', 'push', 'verify']

__getattr__, __dir__ = lazy_names(__name__, {
    'pull': 'pull', 'push': 'push', 'verify': 'pull',
})
