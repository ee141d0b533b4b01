"""Exchanging models with the Hugging Face Hub in timm's format.

    from fpnas_timm.hub import pull, push, verify

    push('output/train/RUN', 'ORG/NAME')          # weights, config, card and picture
    pull('ORG/NAME', 'model')                     # a folder for local-dir:
    verify('model')                               # hash, string, budgets, a forward pass

* `push`: uploading a model
* `pull`: downloading a model to a folder
* `fetch`: its files, to the Hub's cache
* `verify`: what is checked
* `stage`: folders that are filled completely or not at all
* `card`: the model card
"""
from typing import TYPE_CHECKING

from .._lazy import lazy_names

if TYPE_CHECKING:
    from .pull import pull
    from .push import push
    from .verify import verify

__all__ = ['pull', 'push', 'verify']

__getattr__, __dir__ = lazy_names(__name__, {
    'pull': 'pull', 'push': 'push', 'verify': 'verify',
})
