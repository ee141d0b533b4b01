"""Names used by both the options of a search and its code. Does not import torch, so that `--help` is fast."""

__all__ = ['ARGS_FILE', 'COST_FORMS']

ARGS_FILE = 'args.yaml'  # the options of a search, in its folder
COST_FORMS = ('relative', 'absolute', 'expected', 'two-sided')  # see `estimator.budget_cost`
