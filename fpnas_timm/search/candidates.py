"""Searches that compare single candidates instead of learning a distribution: the baselines of the method.

1. The weights are trained as in the method's warm-up: in each step, with architectures drawn uniformly from the space
   (one of them, by default: the single-path training of SPOS, Guo et al. 2020, arXiv:1904.00420).
2. With the weights as they are then, candidates within the budget are scored, all on the same validation images. A
   strategy proposes each of them, and is told its score. The best one is the result.

Like `loop.py`, this only depends on a `SearchSpace` and an `Evaluator`.
"""
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from ..errors import NonFiniteError, RunError, UsageError
from ..runs.processes import Stop
from ..spaces import Choices, SearchSpace
from ..spaces.decode import InfeasibleError
from .diverged import not_finite
from .loop import Evaluator
from .within import Draw

__all__ = ['CandidateConfig', 'CandidateSearch', 'RandomDraws', 'Strategy', 'draw_within']

ROUND = 50  # candidates per row of the history, and between two checkpoints
MAX_DRAWS = 100_000  # uniform draws outside of the budget, in a row
MAX_KNOWN = 1_000  # proposals of architectures that have been scored already, in a row

_logger = logging.getLogger('search')


class Strategy(Protocol):
    """What proposes the candidates."""

    name: str

    @property
    def ready(self) -> int:
        """How many candidates can be asked for before the first of them has its score, at least 1."""

    def ask(self, generator: torch.Generator) -> Choices:
        """The next candidate, within the budget."""

    def tell(self, arch: Choices, score: float) -> None:
        """The score of a candidate, in the order in which they were proposed."""

    def state_dict(self) -> dict[str, Any]:
        """The state that a resumed search needs."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state returned by `state_dict`."""


@dataclass(frozen=True)
class CandidateConfig:
    """The settings of a search that scores candidates.

    Attributes:
        epochs: number of epochs in which the weights are trained; 0 if there are none, as in a table.
        evaluations: number of candidates scored.
        weight_samples: number of architectures that a step trains.
        target: largest cost allowed, in the evaluator's unit (multiply-adds); None: no budget.
        targets: budgets of other costs by name; `draw` and the strategy keep to them.
        tolerance: candidates cost between target * (1 - tolerance) and target.
        repeats: score an architecture again if it is proposed again. Makes sense if scores are noisy, as in a table of
            accuracies; on a supernet, they would be the same.
        together: number of candidates that are scored in one call, if the strategy is `ready` for that. They may share
            parts of their forward passes, and processes may divide them.
    """

    epochs: int
    evaluations: int = 1000
    weight_samples: int = 1
    target: float | None = None
    targets: Mapping[str, float] = field(default_factory=dict)
    tolerance: float = 0.02
    repeats: bool = False
    together: int = 1

    def __post_init__(self) -> None:
        checks = [
            (self.epochs >= 0, f'epochs {self.epochs}: expected 0 or more'),
            (self.evaluations >= 1, f'evaluations {self.evaluations}: expected at least 1'),
            (self.weight_samples >= 1, f'weight_samples {self.weight_samples}: expected at least 1'),
            (self.target is None or self.target > 0, f'target {self.target}: expected a number above 0'),
            (self.together >= 1, f'together {self.together}: expected at least 1'),
            (0 < self.tolerance < 1, f'tolerance {self.tolerance}: expected a fraction between 0 and 1'),
        ]
        for good, message in checks:
            if not good:
                raise UsageError(message)

    def allows(self, cost: float) -> bool:
        """Whether an architecture of this cost is within the budget."""
        return self.target is None or self.target * (1 - self.tolerance) <= cost <= self.target


def draw_within(space: SearchSpace, cost: Callable[[Choices], float], config: CandidateConfig) -> Draw:
    """Draws uniformly until the cost is within the budget; for spaces in which that does not take long."""

    def draw(generator: torch.Generator) -> Choices:
        for _ in range(MAX_DRAWS):
            arch = space.sample(generator)
            if config.allows(cost(arch)):
                return arch
        target = config.target or math.inf
        raise InfeasibleError(
            f'none of {MAX_DRAWS:,} architectures drawn from space {space.name!r} costs '
            f'{target * (1 - config.tolerance):g} to {target:g}'
        )

    return draw


class RandomDraws:
    """The strategy `random`: all candidates are drawn independently."""

    name = 'random'

    def __init__(self, draw: Draw) -> None:
        """`draw` returns an architecture within the budget."""
        self.draw = draw
        self.ready = 10**9

    def ask(self, generator: torch.Generator) -> Choices:
        return self.draw(generator)

    def tell(self, arch: Choices, score: float) -> None:
        """Nothing is learned from it."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """There is none."""


class CandidateSearch:
    """A search with candidates, and its complete state; used like `Search`.

    Attributes:
        distribution: None: nothing is learned but the weights.
        epoch, step: the next step to take, both counted from 0. After the epochs that train the weights come rounds of
            `ROUND` candidates, each of which counts as a step.
        history: one dict per epoch or round: loss, mean cost, number of candidates scored so far, the best one.
        scored: the candidates and their scores, in order.
    """

    distribution = None

    def __init__(
            self,
            space: SearchSpace,
            evaluator: Evaluator,
            config: CandidateConfig,
            strategy: Strategy,
            draw: Draw,
            seed: int = 0,
            score: Callable[[Sequence[Choices]], torch.Tensor] | None = None,
            check_in_sync: Callable[[torch.Tensor], None] | None = None,
            vary: Draw | None = None,
    ) -> None:
        """
        Args:
            space: the search space.
            evaluator: trains the weights, and scores the candidates if there is no `score`.
            config: the settings.
            strategy: proposes the candidates.
            draw: any architecture within the budget, where the strategy only proposes what is known.
            seed: random seed of the architectures.
            score: scores of some architectures, the larger the better, float64, shape (K,) (default: the evaluator's
                log-likelihoods on the next validation batch).
            check_in_sync: for distributed searches: called with every score, must raise RunError if it differs between
                processes (default: no check).
            vary: tried before `draw` (default: nothing).
        """
        self.space, self.evaluator, self.config = space, evaluator, config
        self.strategy, self.draw, self.vary = strategy, draw, vary
        self.score, self.check_in_sync = score or evaluator.log_likelihoods, check_in_sync
        self.generator = torch.Generator().manual_seed(seed)
        self.epoch = self.step = 0
        self.history: list[dict[str, Any]] = []
        self.scored: list[tuple[Choices, float]] = []
        self._known: set[str] = set()
        self._sums: dict[str, float] = {}
        self._exhausted = False

    @property
    def num_samples(self) -> int:
        """Number of candidates scored so far."""
        return len(self.scored)

    @property
    def num_epochs(self) -> int:
        """Number of epochs and rounds."""
        return self.config.epochs + math.ceil(self.config.evaluations / ROUND)

    @property
    def num_steps(self) -> int:
        """Number of steps of this epoch, or of candidates of this round."""
        if self.epoch < self.config.epochs:
            return self.evaluator.steps_per_epoch
        return min(ROUND, self.config.evaluations - (self.epoch - self.config.epochs) * ROUND)

    def run(
            self,
            stop: Stop | None = None,
            on_step: Callable[['CandidateSearch', dict[str, float]], None] | None = None,
            on_epoch: Callable[['CandidateSearch'], None] | None = None,
    ) -> bool:
        """Search from the current state to the end; arguments and result as those of `Search.run`.

        Raises:
            RunError: a loss or score is not finite.
            InfeasibleError: there is no candidate within the budget.
        """
        while self.epoch < self.num_epochs and not self._exhausted:
            trains = self.epoch < self.config.epochs
            if trains:
                self.evaluator.start_epoch(self.epoch, self.step)
            while self.step < self.num_steps:
                number, figures = (1, self._train()) if trains else self._score_next()
                if not number:
                    self._exhausted = True
                    _logger.info(
                        'no architecture other than the %s scored was found within the budget: %s times each, %s%s and '
                        'draws of all that are within it gave known ones', f'{self.num_samples:,}', f'{MAX_KNOWN:,}',
                        self.strategy.name, ', mutations' if self.vary else '',
                    )
                    break
                self.step += number
                for name, value in figures.items():
                    self._sums[name] = self._sums.get(name, 0.0) + value * (1 if name == 'seconds' else number)
                if on_step is not None:
                    on_step(self, figures)
                if stop:
                    return False
            if self.step:
                self._end_epoch('weights' if trains else self.strategy.name)
                if on_epoch is not None:
                    on_epoch(self)
        return True

    def _train(self) -> dict[str, float]:
        """Draw architectures from the whole space and update the weights with them."""
        started = time.perf_counter()
        archs = [self.space.sample(self.generator) for _ in range(self.config.weight_samples)]
        costs = [self.evaluator.cost(arch) for arch in archs]
        try:
            loss = self.evaluator.train_step(archs)
        except NonFiniteError as e:
            raise RunError(not_finite(e, archs, self.space, self.epoch, self.step)) from None
        seconds = time.perf_counter() - started
        figures = {'k': len(archs), 'cost': sum(costs) / len(costs), 'seconds': seconds}
        return figures if loss is None else {**figures, 'train_loss': loss}

    def _score_next(self) -> tuple[int, dict[str, float]]:
        """Score the next candidates: their number, 0 if no other architecture was found, and the step's metrics."""
        started = time.perf_counter()
        archs: list[Choices] = []
        wanted = min(self.config.together, self.strategy.ready, self.num_steps - self.step)
        while len(archs) < wanted and (arch := self._propose()) is not None:
            self._known.add(self.space.describe(arch))
            archs.append(arch)
        if not archs:
            return 0, {}
        scores = self.score(archs)
        if scores.shape != (len(archs),):
            raise ValueError(f'scores has shape {tuple(scores.shape)}: expected ({len(archs)},), one per architecture')
        if self.check_in_sync is not None:
            self.check_in_sync(scores)
        if not scores.isfinite().all():
            error = NonFiniteError('the score', scores.tolist())
            raise RunError(not_finite(error, archs, self.space, self.epoch, self.step))
        for arch, score in zip(archs, scores.tolist()):
            self.strategy.tell(arch, score)
            self.scored.append((arch, score))
        mean_cost = sum(self.evaluator.cost(arch) for arch in archs) / len(archs)
        seconds = time.perf_counter() - started
        return len(archs), {'score': float(scores.mean()), 'cost': mean_cost, 'seconds': seconds}

    def _propose(self) -> Choices | None:
        """A candidate of the strategy; if it only proposes known ones, another; None if all that is found is known."""
        if self.config.repeats:
            return self.strategy.ask(self.generator)
        for ask in filter(None, (self.strategy.ask, self.vary, self.draw)):
            for _ in range(MAX_KNOWN):
                arch = ask(self.generator)
                if self.space.describe(arch) not in self._known:
                    return arch
        return None

    def _end_epoch(self, phase: str) -> None:
        means = {k: v / self.step for k, v in self._sums.items() if k != 'seconds'}
        row = {
            'epoch': self.epoch, 'phase': phase, **means, 'seconds': self._sums['seconds'],
            'num_samples': self.num_samples,
        }
        if self.scored:
            arch, score = self.best
            row |= {'best_score': score, 'best': self.space.describe(arch), 'best_cost': self.evaluator.cost(arch)}
        self.history.append(row)
        self._sums = {}
        self.epoch, self.step = self.epoch + 1, 0

    @property
    def best(self) -> tuple[Choices, float]:
        """The candidate with the largest score, and its score; of equal ones, the first."""
        return max(self.scored, key=lambda candidate: candidate[1])

    def result(self) -> Choices:
        """The best candidate."""
        return self.best[0]

    def finalists(self, count: int) -> list[Choices]:
        """The `count` best different candidates, the best first; fewer if there are."""
        found: dict[str, Choices] = {}
        for arch, _ in sorted(self.scored, key=lambda candidate: -candidate[1]):
            found.setdefault(self.space.describe(arch), arch)
        return list(found.values())[:count]

    def state_dict(self) -> dict[str, Any]:
        """The complete state, as that of `Search`."""
        return {
            'strategy': {'name': self.strategy.name, **self.strategy.state_dict()},
            'generator': self.generator.get_state(),
            'epoch': self.epoch,
            'step': self.step,
            'exhausted': self._exhausted,
            'scored': list(self.scored),
            'sums': dict(self._sums),
            'history': list(self.history),
            'evaluator': self.evaluator.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state returned by `state_dict`; the search then ends as if it had never stopped."""
        if state['strategy']['name'] != self.strategy.name:
            raise UsageError(f'the checkpoint is of strategy {state["strategy"]["name"]}, not {self.strategy.name}')
        self.strategy.load_state_dict(state['strategy'])
        self.generator.set_state(state['generator'])
        self.epoch, self.step, self._exhausted = state['epoch'], state['step'], state['exhausted']
        self.scored = [(tuple(map(tuple, arch)), score) for arch, score in state['scored']]
        self._known = {self.space.describe(arch) for arch, _ in self.scored}
        self._sums, self.history = dict(state['sums']), list(state['history'])
        self.evaluator.load_state_dict(state['evaluator'])
