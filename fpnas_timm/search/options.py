"""The options of `fpnas search`; those for data, augmentation, optimizer and precision have timm's names."""
import argparse
import logging
import math
import os
import sys
from collections.abc import Mapping, Sequence, Set
from typing import Any

from ..errors import UsageError
from ..paper import FBNETV2_F_TARGET, SEARCH_SETTINGS, TABLE_B1
from ..runs.image_options import BANDS, check_image_options
from ..runs.options import AUGMENTATION, OptionGroup
from ..runs.parser import Parser, check_order, default_workers, known_options, load_yaml, set_options
from ..runs.values import FROM_0, Range
from ..spaces.budgets import milliseconds, quantity, shown_ms
from .names import AROUND, COST_FORMS, MULTIPLIER, STRATEGIES, SUPERNETS, WEIGHT_ARCHS, WEIGHT_DRAWS, WORK_SPLITS
from .saved import AUTO, folder_to_resume, resumed
from .strategy_options import (
    FITTED,
    FP_NAS,
    ONLY,
    add_final_options,
    add_strategy_options,
    check_strategy,
    check_supernet,
)

__all__ = ['PRESETS', 'build_parser', 'parse_search_args', 'search_options']

_logger = logging.getLogger('search')

EPOCHS = 20  # the default, which the defaults of the warm-ups are for

# The paper's settings for each search space: supplement, sections B, E and F; main paper, section 3 and Table 5, whose
# theta and lambda are those of its studies in FBNetV2-F. Targets are the multiply-adds of the published networks.
PRESETS: dict[str, dict[str, Any]] = {
    name: {
        'space': name,
        'img_size': row.img_size,
        'target_macs': row.macs * 1e6,
        'target_num_classes': 1000,  # the target is for the ImageNet model, even if the search uses fewer classes
        'cost_form': 'relative',
        'temperature': 1.0,
        'no_baseline': True,
        'alpha_lr': 0.01,
        **SEARCH_SETTINGS,
    }
    for name, row in TABLE_B1.items()
}
# FP-NAS-S1, without splits: the space of the paper's studies (main paper, Tables 5 and 6; supplement, Table E.7).
PRESETS['fbnetv2_f'] = {**PRESETS['fpnas_s1pp'], 'space': 'fbnetv2_f', 'target_macs': FBNETV2_F_TARGET}
# For any space: what found the best networks on photographs (docs/results.md), `refined` of benchmarks/search/cifar.py.
THOROUGH = 'thorough'
OWN_PRESETS: dict[str, dict[str, Any]] = {
    THOROUGH: {
        'weight_samples': 1,
        'weight_draws': 'budget',
        'opt': 'adamw',
        'lr': 6e-3,
        'weight_decay': 0.02,
        'batch_size': 128,
        'weight_ema': 0.998,
        'refine': 300,
        'finalist_epochs': 1,
    },
}


def build_parser(prog: str = 'fpnas search') -> Parser:
    """The parser of `fpnas search`; `prog` is the command name shown in its usage."""
    parser = Parser(
        prog=prog,
        description='FP-NAS: search a network for your images and your budget of multiply-adds.',
        epilog=f'example: {prog} --space fpnas_s1pp --data-dir DIR --img-size 32 --target-macs 3M --epochs 20 '
        '--warmup-epochs 4 --joint-epoch 10 --lam 0.25 --output OUT',
    )
    add = OptionGroup(parser, 'run')
    add('--output', None, 'folder to write to; must not contain a search yet', metavar='OUT')
    add('--resume', None, 'continue the search in this folder, with its saved settings; `auto`: start a search in '
        '--output, or continue the one there', metavar='OUT|auto')
    add('-c --config', None, 'YAML file of options; the command line overrides it', metavar='FILE')
    add('--preset', None, "the paper's settings for a space; or 'thorough', for any space: those that found the best "
        'networks on photographs (docs/results.md)', choices=(*PRESETS, *OWN_PRESETS))
    add.shared('seed', default=0)
    add.shared('device')
    add('--split', 'data', "what several processes divide. 'data': the batches; 'archs': the architectures of a step, "
        'for small networks on GPUs', choices=WORK_SPLITS)
    add.shared('workers', otherwise='2, or 1 on a machine with one core')
    add.shared('log_interval')
    add.shared('log_tensorboard', 'log_wandb', 'wandb_project')
    add.shared('wandb_tags', nargs='*')
    add.shared('wandb_resume_id')
    _add_search(parser)
    add_final_options(parser)
    add_strategy_options(parser)
    _add_images(parser)
    _add_weights(parser)
    return parser


def _add_search(parser: Parser) -> None:
    """The group `search`."""
    add = OptionGroup(parser, 'search')
    add('--space', 'fpnas_s1pp', "name of one of the paper's spaces, or a .json file (docs/spaces.md)",
        metavar='NAME|FILE')
    add.shared('init_from', 'init_from_model')
    add('--supernet', None, "how --init-from gives the sub-networks their weights: 'fitted' to the source by least "
        "squares, or 'trained' from there",
        otherwise='fitted with --init-from', choices=SUPERNETS)
    add('--strategy', FP_NAS, "how to search: 'fp-nas', the paper's method; 'evolution' or 'random', baselines on the "
        'same supernet', choices=STRATEGIES)
    add('--target-macs', None, 'budget of multiply-adds, such as 3M or 0.4G', parse=quantity, type=float, metavar='N')
    add('--target-params', None, 'budget of parameters, such as 300K or 5.3M, alone or beside --target-macs',
        parse=quantity, type=float, metavar='N')
    add('--target-latency', None, 'budget of time for a call of the network, such as 5ms or 750us, by '
        '--latency-table; alone or beside the others', parse=milliseconds, type=float, metavar='TIME')
    add('--latency-table', None, 'file of fpnas latency measure for this space (docs/latency.md)', metavar='FILE')
    add('--target-num-classes', None, 'number of classes that the budgets are counted for', type=int,
        otherwise='those that are searched on')
    add('--tolerance', 0.02, 'the result has between (1 - X) * target and target, of each budget')
    add('--epochs', EPOCHS, 'number of epochs', range=FROM_0)  # 0: see `check_supernet`
    add('--warmup-epochs', 4, 'number of initial epochs in which alpha is frozen')
    add('--joint-epoch', None, 'epoch at which the distribution becomes joint; 0: from the start', type=int,
        otherwise='never')
    add('--lam', 0.25, 'lambda of adaptive sampling: K = lambda * entropy in nats, at least 2')
    add('--num-samples', None, 'use this fixed K', type=int, otherwise='adaptive, see --lam')
    add('--weight-samples', None, 'train the weights on only this many of the K architectures; evolution and random '
        'train them on this many uniformly drawn ones', type=int, otherwise='all, or 1; 2 beside the largest')
    add('--beta', 0.3, "weight of the cost in the loss, for the cost forms other than 'multiplier'")
    add('--cost-form', 'multiplier', "form of the cost in the loss. 'multiplier' meets the budget without a beta; the "
        "others need one. 'relative': as in the paper and its presets; 'absolute' ends below the budget, 'expected' "
        "and 'two-sided' near it", choices=COST_FORMS)
    add('--temperature', None, 'divides the log-likelihoods; the presets use 1', type=float,
        otherwise='the number of images of a step, which makes them means')
    add('--no-baseline', False, 'do not subtract the mean weight of the samples')
    add('--alpha-lr', None, 'learning rate of alpha (Adam); the presets use 0.01', type=float,
        otherwise='0.05 to 0.01, by the number of steps')


def _add_images(parser: Parser) -> None:
    """The groups `data` and `augmentation of the training half`."""
    add = OptionGroup(parser, 'data')
    add.shared('data_dir', 'dataset')
    add('--train-split', 'train', 'split to search on; half of it trains the weights, half alpha')
    add('--alpha-split', None, 'split that trains alpha; all of --train-split then trains the weights',
        otherwise='half of --train-split')
    add.shared('dataset_download', 'class_map', 'img_extensions')
    add('--num-classes', None, 'number of classes, checked against the data', type=int, otherwise='not checked',
        range=Range(2))
    add('--search-classes', None, 'search on this many random classes', type=int, otherwise='all')
    add.shared('class_weights', 'balanced_sampling')
    add('--class-seed', 0, 'random seed of --search-classes')
    add.shared('img_size', 'input_size', otherwise="the space's")
    add.shared('in_chans', 'input_img_mode')
    add.shared('batch_size', default=64, range=Range(2))
    add.shared('grad_accum_steps')
    add.shared('mean', 'std', otherwise="ImageNet's")
    add.shared('crop_pct', default=1.0)
    add.shared('interpolation', default='bicubic')
    add.shared('pin_mem')

    add = OptionGroup(parser, 'augmentation of the training half')
    add.shared('no_aug')
    add.shared('scale', 'ratio', nargs=2)
    add.shared('hflip', 'vflip', 'color_jitter', 'aa', 'reprob', 'remode', 'train_interpolation')


def _add_weights(parser: Parser) -> None:
    """The group `weights`: how the supernet is trained."""
    add = OptionGroup(parser, 'weights')
    add('--weight-archs', 'sampled', "architectures that a step trains. 'sampled': of the K; 'largest': also the "
        "largest one of the space; 'sandwich': also the largest and the smallest one", choices=WEIGHT_ARCHS)
    add('--weight-draws', 'search', "the sampled ones that a step trains. 'search': those that alpha is learned from; "
        "'uniform': others, drawn uniformly; 'budget': drawn uniformly from those near --target-macs",
        choices=WEIGHT_DRAWS)
    add('--weight-window', 0.25, 'with --weight-draws budget: multiply-adds from (1 - X) to (1 + X) * target')
    add('--distill', 0.0, 'share of the loss with which the others learn from the outputs of the largest architecture, '
        '0 to 1; with --weight-archs largest or sandwich')
    add('--weight-ema', None, 'score with an exponential moving average of the weights of this decay, such as 0.999',
        type=float, otherwise='score with the weights')
    add.shared('opt')
    add.shared('lr', default=0.05)
    add.shared('momentum')
    add.shared('weight_decay', default=1e-4)
    add('--clip-grad', 5.0, 'maximum norm of the gradient; 0: no limit')
    add.shared('sched')
    add('--warmup-lr-epochs', 1, 'number of epochs of linear learning-rate warm-up')
    add.shared('warmup_lr', 'min_lr')
    add.shared('smoothing', default=0.0)
    add.shared('amp', 'amp_dtype')
    add.shared('channels_last', text='use the channels_last memory format (always used on a CPU)')
    add('--calibration-batches', 50, "number of batches for the batch-norm statistics of the extracted model")


def parse_search_args(argv: Sequence[str] | None = None, prog: str = 'fpnas search') -> argparse.Namespace:
    """The options of a search, from the preset, the YAML file and the command line; later sources take precedence.

    With `--resume` the options are those saved in that folder.

    Raises:
        UsageError: an unknown option (the message suggests a similar one), an invalid value, or `--resume` with
            different settings.
    """
    parser = build_parser(prog)
    return _resolved(parser, _given(parser, argv), {}, argv)


def search_options(options: Mapping[str, Any]) -> argparse.Namespace:
    """The options of a search that is started from Python: like `parse_search_args`, without a command line.

    Args:
        options: name -> value. None selects the option's default, even if the default is not None.

    Raises:
        UsageError: as in `parse_search_args`.
    """
    parser = build_parser()
    options = {k: v for k, v in options.items() if v is not None or parser.get_default(k.replace('-', '_')) is None}
    set_options(parser, options, 'search()')  # report unknown names before reading any file
    return _resolved(parser, {k.replace('-', '_'): v for k, v in options.items()}, options, [])


def _resolved(
        parser: Parser, given: dict[str, Any], options: Mapping[str, Any], argv: Sequence[str] | None
) -> argparse.Namespace:
    config = load_yaml(given['config']) if given.get('config') else {}
    for name in {'config', 'resume'} & set(config):
        raise UsageError(f'{given["config"]}: {name!r} is only allowed on the command line')
    asked, direct = {k.replace('-', '_') for k in (*given, *config)}, dict(given)
    chosen = given.get('preset', config.get('preset', ''))
    preset = {**PRESETS, **OWN_PRESETS}.get(chosen, {}) if isinstance(chosen, str) else {}
    if 'input_size' in asked:
        preset = {k: v for k, v in preset.items() if k != 'img_size'}
    for default, source in ((config, given.get('config')), (preset, 'preset'), (config, ''), (options, 'search()')):
        set_options(parser, default, str(source))
        given = {**{k.replace('-', '_'): v for k, v in default.items()}, **given}
    args = parser.parse_args(argv)
    anew, args.resume = args.resume == AUTO, folder_to_resume(args.resume, args.output)
    if args.resume is None:
        for check in (check_strategy, check_supernet):
            check(args, build_parser(), direct, {k.replace('-', '_') for k in config})
    if args.init_from and 'space' not in asked:
        args.space = AROUND
    _say_left_out(args, asked, preset)
    _fit_to_epochs(args, asked, preset)
    usual = build_parser()  # `config` may have all options of an earlier search
    meant = {k for k in asked if k in direct or getattr(args, k) != usual.get_default(k)}
    if args.resume is not None:
        return resumed(args, given, (set(preset) | asked) - meant, build_parser(), _check)
    _say_unused(args, meant)
    _check(args)
    if not args.output:
        raise UsageError('--output OUT is required: the folder to write the search to')
    args.workers = default_workers(2) if args.workers is None else args.workers
    args.anew = anew
    return args


def _say_left_out(args: argparse.Namespace, asked: Set[str], preset: Mapping[str, Any]) -> None:
    """Say which settings of the preset this search has no use for."""
    left_out = [name for name, value in preset.items() if name not in asked and getattr(args, name) != value]
    if left_out and not args.resume and os.environ.get('RANK', '0') == '0':
        flags = ', '.join(f'--{name.replace("_", "-")}' for name in left_out)
        _logger.warning('--preset %s: this search has no use for its %s: left out', args.preset, flags)


def _say_unused(args: argparse.Namespace, asked: Set[str]) -> None:
    """Say which options that were asked for have no effect beside the others."""
    no_budget = args.target_macs is args.target_params is args.target_latency is None
    for name, is_unused, reason in (
        ('lam', args.num_samples is not None, f'K is --num-samples {args.num_samples}'),
        ('weight_window', args.weight_draws != 'budget', 'it is for --weight-draws budget'),
        ('beta', args.cost_form == MULTIPLIER, f'--cost-form {MULTIPLIER} finds it'),
        ('beta', args.cost_form != MULTIPLIER and no_budget, 'there is no budget'),
        ('cost_form', no_budget, 'there is no budget'),
        ('tolerance', no_budget, 'there is no budget'),
        ('amp_dtype', not args.amp, '--amp is off'),
        *((name, args.no_aug, '--no-aug switches the augmentation off') for name in AUGMENTATION),
    ):
        if is_unused and name in asked and os.environ.get('RANK', '0') == '0':
            _logger.warning('--%s %s is not used: %s', name.replace('_', '-'), getattr(args, name), reason)


def _fit_to_epochs(args: argparse.Namespace, asked: Set[str], preset: Mapping[str, Any]) -> None:
    """Scale the defaults that are counted in epochs down to `--epochs`; those that were asked for stay."""
    changed = []
    for name in ('warmup_epochs', 'joint_epoch', 'warmup_lr_epochs'):
        value = getattr(args, name)
        if not args.epochs or name in asked or value is None or args.strategy not in ONLY.get(name, STRATEGIES):
            continue
        fitting = max(0, min(value, math.ceil(value * args.epochs / preset.get('epochs', EPOCHS)), args.epochs - 1))
        if fitting != value:
            changed.append(f'--{name.replace("_", "-")} {fitting} instead of {value}')
            setattr(args, name, fitting)
    if changed and not args.resume and os.environ.get('RANK', '0') == '0':
        _logger.warning('for --epochs %d: %s', args.epochs, ', '.join(changed))


def _check(args: argparse.Namespace) -> None:
    """Raise UsageError for options that contradict each other."""
    if not args.epochs and (args.strategy == FP_NAS or args.supernet != FITTED):
        raise UsageError('--epochs 0: expected 1 or more')
    if args.init_from_model and not args.init_from:
        raise UsageError('--init-from-model is for a file of weights: give it with --init-from FILE')
    if args.alpha_split and args.alpha_split == args.train_split:
        raise UsageError(f'--alpha-split {args.alpha_split}: its images train the weights: expected another split')
    if args.distill and args.weight_archs == 'sampled':
        raise UsageError(
            f'--distill {args.distill:g}: the others learn from the largest architecture, which is not in the step: '
            'expected --weight-archs sandwich or largest'
        )
    if args.weight_draws == 'budget' and args.target_macs is None:
        of = ', an option of --preset thorough' if args.preset == THOROUGH else ''
        raise UsageError(f'--weight-draws budget{of}: expected --target-macs, the budget, or --weight-draws search')
    if args.target_latency is not None and args.latency_table is None:
        raise UsageError(
            f'--target-latency {shown_ms(args.target_latency)}: expected --latency-table FILE, which says how long '
            'networks take: measure one with fpnas latency measure'
        )
    if args.class_weights and args.balanced_sampling:
        raise UsageError('--class-weights and --balanced-sampling correct for the same thing: give one of them')
    args.in_chans = args.in_chans or (args.input_size[0] if args.input_size else BANDS.get(args.input_img_mode, 3))
    check_image_options(args)
    check_order(args, 'scale', 'ratio')
    if args.resume:
        return
    for name in ('warmup_epochs', 'joint_epoch', 'warmup_lr_epochs'):
        value = getattr(args, name)
        if value is not None and 0 < args.epochs <= value and args.strategy in ONLY.get(name, STRATEGIES):
            raise UsageError(f'--{name.replace("_", "-")} {value}: expected fewer than --epochs, {args.epochs}')


def _given(parser: Parser, argv: Sequence[str] | None) -> dict[str, Any]:
    """The options given on the command line itself; an unknown option raises UsageError with a suggestion."""
    bare = Parser(argument_default=argparse.SUPPRESS, add_help=False)
    for action in known_options(parser).values():
        kwargs: dict[str, Any] = {'nargs': action.nargs} if action.nargs != 0 else {'action': 'store_true'}
        if action.dest == 'config':  # the only one that is read before the others are checked
            kwargs['type'] = action.type
        bare.add_argument(*action.option_strings, dest=action.dest, **kwargs)
    argv = sys.argv[1:] if argv is None else argv
    return vars(bare.parse_args([a for a in argv if a not in ('-h', '--help')]))
