"""The options of `search.py`: the search's own, and timm's names for data, augmentation, optimizer and precision."""
import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..paper import TABLE_B1
from ..runs.options import OptionGroup, known_options, load_yaml, set_options
from .names import ARGS_FILE, COST_FORMS

__all__ = ['PRESETS', 'build_parser', 'parse_search_args', 'search_options']

# The paper's settings of a space, by its name: supplement, sections B and E; main paper, section 3 and Table 5.
PRESETS: dict[str, dict[str, Any]] = {
    name: {
        'space': name,
        'img_size': row.img_size,
        'target_macs': row.macs * 1e6,
        'target_num_classes': 1000,  # the target is that of the ImageNet model, whatever classes are searched on
        'search_classes': 100,
        'epochs': 315,
        'warmup_epochs': 45,
        'joint_epoch': 80,
        'lam': 0.25,
    }
    for name, row in TABLE_B1.items()
}
# FP-NAS-S1, without splits: the space of the paper's studies (main paper, Tables 5 and 6; supplement, Table E.7).
PRESETS['fbnetv2_f'] = {**PRESETS['fpnas_s1pp'], 'space': 'fbnetv2_f', 'target_macs': 58e6}

# What a resumed search may change: nothing that its result depends on.
CHANGEABLE_ON_RESUME = frozenset(
    'resume config preset output workers pin_mem log_interval log_tensorboard log_wandb wandb_project wandb_tags '
    'wandb_resume_id'.split()
)


def build_parser() -> argparse.ArgumentParser:
    """The parser of `search.py`."""
    parser = argparse.ArgumentParser(
        prog='search.py',
        allow_abbrev=False,
        description='FP-NAS: search a network for your images and your budget of multiply-adds.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        epilog='example: python search.py --space fpnas_s1pp --data-dir DIR --img-size 32 --target-macs 3M --epochs 20 '
        '--warmup-epochs 4 --joint-epoch 10 --lam 0.25 --beta 0.3 --output OUT',
    )
    add = OptionGroup(parser, 'run')
    add('--output', None, 'folder to write; a new one', metavar='OUT')
    add('--resume', None, 'go on with the search in this folder, with its own settings', metavar='OUT')
    add('-c --config', None, 'YAML file of options; the command line wins over it', metavar='FILE')
    add('--preset', None, "the paper's settings for a space", choices=tuple(PRESETS))
    add('--seed', 0, 'seed of weights, halves, samples and augmentation')
    add('--device', 'cpu', "'cpu' or 'cuda'; with torchrun, of each process")
    add('--workers -j', 2, 'processes that load images')
    add('--log-interval', 50, 'steps between lines of the log where there is no progress bar')
    add('--log-tensorboard', False, 'also write TensorBoard event files into the folder')
    add('--log-wandb', False, 'also log to Weights & Biases')
    add('--wandb-project', None, 'its project')
    add('--wandb-tags', [], 'its tags', type=str, nargs='*')
    add('--wandb-resume-id', '', 'the id of the run to go on with')

    add = OptionGroup(parser, 'search')
    add('--space', 'fpnas_s1pp', "a space of the paper, or a .json file (docs/spaces.md)", metavar='NAME|FILE')
    add('--target-macs', None, 'budget of multiply-adds: 3M, 0.4G; none without', type=quantity, metavar='N')
    add('--target-num-classes', None, "classes of the network that the budget is for; the data's without", type=int)
    add('--tolerance', 0.02, 'the result has (1 - X) x the target to the target')
    add('--epochs', 20, 'epochs in all')
    add('--warmup-epochs', 4, 'of them with alpha frozen')
    add('--joint-epoch', None, 'epoch from which the distribution is joint; never without, 0: always', type=int)
    add('--lam', 0.25, 'lambda of adaptive sampling: K = lambda x entropy in nats, at least 2')
    add('--num-samples', None, 'a fixed K instead', type=int)
    add('--weight-samples', None, 'the weights learn from this many of the K architectures; all without', type=int)
    add('--beta', 0.3, 'weight of the cost in the loss')
    add('--cost-form', 'relative', "'relative': as printed; 'absolute' ends within the budget, 'expected' and "
        "'two-sided' on it", choices=COST_FORMS)
    add('--temperature', 1.0, "divides the log-likelihoods; 1: the paper's")
    add('--no-baseline', False, 'leave the mean weight in')
    add('--alpha-lr', 0.01, 'learning rate of alpha (Adam)')

    add = OptionGroup(parser, 'data')
    add('--data-dir', None, 'data folder', metavar='DIR')
    add('--dataset', '', "timm's TYPE/NAME; an image folder if empty")
    add('--train-split', 'train', 'the split that is searched on; both halves are made of it')
    add('--dataset-download', False, 'let torch/ and tfds/ data sets download')
    add('--class-map', '', 'file that maps class names to indices', metavar='FILE')
    add('--num-classes', None, 'checked against the data, where given', type=int)
    add('--search-classes', None, 'search on this many random classes; all without', type=int)
    add('--class-seed', 0, 'which ones')
    add('--img-size', None, "height and width of the images, pixels; the space's without", type=int)
    add('--in-chans', 3, 'channels of the images: 3 or 1', choices=(3, 1))
    add('--batch-size -b', 64, 'images of a batch, a process')
    add('--grad-accum-steps', 1, 'batches of a step')
    add('--mean', None, 'mean of the pixels, a channel', nargs='+', type=float)
    add('--std', None, 'standard deviation of the pixels, a channel', nargs='+', type=float)
    add('--crop-pct', 1.0, 'share of the image that the centre crop of the validation half keeps')
    add('--interpolation', 'bicubic', 'of the validation images')
    add('--pin-mem', False, 'pin the memory of the loader')

    add = OptionGroup(parser, 'augmentation of the training half')
    add('--no-aug', False, 'none')
    add('--scale', [0.08, 1.0], 'area of a random crop, share of the image', nargs=2, type=float)
    add('--ratio', [3 / 4, 4 / 3], 'aspect ratio of a random crop', nargs=2, type=float)
    add('--hflip', 0.5, 'probability of a horizontal flip')
    add('--vflip', 0.0, 'probability of a vertical flip')
    add('--color-jitter', 0.4, 'strength of the colour jitter; unused with --aa')
    add('--aa', None, "AutoAugment policy: 'original', 'v0', 'rand-..', 'augmix-..'")
    add('--reprob', 0.0, 'probability of random erasing')
    add('--remode', 'pixel', 'what erases')
    add('--train-interpolation', 'random', 'of the training images')

    add = OptionGroup(parser, 'weights')
    add('--opt', 'sgd', "timm's name of the optimizer")
    add('--lr', 0.05, 'learning rate')
    add('--momentum', 0.9, 'momentum')
    add('--weight-decay', 1e-4, 'weight decay')
    add('--clip-grad', 5.0, 'largest norm of the gradient; 0: any')
    add('--sched', 'cosine', "timm's name of the schedule")
    add('--warmup-lr-epochs', 1, 'epochs in which the learning rate rises')
    add('--warmup-lr', 1e-5, 'learning rate that it rises from')
    add('--min-lr', 0.0, 'learning rate at the end')
    add('--smoothing', 0.0, 'label smoothing')
    add('--amp', False, 'mixed precision')
    add('--amp-dtype', 'float16', 'its type', choices=('float16', 'bfloat16'))
    add('--channels-last', False, 'keep tensors in the channels_last memory format (on a CPU they are anyway)')
    add('--calibration-batches', 50, 'batches whose statistics the batch norms of the extracted model get')
    return parser


def quantity(text: str) -> float:
    """A number, perhaps with K, M or G behind it."""
    factors = {'k': 1e3, 'm': 1e6, 'g': 1e9}
    try:
        factor = factors.get(text[-1:].lower())
        value = float(text[:-1]) * factor if factor else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text!r}: expected a number such as 3M, 0.4G or 66000000') from None
    if not 0 < value < 1e15:
        raise argparse.ArgumentTypeError(f'{text!r}: expected a number above 0')
    return value


def parse_search_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of a search: the preset's, then the file's, then the command line's; each wins over the one before.

    With `--resume` they are those of the search in that folder.

    Raises:
        UsageError: an unknown option (with the nearest one), a bad value, or `--resume` with other settings.
    """
    parser = build_parser()
    return _resolved(parser, _given(parser, argv), {}, argv)


def search_options(options: Mapping[str, Any]) -> argparse.Namespace:
    """The options of a search from Python: as `parse_search_args`, with `options` in place of the command line.

    Args:
        options: name -> value. None stands for the default of an option, also where that is not None.

    Raises:
        UsageError: as `parse_search_args`.
    """
    parser = build_parser()
    options = {k: v for k, v in options.items() if v is not None or parser.get_default(k.replace('-', '_')) is None}
    set_options(parser, options, 'search()')  # an unknown name comes before anything about files
    return _resolved(parser, {k.replace('-', '_'): v for k, v in options.items()}, options, [])


def _resolved(
        parser: argparse.ArgumentParser, given: dict[str, Any], options: Mapping[str, Any], argv: Sequence[str] | None
) -> argparse.Namespace:
    config = load_yaml(given['config']) if given.get('config') else {}
    for name in {'config', 'resume'} & set(config):
        raise UsageError(f'{given["config"]}: {name!r} belongs on the command line')
    preset = given.get('preset', config.get('preset', ''))
    for default, source in ((config, given.get('config')), (PRESETS.get(preset, {}), 'preset'), (config, ''),
                            (options, 'search()')):
        set_options(parser, default, str(source))
        given = {**{k.replace('-', '_'): v for k, v in default.items()}, **given}
    args = parser.parse_args(argv)
    _check(args)
    if args.resume is None:
        if not args.output:
            raise UsageError('--output OUT: name a folder to write the search into')
        return args
    saved = _saved(Path(args.resume))
    differing = [
        f'--{k.replace("_", "-")} is {saved.get(k)!r} there, {getattr(args, k)!r} here'
        for k in given
        if k not in CHANGEABLE_ON_RESUME and getattr(args, k) != saved.get(k)
    ]
    if args.output is not None and Path(args.output).resolve() != Path(args.resume).resolve():
        differing.append(f'--output is {args.resume!r} there, {args.output!r} here')
    if differing:
        raise UsageError(
            f'--resume {args.resume}: other settings than that search has ({"; ".join(differing)}): leave them out to '
            'go on with it, or start a new one in another --output'
        )
    kept = {k: v for k, v in vars(args).items() if k in CHANGEABLE_ON_RESUME and k in given}
    return argparse.Namespace(**{**vars(args), **saved, **kept, 'output': args.resume, 'resume': args.resume})


def _check(args: argparse.Namespace) -> None:
    """Raise UsageError for a number that no search can have."""
    least = {
        'seed': 0, 'workers': 0, 'log_interval': 1, 'batch_size': 2, 'grad_accum_steps': 1, 'calibration_batches': 1,
        'warmup_lr_epochs': 0, 'clip_grad': 0, 'weight_decay': 0, 'momentum': 0, 'min_lr': 0,
    }
    for name, low in least.items():
        if not getattr(args, name) >= low:
            raise UsageError(f'--{name.replace("_", "-")} {getattr(args, name)}: expected {low} or more')
    if not 0 < args.lr < math.inf:
        raise UsageError(f'--lr {args.lr}: expected a number above 0')
    if args.std and 0 in args.std:
        raise UsageError('--std: expected numbers above 0')
    for name in ('mean', 'std'):
        if getattr(args, name) and len(getattr(args, name)) not in (1, args.in_chans):
            raise UsageError(f'--{name}: expected {args.in_chans} numbers, one per channel')
    if not args.resume and args.warmup_lr_epochs >= args.epochs:
        raise UsageError(f'--warmup-lr-epochs {args.warmup_lr_epochs}: expected fewer than --epochs, {args.epochs}')


def _given(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> dict[str, Any]:
    """What the command line itself says; an unknown option raises UsageError with the nearest one."""
    known = known_options(parser)
    bare = argparse.ArgumentParser(argument_default=argparse.SUPPRESS, add_help=False, allow_abbrev=False)
    flags: list[str] = []
    for action in known.values():
        kwargs = {'nargs': action.nargs} if action.nargs != 0 else {'action': 'store_true'}
        bare.add_argument(*action.option_strings, dest=action.dest, **kwargs)
        flags += action.option_strings
    argv = sys.argv[1:] if argv is None else argv
    given, rest = bare.parse_known_args([a for a in argv if a not in ('-h', '--help')])
    if rest:
        close = get_close_matches(rest[0].partition('=')[0], flags, n=1)
        raise UsageError(f'unknown option {rest[0]}{f"; did you mean {close[0]}?" if close else ""}')
    return vars(given)


def _saved(folder: Path) -> dict[str, Any]:
    path = folder / ARGS_FILE
    if not path.exists():
        raise UsageError(f'--resume {folder}: no search there ({path} does not exist)')
    return load_yaml(path)
