"""The search that the options choose: the method, or one of its baselines on the same supernet."""
import logging
from argparse import Namespace
from collections.abc import Callable

import torch

from ..runs.processes import log_on_primary
from ..spaces import MBConvSpace
from ..spaces.costs import network_costs
from .candidates import CandidateConfig, CandidateSearch, RandomDraws, Strategy
from .evolution import Evolution, EvolutionConfig
from .image_evaluator import ImageEvaluator
from .loop import Search, SearchConfig
from .scores import FixedScores
from .strategy_options import EVOLUTION
from .targets import budget_windows, by_name, other_targets
from .weight_training import BESIDE_LARGEST
from .within import Draw, network_sampler

__all__ = ['AnySearch', 'candidate_config', 'create_search']

AnySearch = Search | CandidateSearch

TOGETHER = 10  # candidates that are scored in one call

_logger = logging.getLogger('search')


def candidate_config(args: Namespace) -> CandidateConfig:
    """The settings of `evolution` and `random`; `UsageError` if one is out of range."""
    return CandidateConfig(
        epochs=args.epochs,
        evaluations=args.evaluations,
        weight_samples=args.weight_samples or (1 if args.weight_archs == 'sampled' else BESIDE_LARGEST),
        target=args.target_macs,
        targets=other_targets(args),
        tolerance=args.tolerance,
        together=max(TOGETHER, args.world_size),
    )


def create_search(
        args: Namespace, space: MBConvSpace, evaluator: ImageEvaluator, config: SearchConfig | CandidateConfig
) -> AnySearch:
    """The search, in its initial state."""
    check: Callable[[torch.Tensor], None] | None = evaluator.check_in_sync if args.world_size > 1 else None
    if isinstance(config, SearchConfig):
        costs = [*network_costs(space, evaluator.cost_classes, evaluator.in_chans), *evaluator.others]
        return Search(space, evaluator, config, args.seed, evaluator.decode, check, costs)
    sampler = None
    windows = budget_windows(config)
    if windows:
        sampler = network_sampler(
            space, num_classes=evaluator.cost_classes, in_chans=evaluator.in_chans,
            **by_name(windows, evaluator.others),
        )
    draw: Draw = sampler or space.sample
    strategy: Strategy = RandomDraws(draw)
    if args.strategy == EVOLUTION:
        children = args.world_size if args.split == 'archs' else 1
        if children > 1:
            log_on_primary(
                _logger,
                f'strategy {EVOLUTION} with --split archs: {children} children at a time come from the same '
                'population, one for each process: another number of processes is another search'
            )
        settings = EvolutionConfig(args.population, args.tournament, args.crossover, children)
        strategy = Evolution(space, sampler.allows if sampler else None, draw, settings)
    scores = FixedScores(evaluator, args.score_batches)
    first = f'after {config.epochs} epochs of training the weights, ' if config.epochs else ''
    log_on_primary(
        _logger,
        f'strategy {strategy.name}: {first}{config.evaluations:,} architectures are scored on the same '
        f'{scores.images:,} images each'
    )
    return CandidateSearch(space, evaluator, config, strategy, draw, args.seed, scores, check)
