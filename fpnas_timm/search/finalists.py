"""The finalists: the most probable networks within the budget, scored on many images; the best one is the result.

During the search an architecture is scored on a batch, with batch norms that use its statistics. Each finalist is
scored on the whole half that trains alpha, as the network that would be extracted. If asked for, finalists are trained
on for some epochs from the weights that they inherit, in rounds: the worse half drops out after each (successive
halving). Not in the paper.
"""
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, cast

import torch

from ..arch import Arch
from ..device.latency_table import COST as LATENCY
from ..errors import NonFiniteError
from ..model.network import FPNAS
from ..runs.processes import Stop, log_on_primary
from ..runs.progress import open_bar
from ..spaces import Choices
from ..spaces.budgets import shown_ms
from .evaluator import SuperNetEvaluator
from .finalist_training import FinalistTraining, OpenOptimizer
from .fitted_evaluator import FittedEvaluator
from .image_evaluator import ImageEvaluator
from .scoring import Score, Tick, calibrate, num_batches, score

__all__ = ['Candidate', 'Finalist', 'Finals']

TOGETHER = 8  # finalists that are scored in one pass over the images

_logger = logging.getLogger('search')


class Candidate(NamedTuple):
    """An architecture that takes part, and its log-probability (nats); None if there is no distribution."""

    choices: Choices
    log_prob: float | None


@dataclass(frozen=True)
class Finalist:
    """A network of the final.

    Attributes:
        arch: the network; `str(arch)` is its string.
        macs: its multiply-adds, with `target_num_classes` classes.
        params: its learnable parameters, with `target_num_classes` classes.
        log_prob: its log-probability (nats) under the learned distribution.
        top1: its accuracy (%) on the images that train alpha, after its last round.
        top1_se: the standard error of `top1` over the images, in percentage points.
        log_likelihood: mean log-probability of the true class, nats per image, weighted as in the search.
        log_likelihood_se: its standard error.
        score: what finalists are compared by: `top1`, with the images weighted as in the search. But a search from
            fitted weights compares untrained ones by `agreement`, which tells more of what they reach after
            fine-tuning.
        images: number of images.
        rounds: rounds of training that it completed, without those whose loss was not finite, after which it kept the
            weights that it had; 0 if it has the supernet's weights.
        inherited_top1: its accuracy (%) with the supernet's weights.
        latency: milliseconds of a call by the latency table of the search; None if it has none.
        agreement: see `Score`.
    """

    arch: Arch
    macs: int
    params: int
    log_prob: float | None
    top1: float
    top1_se: float
    log_likelihood: float
    log_likelihood_se: float
    score: float
    images: int
    rounds: int
    inherited_top1: float
    latency: float | None = None
    agreement: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """As in `result.json`."""
        figures = {k: round(v, 6) if isinstance(v, float) else v for k, v in asdict(self).items() if k != 'arch'}
        if self.agreement is None:
            del figures['agreement']
        if self.latency is None:
            del figures['latency']
        return {'arch': str(self.arch), **figures}


class _Stopped(Exception):
    """Raised between two batches to leave whatever is being done."""


class Finals:
    """The last stage of a search, and its complete state.

    Attributes:
        candidates: the architectures that take part, the most probable one first.
        alive: positions of those that have not dropped out.
        round: the current round; 0 scores the inherited weights, each further one trains all that are left first.
        scores: for each candidate, its score in each round.
        failed: for each candidate, the rounds whose training did not change it, since its loss was not finite.
        seconds: time spent.
    """

    def __init__(
            self,
            evaluator: ImageEvaluator,
            candidates: Sequence[Candidate],
            calibration_batches: int,
            epochs: int,
            first_epoch: int,
            open_optimizer: OpenOptimizer,
            shows_bar: bool = False,
            shows_params: bool = False,
    ) -> None:
        """
        Args:
            evaluator: the evaluator of the finished search.
            candidates: the architectures, the most probable one first.
            calibration_batches: number of batches for the batch-norm statistics.
            epochs: epochs of training per round; 0: no training.
            first_epoch: number of the first epoch, for order and augmentation of the images.
            open_optimizer: makes the optimizer of a network.
            shows_bar: show a progress bar, instead of nothing, until a finalist is scored.
            shows_params: log the parameters of each finalist too.
        """
        self.evaluator, self.candidates = evaluator, list(candidates)
        self.calibration_batches = calibration_batches
        self.epochs, self.first_epoch, self.open_optimizer = epochs, first_epoch, open_optimizer
        self.shows_bar, self.shows_params = shows_bar, shows_params
        self.archs = [evaluator.space.to_arch(c.choices) for c in self.candidates]
        self.alive = list(range(len(self.candidates)))
        self.round = 0
        self.scores: list[list[Score]] = [[] for _ in self.candidates]
        self.failed: list[list[int]] = [[] for _ in self.candidates]
        self.seconds = 0.0
        self._weights: dict[int, dict[str, torch.Tensor]] = {}  # of those that were trained, on the CPU
        self._training: FinalistTraining | None = None
        self._left: dict[str, Any] | None = None  # state of a training that was interrupted

    def run(self, stop: Stop | None = None, save: Callable[[], None] = lambda: None) -> bool:
        """Go on from the current state to the end.

        Args:
            stop: checked after every batch; once it is true, `run` saves and returns False.
            save: called after every finalist (in round 0: after those that are scored together), after every epoch of
                training, and before `run` returns False.
        """

        def check() -> None:
            if stop:
                raise _Stopped

        while waiting := self._waiting():
            started = time.perf_counter()
            stopped = False
            try:
                if self.round:
                    self._train_and_score(waiting[0], check, save)
                else:
                    self._score_inherited(waiting[:TOGETHER], check)
            except _Stopped:
                stopped = True
            self.seconds += time.perf_counter() - started
            save()
            if stopped:
                return False
        self._say_if_guessing()
        return True

    def _say_if_guessing(self) -> None:
        """Warn if even the best finalist predicts the classes no better than equal probabilities would."""
        best = self.scores[self.ranked()[0]][-1]
        uniform = -math.log(self.evaluator.scored.num_classes)
        advice = 'until it is trained, and its choice may be by chance: try larger images, more images or more epochs'
        if best.agreement is not None:  # fitted to the source: the features are good, only the classifier is not
            advice = 'until it is fine-tuned (`fpnas train --init-from OUT/extract`, OUT is the folder of the search)'
        if best.log_likelihood < uniform:
            log_on_primary(
                _logger,
                f'the result predicts the classes of the {best.images:,} images worse than equal probabilities would '
                f'(log-likelihood {best.log_likelihood:.2f}, those {uniform:.2f}): its weights are of little use '
                f'{advice}',
                logging.WARNING,
            )

    def ranked(self) -> list[int]:
        """Positions of all candidates, best first: those that dropped out later are better."""
        return sorted(range(len(self.candidates)), key=lambda i: (len(self.scores[i]), self._merit(i)), reverse=True)

    def finalists(self) -> list[Finalist]:
        """All finalists, best first; once `run` has returned True."""
        out = []
        for i in self.ranked():
            spent, last = self.evaluator.full_cost(self.archs[i]), self.scores[i][-1]
            out.append(Finalist(
                arch=self.archs[i], macs=spent.macs, params=spent.params, log_prob=self.candidates[i].log_prob,
                **last._asdict(), rounds=self.rounds(i, len(self.scores[i]) - 1), inherited_top1=self.scores[i][0].top1,
                latency=self._latency(i),
            ))
        return out

    def rounds(self, index: int, last: int) -> int:
        """How many rounds of training a candidate has completed after the round `last`."""
        return last - sum(number <= last for number in self.failed[index])

    def model(self) -> FPNAS:
        """The network of the best finalist with its weights, batch norms calibrated; all processes must call it."""
        best = self.ranked()[0]
        model = self._network(best)
        if best not in self._weights:
            calibrate(self.evaluator, [model], self.calibration_batches, lambda: None)
        return model.eval()

    def _merit(self, index: int) -> tuple[float, float, float]:
        last = self.scores[index][-1]
        if last.agreement is not None and len(self.scores[index]) == 1:
            return last.agreement, last.score, self.candidates[index].log_prob or 0.0
        return last.score, last.log_likelihood, self.candidates[index].log_prob or 0.0

    def _waiting(self) -> list[int]:
        """Those that have no score in this round yet; none at the end of the final."""
        return [i for i in self.alive if len(self.scores[i]) <= self.round]

    def _score_inherited(self, indices: Sequence[int], check: Tick) -> None:
        """Round 0 for these candidates: all are scored in one pass over the images."""
        models = [self._network(i) for i in indices]
        first, last, total = self._name(indices[0]), self.alive.index(indices[-1]) + 1, len(self.alive)
        with self._bar(f'{first.partition("/")[0]} to {last} of {total}', 0) as bar:
            tick = _ticking(bar, check)
            calibrate(self.evaluator, models, self.calibration_batches, tick)
            found = score(self.evaluator, models, tick)
        for i, own in zip(indices, found):
            self._add(i, own)

    def _train_and_score(self, index: int, check: Tick, save: Callable[[], None]) -> None:
        """A further round for a candidate."""
        model, name = self._network(index), self._name(index)
        with self._bar(name, self.epochs * self.evaluator.train_loader.steps) as bar:
            tick = _ticking(bar, check)
            try:
                self._train(model, name, bar, tick, save)
                calibrate(self.evaluator, [model], self.calibration_batches, tick)
                [found] = score(self.evaluator, [model], tick)
                self._weights[index] = {k: v.detach().cpu().clone() for k, v in model.state_dict().items()}
            except NonFiniteError as e:
                kept = f'{name}: {e.what} is {e.values[0]}: it keeps the weights that it had before'
                log_on_primary(_logger, kept, logging.WARNING)
                found = self.scores[index][-1]
                self.failed[index].append(self.round)
        self._training = self._left = None
        self._add(index, found)

    def _add(self, index: int, found: Score) -> None:
        """Note and log a score; after the last one of a round, drop the worse half and go to the next round, if any."""
        spent, name = self.evaluator.full_cost(self.archs[index]), self._name(index)
        params = f', {spent.params / 1e6:.3f}M parameters' if self.shows_params else ''
        latency = self._latency(index)
        shown = '' if latency is None else f', {shown_ms(latency)}'
        log_on_primary(_logger, (
            f'{name}  {found.top1:.2f} ± {found.top1_se:.2f} %  log-likelihood {found.log_likelihood:.4f} ± '
            f'{found.log_likelihood_se:.4f}  {spent.macs / 1e6:.2f}M multiply-adds{params}{shown}'
        ))
        self.scores[index].append(found)
        if self._waiting():
            return
        if self.round:
            self.alive = sorted(self.alive, key=self._merit, reverse=True)[: math.ceil(len(self.alive) / 2)]
            self._weights = {i: w for i, w in self._weights.items() if i in self.alive}
        if self.epochs and (not self.round or len(self.alive) > 1):
            self.round += 1

    def _latency(self, index: int) -> float | None:
        """Predicted milliseconds of a candidate, if the search has a latency table."""
        costs = [cost for cost in self.evaluator.others if cost.name == LATENCY]
        return costs[0](self.candidates[index].choices) if costs else None

    def _name(self, index: int) -> str:
        name = f'finalist {self.alive.index(index) + 1}/{len(self.alive)}'
        return f'round {self.round}, {name}' if self.round else name

    def _bar(self, name: str, steps: int) -> Any:
        total = steps + num_batches(self.evaluator, self.calibration_batches)
        return open_bar(name=name, total=total, hidden=not self.shows_bar)

    def _train(self, model: FPNAS, name: str, bar: Any, tick: Tick, save: Callable[[], None]) -> None:
        first = self.first_epoch + (self.round - 1) * self.epochs
        evaluator = cast(SuperNetEvaluator, self.evaluator)  # only its networks are trained on
        training = FinalistTraining(evaluator, model, self.open_optimizer, self.epochs, first)
        if self._left is not None:
            training.load_state_dict(self._left)
        self._training, self._left = training, None
        bar.update(training.steps_taken)

        def on_epoch(loss: float) -> None:
            save()
            log_on_primary(_logger, f'{name}  epoch {training.epoch}/{self.epochs}  loss {loss:.3f}')

        training.run(tick, on_epoch)

    def _network(self, index: int) -> FPNAS:
        """The network of a candidate: with the weights that it was trained to, else with the supernet's."""
        if isinstance(self.evaluator, FittedEvaluator):
            return self.evaluator.network(self.archs[index])
        model = self.evaluator.scored.extract(self.archs[index])
        if index in self._weights:
            model.load_state_dict(self._weights[index])
        return model

    def state_dict(self) -> dict[str, Any]:
        """The complete state; its tensors are not copied: save them before the final continues."""
        return {
            'candidates': [(c.choices, c.log_prob) for c in self.candidates],
            'alive': list(self.alive),
            'round': self.round,
            'scores': [[tuple(s) for s in scores] for scores in self.scores],
            'failed': [list(rounds) for rounds in self.failed],
            'seconds': self.seconds,
            'weights': self._weights,
            'training': self._training.state_dict() if self._training is not None else self._left,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state returned by `state_dict` of a final with the same candidates."""
        self.alive, self.round, self.seconds = list(state['alive']), state['round'], state['seconds']
        self.scores = [[Score(*s) for s in scores] for scores in state['scores']]
        self.failed = [list(rounds) for rounds in state.get('failed', self.failed)]  # not noted by earlier versions
        self._weights, self._training, self._left = dict(state['weights']), None, state['training']


def _ticking(bar: Any, check: Tick) -> Tick:
    """Move the bar on, then check whether to stop."""

    def tick() -> None:
        bar.update()
        check()

    return tick
