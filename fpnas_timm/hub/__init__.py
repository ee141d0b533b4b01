"""To and from the Hub, in timm's own format.

    push('output/train/RUN', 'ORG/NAME')          # weights, config, card and picture
    pull('ORG/NAME', 'model')                     # a folder for local-dir:
    verify('model')                               # hash, string, budgets, a forward pass
"""
from .pull import pull, verify
from .push import push

__all__ = ['pull', 'push', 'verify']
