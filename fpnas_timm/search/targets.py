"""The budgets that the options name: multiply-adds, parameters and time, as windows of costs."""
import math
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

import torch

from ..arch import Arch
from ..arch.cost import Cost
from ..device.latency_table import COST as LATENCY
from ..errors import UsageError
from ..spaces import MBConvSpace
from ..spaces.budgets import Window, shown_ms
from ..spaces.costs import AdditiveCost, network_costs
from ..spaces.decode import InfeasibleError, decode
from .candidates import CandidateConfig
from .distribution import Factorized
from .loop import SearchConfig
from .within import network_sampler

__all__ = ['budget_windows', 'by_name', 'check_target', 'other_targets', 'small_contexts']

CONTEXTS, LARGER = 64, 1.5  # of `small_contexts`: number, and how much larger random networks are on average


def other_targets(args: Namespace) -> dict[str, float]:
    """The budgets of other costs than the multiply-adds."""
    given = {'params': args.target_params, LATENCY: args.target_latency}
    return {name: target for name, target in given.items() if target is not None}


def budget_windows(config: SearchConfig | CandidateConfig) -> dict[str, Window]:
    """The smallest and the largest value of each cost that the budgets allow; empty without budgets."""
    targets = {**({} if config.target is None else {'macs': config.target}), **config.targets}
    windows: dict[str, Window] = {}
    for name, target in targets.items():
        low, high = target * (1 - config.tolerance), target
        windows[name] = (math.ceil(low), math.floor(high)) if name in Cost._fields else (low, high)
    return windows


def by_name(windows: dict[str, Window], others: Sequence[AdditiveCost]) -> dict[str, Any]:
    """The windows as the decode takes them: `macs`, `params` and `others`."""
    return {
        'macs': windows.get('macs'), 'params': windows.get('params'),
        'others': [(cost, windows[cost.name]) for cost in others if cost.name in windows],
    }


def small_contexts(
        seed: int, space: MBConvSpace, config: SearchConfig | CandidateConfig, num_classes: int, in_chans: int,
        others: Sequence[AdditiveCost],
) -> list[Arch] | None:
    """Random networks within the budgets, if random ones of the space are much larger than those; else None.

    The blocks of a fitted supernet are fitted to what they produce (`FittedSuperNet.fit`). Measured with a network at a
    half and a quarter of its multiply-adds: docs/results.md. Arguments as in `check_target`.
    """
    windows = budget_windows(config)
    generator = torch.Generator().manual_seed(seed)
    costs = [c for c in (*network_costs(space, num_classes, in_chans), *others) if c.name in windows]
    archs = [space.sample(generator) for _ in range(CONTEXTS)]
    if not any(sum(map(cost, archs)) / len(archs) > LARGER * windows[cost.name][1] for cost in costs):
        return None
    draw = network_sampler(space, num_classes=num_classes, in_chans=in_chans, **by_name(windows, others))
    return [space.to_arch(draw(generator)) for _ in range(CONTEXTS)]


def check_target(
        space: MBConvSpace, config: SearchConfig | CandidateConfig, num_classes: int, in_chans: int,
        others: Sequence[AdditiveCost] = (),
) -> None:
    """Raise UsageError if no architecture of the space is within the budgets, of each alone or of all at once.

    Args:
        space: the search space.
        config: the settings, with the targets.
        num_classes, in_chans: as for `arch.cost.cost`.
        others: the costs of the targets that are neither multiply-adds nor parameters.
    """
    windows = budget_windows(config)
    for name, (low, high) in windows.items():
        if low > high:
            target = config.target if name == 'macs' else config.targets[name]
            raise UsageError(
                f'--target-{name} {target:g} with --tolerance {config.tolerance:g}: no whole number lies between '
                'them; write 66M for 66 million'
            )
    for cost in others:
        fastest, slowest = cost.range()
        if cost.name == LATENCY and cost.name in windows and windows[cost.name][1] < fastest:
            raise UsageError(
                f'--target-latency {shown_ms(windows[cost.name][1])}: by the table, the fastest network of space '
                f'{space.name!r} takes {shown_ms(fastest)}, the slowest {shown_ms(slowest)}: expected more than that'
            )
    uniform = Factorized(space).log_probs()
    for names in [[name] for name in windows] + ([[*windows]] if len(windows) > 1 else []):
        some = {name: windows[name] for name in names}
        try:
            decode(space, uniform, num_classes=num_classes, in_chans=in_chans, **by_name(some, others))
        except InfeasibleError as e:
            options = ' and '.join(_option(name, windows[name][1]) for name in names)
            raise UsageError(f'{options}{" exclude each other" if len(names) > 1 else ""}: {e}') from None


def _option(name: str, target: float) -> str:
    return f'--target-{name} {shown_ms(target) if name == LATENCY else f"{target:,}"}'
