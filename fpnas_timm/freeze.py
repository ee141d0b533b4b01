"""Leave the first layers of a network as they are: no gradients, batch norms with their running statistics."""
from timm.models import group_parameters
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from .errors import UsageError

__all__ = ['Frozen', 'freeze']


class Frozen:
    """The frozen batch norms of a network; call `eval` after each `model.train()`."""

    def __init__(self, norms: list[nn.Module], num_params: int) -> None:
        self.norms = norms
        self.num_params = num_params

    def eval(self) -> None:
        """Keep the running statistics: use them, and do not change them."""
        for norm in self.norms:
            norm.eval()


def freeze(model: nn.Module, layers: str) -> Frozen:
    """Freeze the first layers, in place.

    Args:
        model: with timm's `group_matcher`, whose layers count from the stem (0) on.
        layers: how many, or 'all' but the classifier.

    Raises:
        UsageError: not a number of layers of this model, or the model has no `group_matcher`.
    """
    head = {id(p) for p in model.get_classifier().parameters()}
    if layers == 'all':
        frozen = {name for name, p in model.named_parameters() if id(p) not in head}
    else:
        if not hasattr(model, 'group_matcher'):
            raise UsageError(f'--freeze {layers}: this model has no layers to count (no group_matcher): use `all`')
        groups = group_parameters(model, model.group_matcher())
        count = int(layers) if layers.isdigit() else 0
        if not 0 < count < len(groups):
            raise UsageError(f'--freeze {layers}: expected 1 to {len(groups) - 1} layers, or `all` but the classifier')
        frozen = {name for layer in range(count) for name in groups[layer]}
    for name, p in model.named_parameters():
        if name in frozen:
            p.requires_grad = False
    norms = [
        module
        for module in model.modules()
        if isinstance(module, _BatchNorm) and (p := next(module.parameters(), None)) is not None and not p.requires_grad
    ]
    return Frozen(norms, sum(p.numel() for p in model.parameters() if not p.requires_grad))
