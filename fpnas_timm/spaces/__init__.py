"""Which networks a search may choose. Needs no torch.

* `space`: `SearchSpace`, all that the search knows of a space
* `mbconv`: `MBConvSpace`, whose choices are architectures
* `named`: the paper's spaces
* `decode`: the most probable architecture within budgets (imported on its own: it needs NumPy and SciPy)
"""
from .mbconv import MBConvSpace, Row, steps
from .named import get_space, list_spaces
from .space import Choices, LogProbs, SearchSpace

__all__ = ['Choices', 'LogProbs', 'MBConvSpace', 'Row', 'SearchSpace', 'get_space', 'list_spaces', 'steps']
