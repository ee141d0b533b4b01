"""The options of the final, and those that only some search strategies have.

Does not import torch, so that `--help` is fast.
"""
import argparse
from collections.abc import Mapping, Set
from typing import Any

from ..errors import UsageError
from ..runs.options import AUGMENTATION, OptionGroup
from .names import DEFAULT_FINALISTS, STRATEGIES, SUPERNETS

__all__ = ['ONLY', 'add_final_options', 'add_strategy_options', 'check_strategy', 'check_supernet', 'without_use']

FP_NAS, EVOLUTION, RANDOM = STRATEGIES
# Option -> the strategies in which it means something; all others mean something in each.
ONLY: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        'warmup_epochs joint_epoch lam num_samples beta cost_form temperature no_baseline alpha_lr refine'.split(),
        (FP_NAS,),
    ),
    **dict.fromkeys(('evaluations', 'score_batches'), (EVOLUTION, RANDOM)),
    **dict.fromkeys(('population', 'tournament', 'crossover'), (EVOLUTION,)),
}

FITTED, TRAINED = SUPERNETS
FITTED_ALPHA_LR = 0.1  # the scores of fitted networks do not change, and have no noise but that of the images
# Options of the training of the weights and of its augmentation, which a fitted supernet does not have.
OF_TRAINING = (
    'weight_samples', 'weight_archs', 'weight_draws', 'weight_window', 'distill', 'weight_ema', 'opt', 'lr', 'momentum',
    'weight_decay', 'clip_grad', 'sched', 'warmup_lr_epochs', 'warmup_lr', 'min_lr', 'smoothing', 'warmup_epochs',
    'finalist_epochs', 'calibration_batches', 'no_aug', *AUGMENTATION,
)


def add_final_options(parser: argparse.ArgumentParser) -> None:
    """The group of options of the final."""
    add = OptionGroup(parser, 'finalists')
    add('--finalists', None, 'number of most probable networks (or best candidates that differ) that are scored on all '
        'images that train alpha; the best one is the result', type=int,
        otherwise=f'{DEFAULT_FINALISTS}, or as many as there are')
    add('--refine', 0, 'first score so many networks with the final weights: the most probable ones, draws of the '
        'learned distribution, then mutations; the best that differ are the finalists; 0: the most probable ones are')
    add('--finalist-epochs', 0, 'train the finalists on in rounds of this many epochs, after each of which the worse '
        'half drops out; 0: no training')


def add_strategy_options(parser: argparse.ArgumentParser) -> None:
    """The group of options of `--strategy evolution` and `random`."""
    add = OptionGroup(parser, 'strategies evolution and random')
    add('--evaluations', 1000, 'number of architectures scored')
    add('--score-batches', 10, 'number of batches of images on which each architecture is scored, of the half that '
        'trains alpha otherwise; 0: all of it')
    add('--population', 50, 'evolution: number of architectures in the population')
    add('--tournament', 10, 'evolution: number of members of which the best becomes the parent')
    add('--crossover', 0.0, 'evolution: share of the candidates that have two parents')


def check_strategy(
        args: argparse.Namespace, parser: argparse.ArgumentParser, given: Mapping[str, Any], config: Set[str]
) -> None:
    """Refuse options of other strategies; those that come from a preset get their default values.

    Args:
        args: all options; changed in place.
        parser: the parser with the defaults of the options.
        given: the options given on the command line or in Python.
        config: the names of those in the YAML file, which may be all options of an earlier search.

    Raises:
        UsageError: an option of another strategy is given, or some of this strategy contradict each other.
    """
    others = [name for name, strategies in ONLY.items() if args.strategy not in strategies]
    for name in others:
        default = parser.get_default(name)
        if name == 'warmup_epochs' and args.warmup_epochs == 0:  # as the report's command has it
            continue
        if given.get(name) is not None or (name in config and getattr(args, name) != default):
            flag = f'--{name.replace("_", "-")}'
            raise UsageError(
                f'{flag}: is an option of --strategy {" and ".join(ONLY[name])}, not of {args.strategy}: leave it out'
            )
        setattr(args, name, default)
    if args.refine and args.finalists == 1:
        raise UsageError(
            f'--refine {args.refine}: with --finalists 1 the result is the most probable network, whatever else is '
            'scored: expected --finalists 2 or more'
        )
    if args.refine and args.refine < (wanted := args.finalists or DEFAULT_FINALISTS):
        raise UsageError(
            f'--refine {args.refine}: the finalists are chosen from so many networks: expected at least {wanted}, the '
            'number of finalists'
        )
    if args.strategy == EVOLUTION:
        if args.tournament > args.population:
            raise UsageError(
                f'--tournament {args.tournament}: expected at most --population, {args.population}'
            )
        if args.population > args.evaluations:
            raise UsageError(
                f'--population {args.population}: expected at most --evaluations, {args.evaluations}: the population '
                'is scored first'
            )


def without_use(args: argparse.Namespace) -> set[str]:
    """Names of the options that the strategy and the supernet of a search have no use for."""
    names = {name for name, strategies in ONLY.items() if args.strategy not in strategies}
    if args.supernet == FITTED:
        names |= {*OF_TRAINING} if args.strategy == FP_NAS else {*OF_TRAINING, 'epochs'}
    return names


def check_supernet(
        args: argparse.Namespace, parser: argparse.ArgumentParser, given: Mapping[str, Any], config: Set[str]
) -> None:
    """Choose how the supernet gets its weights, and refuse options that it has no use for; arguments as above.

    Raises:
        UsageError: an option of the training is given for a fitted supernet, or there is no network to fit it to.
    """
    if args.supernet is None:
        args.supernet = FITTED if args.init_from else TRAINED
    if args.supernet == TRAINED:
        return
    if not args.init_from:
        raise UsageError('--supernet fitted: is fitted to a trained network: name it with --init-from SOURCE')
    for name in OF_TRAINING:
        default = parser.get_default(name)
        if name == 'warmup_epochs' and args.warmup_epochs == 0:  # as the report's command has it
            continue
        if given.get(name) is not None or (name in config and getattr(args, name) not in (default, 0)):
            raise UsageError(
                f'--{name.replace("_", "-")}: is an option of the training of the weights, and those of --init-from '
                'are fitted: leave it out, or give --supernet trained'
            )
        setattr(args, name, default)
    if args.strategy != FP_NAS:
        given_in_file = 'epochs' in config and args.epochs != parser.get_default('epochs')
        if args.epochs and (given.get('epochs') is not None or given_in_file):
            raise UsageError(
                f'--epochs: --strategy {args.strategy} only trains the weights in them, and those of --init-from are '
                'fitted: leave it out, or give --supernet trained'
            )
        args.epochs = 0
    args.warmup_epochs = 0
    # The accuracies of the fitted networks differ by less than their standard errors; a refinement compares otherwise.
    if args.finalists is None and not args.refine:
        args.finalists = 1
    if args.alpha_lr is None and args.strategy == FP_NAS:
        args.alpha_lr = FITTED_ALPHA_LR
