"""Pictures. matplotlib is only imported here, and only when something is drawn.

* `arch`: an architecture, as Figure B.1
* `search`: the course of a search
* `candidates`: that of one that scores candidates
* `training`: losses, accuracies and learning rate
"""
from .arch import draw_arch

__all__ = ['draw_arch']
