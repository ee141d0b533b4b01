"""Search spaces. Does not need torch.

* `space`: `SearchSpace`, the interface that the search uses
* `mbconv`: `MBConvSpace`, spaces of MBConv networks
* `named`: the paper's spaces
* `around`: the sub-networks of a network
* `samples`: random networks of a space, with their costs
* `costs`: additive costs: multiply-adds, parameters and others as tables
* `budgets`: budgets as people write them: a number, '3M', '5ms', a window
* `log_probs`: the form in which the decode takes log-probabilities
* `decode`: the most probable architecture within budgets (import it explicitly, since it needs NumPy and SciPy)
* `paths`, `milp`: two ways to find and prove it (in the same way)
* `ranked`: the most probable ones in order (in the same way)
"""
from .mbconv import MBConvSpace, Row, steps
from .named import get_space, list_spaces
from .space import Choices, LogProbs, SearchSpace

__all__ = ['Choices', 'LogProbs', 'MBConvSpace', 'Row', 'SearchSpace', 'get_space', 'list_spaces', 'steps']
