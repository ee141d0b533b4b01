"""The search: a distribution over architectures learned by gradient descent (main paper, section 3).

* `loop`: `Search`, `SearchConfig` and the `Evaluator` protocol: the method
* `distribution`: P(A | alpha), factorised and joint
* `estimator`: the gradient, equation (2)
* `evaluator`: the supernet as what is searched
* `halves`: the two halves of the images
* `options`, `setup`, `run`: from options to a finished search
* `folder`, `report`: what it writes
"""
from .distribution import Factorized, Joint, load_distribution
from .loop import Evaluator, Search, SearchConfig

__all__ = ['Evaluator', 'Factorized', 'Joint', 'Search', 'SearchConfig', 'load_distribution']
