"""The final of a search on images: which architectures take part, its state in the output folder, and its log lines."""
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from ..errors import RunError, UsageError
from ..runs.checkpoints import load_checkpoint, save_checkpoint
from ..runs.files import write_jsonl
from ..runs.processes import Stop, from_primary, log_on_primary
from ..runs.progress import shows_progress
from ..spaces import Choices
from ..spaces.decode import InfeasibleError
from .candidates import CandidateSearch
from .finalists import Candidate, Finals
from .folder import stamp
from .image_evaluator import fingerprint
from .loop import Search
from .names import DEFAULT_FINALISTS
from .refine import Refinement, different
from .strategies import AnySearch

if TYPE_CHECKING:
    from .setup import Setup

__all__ = ['FINAL_STATE', 'check_finalists', 'hold_final', 'say_result']

FINAL_STATE = 'finalists.pt'  # in the folder of the search
REFINEMENT_STATE, REFINEMENT = 'refinement.pt', 'refinement.jsonl'

_logger = logging.getLogger('search')


def check_finalists(search: AnySearch, count: int | None) -> None:
    """Raise UsageError if there are fewer than `count` different networks within the budget (None: any number will do).

    Args:
        search: the search, before its first step: all architectures are equally probable.
        count: the number that was asked for.
    """
    if count is None:
        return
    if isinstance(search, CandidateSearch):
        if count > search.config.evaluations:
            raise UsageError(
                f'--finalists {count}: expected at most --evaluations, {search.config.evaluations}: finalists are the '
                'best of the architectures that were scored'
            )
        return
    found = len(search.finalists(count))
    if found == count:
        return
    within = 'the budget' if search.budgets.windows else f'space {search.space.name!r}'
    raise UsageError(
        f'--finalists {count}: there are only {found} different networks within {within}: expected at most {found}'
    )


def hold_final(setup: 'Setup', stop: Stop) -> Finals | None:
    """Score, and if asked for train, the finalists of a finished search.

    Args:
        setup: its search is at the end of the last epoch.
        stop: checked after every batch.

    Returns:
        The final; None if it was stopped, with its state saved.

    Raises:
        RunError: the learned distribution excludes every architecture within the budget, or the disk is full.
    """
    search, evaluator = setup.search, setup.evaluator
    asked = setup.finalists or DEFAULT_FINALISTS
    mark = {**stamp(setup.record, setup.settings), 'search': _fingerprint(search)}

    def begin() -> tuple[list[Choices], dict[str, Any] | None]:
        if (state := _saved_state(setup.folder / FINAL_STATE, mark)) is not None:
            return [candidate[0] for candidate in state['candidates']], state
        try:
            if isinstance(search, Search):
                return search.finalists(asked), None
            return different(evaluator.space, search.finalists(len(search.scored)), asked), None
        except InfeasibleError as e:
            raise RunError(str(e)) from None

    archs, state = from_primary(begin, setup.rank, setup.world_size)
    spent = 0.0
    if setup.refine and state is None:
        refinement = _refine(setup, archs, mark, stop)
        if refinement is None:
            return None
        archs, spent = refinement.finalists(archs[0], asked), refinement.seconds
    candidates = [Candidate(arch, None) for arch in archs]
    if search.distribution is not None:
        candidates = [Candidate(*pair) for pair in zip(archs, search.distribution.log_prob(archs).tolist())]
    final = Finals(
        evaluator, candidates, setup.calibration_batches, setup.finalist_epochs, search.config.epochs,
        setup.open_optimizer, shows_bar=setup.rank == 0 and shows_progress(),
        shows_params='params' in search.config.targets,
    )
    final.seconds = spent
    if state is not None:
        final.load_state_dict(state)
    if len(candidates) < asked:
        where = 'within the budget' if isinstance(search, Search) else 'scored'
        log_on_primary(_logger, f'different networks {where}: {len(candidates)}, all of them finalists')

    def save() -> None:
        if setup.rank == 0:
            save_checkpoint(setup.folder / FINAL_STATE, {**final.state_dict(), **mark})

    return final if final.run(stop, save) else None


def _refine(setup: 'Setup', first: list[Choices], mark: Mapping[str, Any], stop: Stop) -> Refinement | None:
    """The refinement at its end; None if it was stopped, with its state saved."""
    path = setup.folder / REFINEMENT_STATE
    search = cast(Search, setup.search)
    refinement = Refinement(
        search, setup.evaluator, first, setup.refine, setup.settings['seed'], world_size=setup.world_size,
        shows_bar=setup.rank == 0,
    )
    state = from_primary(lambda: _saved_state(path, mark), setup.rank, setup.world_size)
    if state is not None:
        refinement.load_state_dict(state)

    def save() -> None:
        if setup.rank == 0:
            save_checkpoint(path, {**refinement.state_dict(), **mark})
            write_jsonl(setup.folder / REFINEMENT, refinement.rows())

    log_on_primary(_logger, (
        f'refinement: {setup.refine:,} networks are scored with the final weights on the same '
        f'{refinement.scores.images:,} images each'
    ))
    if refinement.run(stop, save):
        return refinement
    log_on_primary(_logger, f'the refinement was stopped after {refinement.candidates.num_samples:,} networks')
    return None


def _fingerprint(search: AnySearch) -> int:
    """A number that tells what a search learned: from alpha, or from the scores of the candidates."""
    if isinstance(search, CandidateSearch):
        return fingerprint(torch.tensor([score for _, score in search.scored], dtype=torch.float64))
    return fingerprint(search.distribution.alpha)


def _saved_state(path: Path, mark: Mapping[str, Any]) -> dict[str, Any] | None:
    """The state of the final or of the refinement at this path; None if there is none, or one of another search."""
    what = 'the finalists start anew' if path.name == FINAL_STATE else 'the refinement starts anew'
    try:
        state = load_checkpoint(path)
    except FileNotFoundError:
        return None
    except RunError as e:
        _logger.warning('%s: %s', e, what)
        return None
    if any(state.get(k) != v for k, v in mark.items()):
        _logger.warning('%s: of another search than this one: %s', path, what)
        return None
    return state


def say_result(final: Finals) -> None:
    """Log which finalist is the result of a final at its end; without a final it would be the first candidate.

    Both are compared in the last round that both took part in: after the same training, unless that of one failed.
    """
    best, count = final.ranked()[0], len(final.candidates)
    name = 'the best candidate' if final.candidates[0].log_prob is None else 'the most probable network'
    own, first = final.scores[best], final.scores[0]
    if best == 0:
        which = 'the only finalist' if count == 1 else f'the best of {count} finalists'
        log_on_primary(_logger, f'{name} is {which}: {own[-1].score:.2f} %{_after(final.rounds(best, len(own) - 1))}')
        return
    last = len(first) - 1
    if len(own) == 1 and own[0].agreement is not None and first[0].agreement is not None:
        log_on_primary(_logger, (
            f'the result is not {name}: of {count} finalists, fitted as a whole, its outputs are closest to those of '
            f'the source (cross-entropy {-own[0].agreement:.3f} nats, {name} {-first[0].agreement:.3f})'
        ))
        return
    further = ''
    if len(own) > len(first):
        further = f'; it has {own[-1].score:.2f} %{_after(final.rounds(best, len(own) - 1))}'
    after = ['', _after(final.rounds(0, last))]
    if final.rounds(best, last) != final.rounds(0, last):  # the training of one of them failed
        after = [_after(final.rounds(i, last)) or ' without training' for i in (best, 0)]
    log_on_primary(_logger, (
        f'the result is not {name}: of {count} finalists, it has {own[last].score:.2f} %{after[0]}, {name} '
        f'{first[last].score:.2f} %{after[1]} (standard error of each about {own[last].top1_se:.2f}){further}'
    ))


def _after(rounds: int) -> str:
    """How often a finalist had been trained on when it was scored, in words."""
    return f' after {rounds} round{"s" * (rounds > 1)} of training' if rounds else ''
