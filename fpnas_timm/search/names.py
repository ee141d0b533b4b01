"""Names used by both the options of a search and its code. Does not import torch, so that `--help` is fast."""

__all__ = [
    'ARGS_FILE', 'AROUND', 'CANDIDATES', 'CHECKPOINT', 'COST_FORMS', 'DEFAULT_FINALISTS', 'HISTORY', 'LATENCY_FILE',
    'MULTIPLIER', 'PREVIOUS', 'RECORD', 'REPORT', 'RESULT', 'SPACE_FILE', 'STRATEGIES', 'SUPERNETS', 'WEIGHT_ARCHS',
    'WEIGHT_DRAWS', 'WORK_SPLITS',
]

ARGS_FILE = 'args.yaml'  # the options of a search, in its folder
SPACE_FILE = 'space.json'  # its search space
LATENCY_FILE = 'latency.json'  # its latency table, if it has one
RECORD = 'halves.json'  # search space, data, halves and settings, compared on resume
HISTORY = 'history.jsonl'  # one row per epoch
CANDIDATES = 'candidates.jsonl'  # of a search without a distribution: what was scored
RESULT, REPORT = 'result.json', 'report.html'
CHECKPOINT, PREVIOUS = 'last.pt', 'last.previous.pt'  # its state, and that of one epoch before
AROUND = 'around'  # --space: the space around the source of --init-from
COST_FORMS = ('relative', 'absolute', 'expected', 'two-sided', 'multiplier')  # see `estimator.cost_weights`
MULTIPLIER = COST_FORMS[-1]
WEIGHT_ARCHS = ('sampled', 'largest', 'sandwich')  # see `weight_training.StepArchs`
WEIGHT_DRAWS = ('search', 'uniform', 'budget')
STRATEGIES = ('fp-nas', 'evolution', 'random')  # see `strategy`
SUPERNETS = ('fitted', 'trained')  # see `fitted_evaluator` and `evaluator`
WORK_SPLITS = ('data', 'archs')  # see `work_split.WorkSplit`
DEFAULT_FINALISTS = 8  # 8 passes over half of the images; an epoch of the search is K of them and K of training
