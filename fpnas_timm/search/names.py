"""Names that the options of a search share with its code. No torch, so that `--help` needs none."""

__all__ = ['ARGS_FILE', 'COST_FORMS']

ARGS_FILE = 'args.yaml'  # the options of a search, in its folder
COST_FORMS = ('relative', 'absolute', 'expected', 'two-sided')  # of the cost in the loss, see `estimator.budget_cost`
