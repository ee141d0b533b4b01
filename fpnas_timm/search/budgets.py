"""The budgets of a search: their part of the loss, their windows for the result, and what is saved of them."""
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from ..errors import UsageError
from ..spaces import Choices, SearchSpace
from ..spaces.costs import AdditiveCost
from .cost_checks import check_costs, check_windows
from .distribution import Distribution
from .estimator import budget_cost
from .multiplier import Limit, Multiplier

if TYPE_CHECKING:
    from .loop import SearchConfig

__all__ = ['Budgets', 'window_of']

MAIN = 'cost'  # the name of the evaluator's cost, if nothing else is known of it


def window_of(target: float, tolerance: float) -> tuple[float, float]:
    """The smallest and the largest cost that a result may have."""
    return target * (1 - tolerance), target


class Budgets:
    """The budgets of one search.

    Attributes:
        windows: name of a cost -> smallest and largest value of the result; empty without a budget.
        multiplier: meets the budgets, with the cost form 'multiplier'; else None.
    """

    def __init__(
            self,
            config: 'SearchConfig',
            cost: Callable[[Choices], float],
            costs: Sequence[AdditiveCost],
            space: SearchSpace,
    ) -> None:
        """
        Args:
            config: the settings.
            cost: the evaluator's cost, which `config.target` is for.
            costs: additive costs; the first one is the evaluator's.
            space: the search space.

        Raises:
            UsageError: there is a target of a cost that is not given, or the cost form needs one; the costs are of
                another space or not the evaluator's; or no architecture is within the budgets.
        """
        check_costs(space, cost, costs)
        self.config = config
        known = {c.name: c for c in costs}
        main = costs[0].name if costs else MAIN
        if unknown := [name for name in config.targets if name not in known or name == main]:
            raise UsageError(f'targets: no cost {unknown[0]!r} beside {main!r}: expected one of {[*known][1:]}')
        targets = {**({main: config.target} if config.target else {}), **config.targets}
        self.costs: dict[str, Callable[[Choices], float]] = {**known, main: cost}
        self.targets = targets
        self.windows = {name: window_of(target, config.tolerance) for name, target in targets.items()}
        check_windows({
            _setting(name, name == main, targets[name]): (known[name], window)
            for name, window in self.windows.items() if name in known
        })
        self.multiplier: Multiplier | None = None
        if config.cost_form == 'multiplier' and targets:
            if not costs:
                raise UsageError(
                    "cost_form 'multiplier' needs the cost as tables: expected Search(.., costs=[cost]) with an "
                    'AdditiveCost, such as spaces.costs.tabulated makes of a function'
                )
            links = sorted({known[name].link or '' for name in targets} - {''})
            if len(links) > 1:
                raise UsageError(
                    f"cost_form 'multiplier': the costs with targets are linked by {' and '.join(links)}: expected the "
                    'same variable, or none'
                )
            self.multiplier = Multiplier([Limit(known[name], *window) for name, window in self.windows.items()])

    def over(self, archs: Sequence[Choices], main: torch.Tensor) -> torch.Tensor:
        """C(A_k) of each architecture, the sum over the budgets, shape (K,); `main` are the evaluator's costs."""
        form, total = self.config.cost_form, torch.zeros_like(main)
        for name, target in self.targets.items():
            if self.config.target and name == next(iter(self.targets)):
                costs = main
            else:
                costs = torch.tensor([self.costs[name](arch) for arch in archs], dtype=main.dtype)
            part = budget_cost(costs, target, form)
            if form != 'expected' or len(self.targets) == 1 or part.mean() > 0:
                total = total + part
        return total

    def meet(self, distribution: Distribution, progress: float) -> None:
        """After a step: change alpha so that the budgets are met, if the cost form does that."""
        if self.multiplier is not None:
            self.multiplier.apply(distribution, progress)

    def allow(self, arch: Choices) -> bool:
        """Whether an architecture is within all budgets."""
        return all(low <= self.costs[name](arch) <= high for name, (low, high) in self.windows.items())

    @property
    def asked(self) -> str:
        """The windows in words."""
        several = len(self.windows) > 1
        return ' and '.join(
            f'{low:g} to {high:g}{f" ({name})" if several else ""}' for name, (low, high) in self.windows.items()
        )

    def figures(self, distribution: Distribution) -> dict[str, Any]:
        """What the history says of them at the end of an epoch."""
        return {} if self.multiplier is None else self.multiplier.figures(distribution)

    def state_dict(self) -> dict[str, Any] | None:
        """The state that a resumed search needs."""
        return None if self.multiplier is None else self.multiplier.state_dict()

    def load_state_dict(self, state: Mapping[str, Any] | None) -> None:
        """Restore a state returned by `state_dict`."""
        if self.multiplier is not None and state is not None:
            self.multiplier.load_state_dict(state)


def _setting(name: str, is_main: bool, target: float) -> str:
    """A budget in words, as it was given."""
    return f'{"target" if is_main else f"targets[{name!r}]"} {target:,.10g}'
