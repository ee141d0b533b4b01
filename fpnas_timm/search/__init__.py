"""The search: a distribution over architectures learned by gradient descent (main paper, section 3).

* `loop`: `Search`, `SearchConfig` and the `Evaluator` protocol: the method
* `distribution`: P(A | alpha), factorised and joint
* `likeliest`: its most probable architectures within a budget
* `estimator`: the gradient, equation (2)
* `expected`: the expected cost of a distribution, in closed form
* `budgets`: the budgets of a search, in its loss and in its result; `cost_checks`: those that cannot be met
* `multiplier`, `mode`: budgets that a search meets by itself: the expected cost and the mode
* `sampled`: what of the sampled architectures is recorded
* `image_evaluator`: what every evaluator of a search on images has
* `evaluator`: the evaluator that trains and scores a supernet
* `fitted_evaluator`: the evaluator of sub-networks of a trained network, fitted by least squares
* `weight_training`: which architectures a step trains, with which loss; the average of the weights
* `work_split`: how several processes divide the work of a step
* `dataset`, `joined`, `halves`: the images, and which of them train the weights or alpha
* `candidates`, `evolution`, `scores`, `within`: the baselines, which score single candidates within the budget
* `targets`, `latency`: the budgets that the options name; time as one of them
* `strategies`, `strategy_options`: `--strategy`: the method or one of the baselines
* `refine`: evolution from what was learned, with the final weights, before the finalists
* `finalists`, `scoring`, `finalist_training`, `final_stage`: the end: the most probable networks are scored
* `options`, `names`, `saved`, `setup`, `images`, `run`: from options to a finished search; `search()`
* `alpha_settings`: settings of alpha that fit the length of a search and its batches
* `start`: `--init-from`: from a trained network
* `folder`, `report`, `lines`, `result`: the files and log lines that a search writes; `diverged`: when it fails
* `learned`, `family`, `family_members`, `family_scores`: networks for many budgets from what one search learned
* `state`: the checkpoint of a search
* `page`: its report as a web page
"""
from typing import TYPE_CHECKING

from .._lazy import lazy_names

if TYPE_CHECKING:
    from .distribution import Factorized, Joint, load_distribution
    from .family import decode_family
    from .loop import Evaluator, Search, SearchConfig
    from .result import SearchResult
    from .run import search

__all__ = [
    'Evaluator', 'Factorized', 'Joint', 'Search', 'SearchConfig', 'SearchResult', 'decode_family', 'load_distribution',
    'search',
]

__getattr__, __dir__ = lazy_names(__name__, {
    'SearchResult': 'result', 'search': 'run', 'decode_family': 'family',
    'Evaluator': 'loop', 'Search': 'loop', 'SearchConfig': 'loop',
    'Factorized': 'distribution', 'Joint': 'distribution', 'load_distribution': 'distribution',
})
