"""Between the search and its finalists: evolution from what was learned, with the final weights. Not in the paper.

Alpha learns while the shared weights still change, so the most probable networks owe much to early scores. Here, the
weights no longer change. The population starts with the most probable networks and with draws of the learned
distribution, all within the budget; each candidate is scored on the same images. Finalists are the best of them that
differ in at least half of the groups, since evolution ends with many that are nearly the same.
"""
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import torch

from ..runs.processes import Stop, log_on_primary
from ..runs.progress import open_bar
from ..spaces import Choices, MBConvSpace
from .candidates import CandidateConfig, CandidateSearch
from .evaluator import SuperNetEvaluator
from .evolution import Evolution, EvolutionConfig
from .image_evaluator import ImageEvaluator
from .loop import Search
from .scores import FixedScores
from .targets import by_name
from .within import Draw, network_sampler

__all__ = ['IMAGES', 'Refinement', 'different']

IMAGES = 2_500  # that a candidate is scored on, if there are so many
POPULATION, TOURNAMENT = 50, 10  # at most; a quarter of the candidates, and a fifth of the population
TRIED = 2_000  # draws of the distribution, of which one should be within the budget
TOGETHER = 10  # candidates that are scored in one call, where they do not depend on each other

_logger = logging.getLogger('search')


class _Learned(Evolution):
    """Evolution whose first candidates are given, and its next ones draws of the learned distribution."""

    name = 'refinement'

    def __init__(self, first: Sequence[Choices], *given: Any) -> None:
        super().__init__(*given)
        self.first = list(first)

    def ask(self, generator: torch.Generator) -> Choices:
        return self.first.pop(0) if self.first else super().ask(generator)

    def vary(self, generator: torch.Generator) -> Choices:
        """A mutation, also before the population is complete: draws of a distribution that has converged repeat."""
        if not self.population or not self._places:
            return self.draw(generator)
        return self._mutated(self._parent(generator), generator)


class Refinement:
    """Scores candidates with the final weights, and its complete state.

    Attributes:
        candidates: the search among the candidates; their scores are accuracies (%), or with fitted weights the
            agreement with the source (nats per image).
    """

    def __init__(
            self,
            search: Search,
            evaluator: ImageEvaluator,
            first: Sequence[Choices],
            count: int,
            seed: int,
            images: int = IMAGES,
            world_size: int = 1,
            shows_bar: bool = False,
    ) -> None:
        """
        Args:
            search: the finished search.
            evaluator: its evaluator.
            first: the most probable networks within the budget.
            count: number of candidates to score.
            seed: seed of the draws and mutations.
            images: number of images that each is scored on.
            world_size: number of processes.
            shows_bar: show a progress bar.
        """
        self.space, self.evaluator, self.shows_bar = evaluator.space, evaluator, shows_bar
        uniform = _uniform(search, evaluator)
        draw = _draw_of(search, uniform)
        population = max(2, min(POPULATION, count // 4))
        settings = EvolutionConfig(population, max(1, min(TOURNAMENT, population // 5)))
        strategy = _Learned(first[:count], self.space, search.budgets.allow, draw, settings)
        measure, self.unit, times = evaluator.log_likelihoods, 'nats per image', 1
        if isinstance(evaluator, SuperNetEvaluator):
            measure, self.unit, times = evaluator.hits, '%', 100
        steps = -(-images // evaluator.val_loader.batches.images_per_step)
        self.scores = FixedScores(evaluator, steps, measure)
        config = CandidateConfig(epochs=0, evaluations=count, together=max(TOGETHER, world_size))
        self.candidates = CandidateSearch(
            self.space, evaluator, config, strategy, uniform, seed, lambda archs: times * self.scores(archs),
            evaluator.check_in_sync if world_size > 1 else None, strategy.vary,
        )

    def run(self, stop: Stop | None = None, save: Callable[[], None] = lambda: None) -> bool:
        """Go on from the current state to the end.

        Args:
            stop: checked after every call for scores; once it is true, `run` saves and returns False.
            save: called after every 50 candidates, and before `run` returns False.

        Raises:
            RunError: a score is not finite.
        """
        def on_epoch(candidates: CandidateSearch) -> None:
            row = candidates.history[-1]
            log_on_primary(_logger, (
                f'refinement  {row["num_samples"]:,} of {candidates.config.evaluations:,} networks scored  best '
                f'{row["best_score"]:.2f} {self.unit}  mean of these {row["score"]:.2f}  {row["seconds"]:.0f} s'
            ))
            save()

        total, done = self.candidates.config.evaluations, self.candidates.num_samples
        with open_bar(name='refinement', total=total, initial=done, hidden=not self.shows_bar) as bar:
            def on_step(candidates: CandidateSearch, _: dict[str, float]) -> None:
                bar.update(candidates.num_samples - bar.n)

            finished = self.candidates.run(stop, on_step, on_epoch)
        if not finished:
            save()
        return finished

    @property
    def seconds(self) -> float:
        """Time spent on the rounds so far."""
        return sum(row['seconds'] for row in self.candidates.history)

    def finalists(self, first: Choices, count: int) -> list[Choices]:
        """`first`, the most probable network, and the best candidates that differ, best first; at most `count`."""
        ranked = self.candidates.finalists(len(self.candidates.scored))
        return different(self.space, [first, *ranked], count)

    def rows(self) -> Iterator[dict[str, Any]]:
        """The candidates in order: string, multiply-adds and score."""
        for arch, score in self.candidates.scored:
            yield {'arch': self.space.describe(arch), 'macs': self.evaluator.cost(arch), 'score': score}

    def state_dict(self) -> dict[str, Any]:
        """The complete state, without the weights: they do not change here."""
        return {k: v for k, v in self.candidates.state_dict().items() if k != 'evaluator'}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state returned by `state_dict`."""
        self.candidates.load_state_dict({**state, 'evaluator': self.evaluator.state_dict()})


def different(space: MBConvSpace, archs: Sequence[Choices], count: int) -> list[Choices]:
    """The first `count` of these networks that differ from each other in at least half of the groups.

    If there are not so many, the others that are missing differ in fewer groups. What has no effect in a bypassed group
    is no difference.
    """
    groups = {arch: space.from_arch(space.to_arch(arch)) for arch in archs}
    found: list[Choices] = []
    for least in range((len(space.groups) + 1) // 2, 0, -1):
        for arch in archs:
            if len(found) == count:
                return found
            if all(sum(a != b for a, b in zip(groups[arch], groups[other])) >= least for other in found):
                found.append(arch)
    return found


def _draw_of(search: Search, uniform: Draw) -> Draw:
    """Draws of the learned distribution within the budget; where these are rare, of all that are within it."""
    distribution, allow = search.distribution, search.budgets.allow
    if any(allow(arch) for arch in distribution.sample(TRIED, torch.Generator().manual_seed(0))):
        def draw(generator: torch.Generator) -> Choices:
            while not allow(arch := distribution.sample(1, generator)[0]):
                pass
            return arch

        return draw
    log_on_primary(_logger, (
        f'refinement: none of {TRIED:,} draws of the learned distribution is within the budget: candidates are drawn '
        'from all networks that are'
    ))
    return uniform


def _uniform(search: Search, evaluator: ImageEvaluator) -> Draw:
    """Draws of all networks within the budget; the sampler is only made if it is used."""
    windows = search.budgets.windows

    @cache
    def sampler() -> Draw:
        return network_sampler(
            evaluator.space, num_classes=evaluator.cost_classes, in_chans=evaluator.in_chans,
            **by_name(windows, evaluator.others),
        )

    return lambda generator: sampler()(generator) if windows else evaluator.space.sample(generator)
