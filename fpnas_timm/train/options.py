"""The options of `fpnas train`: those of timm's `train.py`, with the same names, defaults and meaning, and a few more.

Options of timm's script that are not supported (`UNSUPPORTED`) are rejected by name, never silently ignored. A YAML
file written by timm's script (`args.yaml`) is accepted if it does not use any of them.
"""
import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence, Set
from typing import Any

from ..errors import UsageError
from ..recipes import Recipe, find_recipe
from ..runs.options import OptionGroup, ParseKwargs
from ..runs.parser import Parser, default_workers, known_options, load_yaml, set_options
from ..runs.values import Value
from .option_checks import UNSUPPORTED, check_effects, check_options, unused_beside_others

__all__ = ['build_parser', 'parse_train_args', 'train_options']

_logger = logging.getLogger('train')


def build_parser(prog: str = 'fpnas train') -> Parser:
    """The parser of `fpnas train`; `prog` is the command name shown in its usage."""
    parser = Parser(
        prog=prog,
        description="Train a network on images, with timm's parts and the paper's recipes.",
    )
    parser.add_argument('data', nargs='?', metavar='DIR', help='data folder, as --data-dir')

    add = OptionGroup(parser, 'specific to fpnas')
    add('--recipe', None, "name of a recipe of the paper, see --list-recipes", metavar='NAME')
    add('--list-recipes', False, "print the recipes with the paper's accuracies and exit")
    add('-c --config', None, 'YAML file of options; it overrides the recipe, the command line overrides both',
        metavar='FILE')
    add.shared('arch_file')
    add('--freeze', None, 'freeze the first N layers, or `all` except the classifier', metavar='N|all')
    add.shared('log_tensorboard')

    for add_groups in (_add_data_and_model, _add_optimizer, _add_augmentation, _add_rest):
        add_groups(parser)
    for name, (default, _) in UNSUPPORTED.items():
        flag = f'--{name.replace("_", "-")}'
        if default is False:
            parser.add_argument(flag, action='store_true', help=argparse.SUPPRESS)
        else:
            nargs = '+' if isinstance(default, list) or 'patch_size' in name else None
            parser.add_argument(flag, nargs=nargs, default=default, help=argparse.SUPPRESS)
    return parser


def _add_data_and_model(parser: Parser) -> None:
    """The groups `data`, `model` and `device`."""
    add = OptionGroup(parser, 'data')
    add.shared('data_dir', 'dataset', 'train_split')
    add('--val-split', 'validation', "name of the validation split; '' for none")
    add('--val-fraction', 0.0, 'without a validation split: hold out this fraction of the training images, of each '
        'class, for validation; they are listed in validation.txt')
    add('--val-seed', 0, 'random seed of --val-fraction')
    add('--train-num-samples', None, 'number of images in the training split, for streaming datasets', type=int)
    add('--val-num-samples', None, 'number of images in the validation split, for streaming datasets', type=int)
    add.shared('dataset_download', 'class_map', 'img_extensions', 'input_img_mode')
    add('--input-key', None, 'name of the image field, for datasets with fields')
    add('--target-key', None, 'name of the class field, for datasets with fields')
    add('--dataset-trust-remote-code', False, "allow a Hugging Face dataset to run code from its repository")
    add.shared('class_weights', 'balanced_sampling')
    add('--task', 'classification', 'only classification (one label per image) is supported')

    add = OptionGroup(parser, 'model')
    add.shared('model', default='resnet50')
    add.shared('model_kwargs', 'pretrained')
    add('--pretrained-path', None, 'load this file like the published weights: the head and the first convolution are '
        'adapted', metavar='FILE')
    add('--pretrained-cfg-overlay', {}, "KEY=VALUE entries that override the model's pretrained cfg", nargs='*',
        action=ParseKwargs)
    add.shared('init_from', 'init_from_model')
    add('--initial-checkpoint', '', 'start from exactly these weights', metavar='FILE')
    add('--resume', '', "continue from this training checkpoint; `auto`: from the last one of --experiment, if any",
        metavar='FILE')
    add('--no-resume-opt', False, 'resume without the optimizer state')
    add.shared('num_classes', 'gp', 'img_size', 'in_chans', 'input_size', 'crop_pct', 'mean', 'std', 'interpolation')
    add.shared('batch_size')
    add('-vb --validation-batch-size', None, 'validation batch size, per process', type=int,
        otherwise='--batch-size')
    add.shared('channels_last', 'grad_accum_steps')
    add('--grad-checkpointing', False, 'recompute activations in the backward pass: less memory, more time')
    add('--fast-norm', False, "timm's faster norm layers for low precision")
    add('--head-init-scale', None, "factor on the classifier's initial weights and bias", type=float)
    add('--head-init-bias', None, "the classifier's initial bias", type=float)
    add.shared('torchcompile')
    add('--torchcompile-mode', None, 'mode of torch.compile')

    add = OptionGroup(parser, 'device')
    add.shared('device', 'amp', 'amp_dtype', 'model_dtype')
    add('--no-ddp-bb', False, 'do not broadcast buffers in a distributed run')
    add('--synchronize-step', False, 'wait for the device after each update')
    add('--local_rank', 0, 'set by launchers; environment variables take precedence')
    add.shared('device_modules')


def _add_optimizer(parser: Parser) -> None:
    """The groups `optimizer` and `learning rate`."""
    add = OptionGroup(parser, 'optimizer')
    add.shared('opt')
    add('--opt-eps', None, "epsilon", otherwise="the optimizer's", type=float)
    add('--opt-betas', None, "betas", otherwise="the optimizer's", nargs='+', type=float)
    add.shared('momentum', 'weight_decay')
    add('--clip-grad', None, 'clip gradients to this value', type=float)
    add('--clip-mode', 'norm', 'gradient clipping mode', choices=('norm', 'value', 'agc'))
    add('--layer-decay', None, 'factor on the learning rate, per layer away from the head', type=float)
    add('--layer-decay-min-scale', 0.0, 'lower bound of that factor')
    add('--layer-decay-no-opt-scale', None, 'layers whose factor is below this are not trained', type=float)
    add('--opt-kwargs', {}, 'KEY=VALUE arguments of the optimizer', nargs='*', action=ParseKwargs)

    add = OptionGroup(parser, 'learning rate')
    add.shared('sched')
    add('--sched-on-updates', False, 'update the learning rate after every update instead of every epoch')
    add.shared('lr', otherwise='--lr-base, scaled to the global batch')
    add('--lr-base', 0.1, 'learning rate at a global batch of --lr-base-size')
    add('--lr-base-size', 256, 'global batch that --lr-base is for')
    add('--lr-base-scale', '', "scaling with the batch: 'linear' or 'sqrt'",
        otherwise='sqrt for Ada* and LAMB optimizers, else linear')
    add('--lr-noise', None, 'start and end of learning-rate noise, as fractions of the schedule', nargs='+',
        type=float)
    add('--lr-noise-pct', 0.67, 'maximum relative amount of the noise')
    add('--lr-noise-std', 1.0, 'standard deviation of the noise')
    add('--lr-cycle-mul', 1.0, 'factor on the length of each cycle')
    add('--lr-cycle-decay', 0.5, 'factor on the learning rate of each cycle')
    add('--lr-cycle-limit', 1, 'number of cycles')
    add('--lr-k-decay', 1.0, 'k-decay of cosine and poly')
    add('--lr-decay-fn', None, 'shape of the final decay of wsd and rsqrt')
    add('--lr-stable-timescale', None, 'time scale of rsqrt in epochs', type=float)
    add.shared('warmup_lr', 'min_lr')
    add('--epochs', 300, 'length of the schedule in epochs')
    add('--stop-epoch', None, 'stop after this many epochs, without changing the schedule', type=int)
    add('--epoch-repeats', 0.0, 'number of passes over a streaming dataset per epoch')
    add('--start-epoch', None, "number of the first epoch", otherwise="the checkpoint's", type=int)
    add('--decay-milestones', [90, 180, 270], 'epochs at which multistep decays the learning rate', nargs='+', type=int)
    add('--decay-epochs', None, 'epochs between decays of step; length of the decay of wsd',
        type=float)
    add('--warmup-epochs', 5, 'epochs of linear warm-up')
    add('--warmup-prefix', False, 'add the warm-up before --epochs instead of including it')
    add('--cooldown-epochs', 0, 'epochs at --min-lr after the schedule')
    add('--patience-epochs', 10, 'epochs without improvement before plateau decays the learning rate')
    add('--decay-rate --dr', 0.1, 'factor on the learning rate at each decay')


def _add_augmentation(parser: Parser) -> None:
    """The group `augmentation and regularisation`."""
    add = OptionGroup(parser, 'augmentation and regularisation')
    add.shared('no_aug')
    add('--train-crop-mode', None, 'how training images are cropped', otherwise='random resized crops')
    add.shared('scale', 'ratio', nargs=2)
    add.shared('hflip', 'vflip', 'color_jitter')
    add('--color-jitter-prob', None, 'probability of colour jitter', type=float)
    add('--grayscale-prob', None, 'probability of conversion to greyscale', type=float)
    add('--gaussian-blur-prob', None, 'probability of blur', type=float)
    add.shared('aa')
    add('--aug-repeats', 0.0, 'number of augmentation repeats, in distributed runs')
    add('--aug-splits', 0, 'number of separately augmented parts of a batch; 0 or at least 2')
    add('--loss', None, 'loss', otherwise='cross-entropy', choices=('ce', 'bce', 'asl', 'poly', 'jsd'))
    add('--jsd-loss', False, 'same as --loss jsd; needs --aug-splits')
    add('--bce-loss', False, 'same as --loss bce')
    add('--bce-sum', False, 'sum the binary cross-entropy over classes')
    add('--bce-target-thresh', None, 'make soft targets 0 or 1 at this threshold', type=float)
    add('--bce-pos-weight', None, 'weight of the positive term', type=float)
    add.shared('reprob', 'remode')
    add('--recount', 1, 'number of erased rectangles')
    add('--resplit', False, 'no random erasing in the first part of --aug-splits')
    add('--mixup', 0.0, 'alpha of mixup')
    add('--cutmix', 0.0, 'alpha of cutmix')
    add('--cutmix-minmax', None, 'minimum and maximum fraction of a cut', nargs=2, type=float)
    add('--mixup-prob', 1.0, 'probability of mixup or cutmix')
    add('--mixup-switch-prob', 0.5, 'probability of cutmix instead of mixup if both are enabled')
    add('--mixup-mode', 'batch', "draw mixing parameters per 'batch', 'pair' or 'elem'")
    add('--mixup-off-epoch', 0, 'disable mixup from this epoch on; 0: never')
    add.shared('smoothing', 'train_interpolation')
    add('--drop', 0.0, 'dropout rate before the classifier')
    add('--drop-path', None, 'stochastic depth rate', type=float)
    add('--drop-block', None, 'DropBlock rate, for models that support it', type=float)
    add('--train-img-sizes', None, 'image sizes; one is drawn per batch', nargs='+', type=int)
    add('--train-batch-sizes', None, 'batch size of each of --train-img-sizes', nargs='+', type=int)
    add('--train-size-probs', None, 'weight of each of --train-img-sizes', nargs='+', type=float)
    add('--train-size-schedule', 'constant', 'how sizes are drawn', choices=('constant', 'progressive'))
    add('--train-size-schedule-spread', 0.65, 'width of the progressive window, in sizes')
    add('--train-size-random-mix', 0.1, 'fraction of uniform draws in the progressive schedule')
    add('--train-batches-per-epoch --train-steps-per-epoch', None, 'number of batches per epoch', type=int)
    add('--variable-batch-loss-scale', 'none', 'scale gradients with the batch size of --train-batch-sizes',
        choices=('none', 'sqrt', 'linear'))


def _add_rest(parser: Parser) -> None:
    """The groups `batch norm` to `run`."""
    add = OptionGroup(parser, 'batch norm')
    add('--bn-momentum', None, "momentum", otherwise="the model's", type=float)
    add('--bn-eps', None, "epsilon", otherwise="the model's", type=float)
    add('--sync-bn', False, 'synchronise batch statistics over all processes (GPUs only)')
    add('--dist-bn', 'reduce', "how running statistics are shared after each epoch: 'reduce' (mean over processes), "
        "'broadcast' (from rank 0) or ''", choices=('reduce', 'broadcast', ''))
    add('--split-bn', False, 'separate batch norms for each part of --aug-splits')

    add = OptionGroup(parser, 'moving average of the weights (EMA)')
    add('--model-ema', False, 'keep, validate and export the moving average')
    add('--model-ema-force-cpu', False, 'keep it on the CPU, and do not validate it')
    add('--model-ema-decay', 0.9998, 'decay')
    add('--model-ema-warmup', False, 'start with a smaller decay')

    add = OptionGroup(parser, 'distillation')
    add('--kd-model-name', None, "the teacher: a pretrained timm model, the folder of a model or a run, or `hf-hub:`")
    add('--kd-distill-type', 'logit', 'what is matched', choices=('logit', 'feature'))
    add('--kd-loss-type', 'kl', 'loss between logits', choices=('kl',))
    add('--distill-loss-weight', None, 'weight of the distillation', otherwise='1', type=float)
    add('--task-loss-weight', None, 'weight of the label loss; if only this is given, distillation gets the rest',
        type=float)
    add('--kd-temperature', 4.0, 'temperature of the softmax')
    add('--kd-student-feature-dim', None, "width of the student's features", otherwise='measured', type=int)
    add('--kd-teacher-feature-dim', None, "width of the teacher's features", otherwise='measured', type=int)

    add = OptionGroup(parser, 'run')
    add.shared('seed')
    add('--worker-seeding', 'all', "which random generators of a DataLoader worker are seeded", choices=('all', 'part'))
    add.shared('log_interval')
    add('--val-interval', 1, 'epochs between validations and checkpoints')
    add('--recovery-interval', 0, 'updates between recovery checkpoints; 0: none')
    add('--checkpoint-hist', 10, 'number of checkpoints to keep')
    add('--save-epochs', None, 'epochs whose checkpoints are kept permanently', nargs='+', type=int)
    add.shared('workers')
    add('--save-images', False, 'save a training batch as an image at every --log-interval')
    add.shared('pin_mem', 'no_prefetcher')
    add('--output', '', 'folder of runs', otherwise='output/train', metavar='DIR')
    add('--experiment', '', "name of the run's subfolder of --output", metavar='NAME',
        otherwise='made from time, model and size')
    add('--eval-metric', 'top1', 'metric that selects the best checkpoint', choices=('top1', 'top5', 'loss'))
    add.shared('log_wandb', 'wandb_project', 'wandb_tags', 'wandb_resume_id')


def parse_train_args(argv: Sequence[str] | None = None, prog: str = 'fpnas train') -> argparse.Namespace:
    """The options of a run, from the recipe, the YAML file and the command line; later sources take precedence.

    Raises:
        UsageError: an unknown option (the message suggests a similar one), an unsupported option, an invalid value, an
            unknown recipe or one for a different model, or an unreadable file.
    """
    parser = build_parser(prog)
    first = Parser(add_help=False)
    first.add_argument('--recipe', type=Value())
    first.add_argument('-c', '--config', type=Value())
    early = first.parse_known_args(argv)[0]
    recipe, asked = _set_recipe_and_file(parser, early.recipe, early.config)
    args = parser.parse_args(argv)
    if args.list_recipes:
        return args
    _finish(args, recipe, asked, _given(parser, argv), {})
    return args


def train_options(options: Mapping[str, Any]) -> argparse.Namespace:
    """The options of a run that is started from Python: like `parse_train_args`, without a command line.

    Args:
        options: name -> value, with underscores instead of dashes; may include `recipe` and `config` (a YAML file).

    Raises:
        UsageError: as in `parse_train_args`.
    """
    parser = build_parser()
    recipe, asked = _set_recipe_and_file(parser, options.get('recipe'), options.get('config'))
    set_options(parser, options, 'train()')
    args = parser.parse_args([])
    usual = {name: action.default for name, action in known_options(build_parser()).items()}
    _finish(args, recipe, asked, {name.replace('-', '_') for name in options}, usual)
    return args


def _finish(
        args: argparse.Namespace, recipe: Recipe | None, in_file: Set[str], given: Set[str], usual: Mapping[str, Any]
) -> None:
    """Check the options and fill in what follows from others."""
    check_effects(args, in_file, given, usual)
    check_options(args, recipe, in_file | given)
    for note in unused_beside_others(args, {name for name in given if getattr(args, name) != usual.get(name)}):
        if os.environ.get('RANK', '0') == '0':
            _logger.warning(note)
    args.data_dir = args.data_dir or args.data
    if args.workers is None and not args.resume:  # a resumed run has as many as before
        args.workers = default_workers()


def _given(parser: Parser, argv: Sequence[str] | None) -> set[str]:
    """The names of the options given on the command line."""
    words = [w.partition('=')[0] for w in (sys.argv[1:] if argv is None else argv)]
    return {name for name, action in known_options(parser).items() if set(action.option_strings) & set(words)}


def _set_recipe_and_file(parser: Parser, recipe_name: Any, path: Any) -> tuple[Recipe | None, set[str]]:
    """Set the parser's defaults from the recipe and then from the YAML file.

    Returns:
        The recipe, and the names of the options in the file.
    """
    config = load_yaml(path) if path else {}
    asked = {name.replace('-', '_') for name in config}
    recipe_name = recipe_name or config.get('recipe')
    recipe = find_recipe(str(recipe_name)) if recipe_name else None
    if recipe and config.get('recipe') != recipe.name:
        _check_overridden(recipe, {name.replace('-', '_'): value for name, value in config.items()}, path)
    if recipe:
        set_options(parser, recipe.options, f'recipe {recipe.name}')
    if config:
        data = config.pop('data', None)  # a positional argument, which `set_options` does not handle
        set_options(parser, config, str(path))
        parser.set_defaults(data=data)
    return recipe, asked


def _check_overridden(recipe: Recipe, config: Mapping[str, Any], path: Any) -> None:
    """Say which options of a recipe a file overrides; UsageError for the args.yaml of a run, which has all options."""
    if 'recipe' in config:
        of = f'a run with the recipe {config["recipe"]}' if config['recipe'] else 'a run without a recipe'
        raise UsageError(
            f'--recipe {recipe.name}: {path} is of {of}, and its options override all of the recipe: leave one of '
            'them out'
        )
    lost = [name for name, value in recipe.options.items() if config.get(name, value) != value]
    if lost and os.environ.get('RANK', '0') == '0':
        flags = ', '.join(f'--{name.replace("_", "-")}' for name in lost)
        _logger.warning('--recipe %s: %s overrides its %s', recipe.name, path, flags)
