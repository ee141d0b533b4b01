"""What a finished search has learned, read from its folder: the distribution, without the share of the search's budget.

A search with a budget moves alpha for the images and for the budget. The cost form 'multiplier' records the second
part, so it can be given back (`multiplier.without_budget`); in the other forms both are one gradient.
"""
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..draw.searched import Searched
from ..errors import UsageError, one_line
from ..spaces.budgets import shown_ms
from .distribution import KINDS, Distribution, load_distribution
from .lines import BETA, DISTRIBUTION
from .multiplier import without_budget
from .names import CHECKPOINT, MULTIPLIER, RESULT
from .page import read_search
from .state import read_checkpoint

__all__ = ['Learned', 'read_learned']


@dataclass(frozen=True)
class Learned:
    """A finished search.

    Attributes:
        folder: its output folder.
        searched: its settings, space, history and result.
        distribution: what it learned; without the share of the budget, where that is known.
        about_budget: what became of that share, in words.
        budget_given_back: whether it was given back.
        num_classes: number of classes that costs are counted for.
        in_chans: number of image channels.
        sampled: smallest and largest multiply-adds of what is recorded of the samples for alpha; None if nothing is.
        state: the content of the checkpoint; None if there is none.
    """

    folder: Path
    searched: Searched
    distribution: Distribution
    about_budget: str
    budget_given_back: bool
    num_classes: int
    in_chans: int
    sampled: tuple[float, float] | None
    state: Mapping[str, Any] | None


def read_learned(folder: str | Path) -> Learned:
    """Read the folder of a finished search.

    Raises:
        UsageError: it is not that of a search with a distribution, the search is not finished, or a file is damaged.
        RunError: no checkpoint can be read.
    """
    folder = Path(folder)
    searched = read_search(folder)
    if searched.strategy != 'fp-nas':
        raise UsageError(
            f'{folder}: a search with --strategy {searched.strategy} learns no distribution that other networks could '
            'be decoded from: expected one with fp-nas, the default'
        )
    if searched.result is None:
        far = searched.progress.removesuffix(', not finished')
        raise UsageError(f'{folder}: the search there is not finished ({far}): continue it with --resume {folder}')
    try:
        state = read_checkpoint(folder)
    except FileNotFoundError:
        state = None
    if state is not None and state.get('epoch', 0) < len(searched.history):
        raise UsageError(
            f'{folder}: {CHECKPOINT} is missing or damaged, and the checkpoint before it is of epoch '
            f'{state.get("epoch", 0)} of {len(searched.history)}: restore it, or delete {RESULT} and '
            f'finish the search again with --resume {folder}'
        )
    distribution, taken = _saved(folder, searched, state)
    about, given_back = _about_budget(searched, state, taken)
    num_classes = searched.num_classes
    if num_classes is None:
        raise UsageError(f'{folder}: halves.json does not list the classes of the search: restore it')
    costs = [c for row in searched.history for c in (row.get('sampled') or {}).get('cost', [])]
    return Learned(
        folder, searched, without_budget(distribution, taken) if taken is not None else distribution, about, given_back,
        num_classes, int(searched.settings.get('in_chans') or 3), (min(costs), max(costs)) if costs else None, state,
    )


def _saved(
        folder: Path, searched: Searched, state: Mapping[str, Any] | None
) -> tuple[Distribution, torch.Tensor | None]:
    """The distribution as it was at the end, and what of alpha is the budget's; None if that is not known."""
    if state is None:
        path = folder / DISTRIBUTION
        try:
            return load_distribution(path, searched.space), None
        except (OSError, ValueError) as e:
            reason = one_line(e).removeprefix(f'{path}: ')
            raise UsageError(f'{path}: cannot be read ({reason}): restore it') from None
    try:
        distribution = KINDS[state['kind']](searched.space)
        with torch.no_grad():
            distribution.alpha.copy_(state['alpha'])
    except (KeyError, RuntimeError, TypeError) as e:
        raise UsageError(f'{folder / CHECKPOINT}: not the state of this search ({one_line(e)}): restore it') from None
    return distribution, (state.get('budgets') or {}).get('taken')


def _about_budget(
        searched: Searched, state: Mapping[str, Any] | None, taken: torch.Tensor | None
) -> tuple[str, bool]:
    """What the user is told of the share of the budget, and whether it was given back."""
    targets = {'multiply-adds': searched.target, 'parameters': searched.target_params}
    budgets = [f'{value:,.0f} {unit}' for unit, value in targets.items() if value]
    budgets += [shown_ms(searched.target_latency)] if searched.target_latency else []
    asked = ' and '.join(budgets)
    if not asked:
        return 'searched without a budget', False
    form = searched.settings.get('cost_form')
    if form != MULTIPLIER:
        return (
            f'searched for {asked} with --cost-form {form}, where the share of the budget cannot be told from that of '
            'the images: decoded as it is', False
        )
    if taken is None:
        why = f'there is no {CHECKPOINT}' if state is None else 'an earlier version did not record it'
        return f'searched for {asked}; the share of the budget is not known ({why}): decoded as it is', False
    betas = [f'{value:.2f}' for key, value in searched.history[-1].items() if key.startswith(BETA)]
    shown = f' (multiplier {", ".join(betas)})' if betas else ''
    return f'searched for {asked}; the share of the budget{shown} is given back', True
