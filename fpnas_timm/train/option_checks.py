"""Checks of the options of `fpnas train`: what is not supported, and what does not go together."""
import argparse
import logging
import os
from collections.abc import Mapping, Set
from typing import Any

from ..errors import UsageError
from ..recipes import Recipe, find_recipe
from ..runs.image_options import check_image_options
from ..runs.options import AUGMENTATION
from ..runs.parser import check_order, read_arch_file

__all__ = ['UNSUPPORTED', 'check_effects', 'check_options', 'loss_of', 'unused_beside_others', 'unused_options']

_logger = logging.getLogger('train')

# timm's option -> (its default, why it is not supported and what to use instead)
UNSUPPORTED: dict[str, tuple[Any, str]] = {
    'drop_connect': (None, 'timm itself no longer reads it: use --drop-path'),
    'fuser': ('', 'it chose a fuser for TorchScript: use --torchcompile'),
    'torchscript': (False, 'use --torchcompile'),
    'tta': (0, 'timm has no loader for it'),
    'use_multi_epochs_loader': (False, 'the loader keeps its workers anyway, and a run could not be resumed exactly'),
    'naflex_loader': (False, 'NaFlex is for vision transformers'),
    'naflex_train_seq_lens': ([128, 256, 576, 784, 1024], 'NaFlex is for vision transformers'),
    'naflex_max_seq_len': (576, 'NaFlex is for vision transformers'),
    'naflex_patch_sizes': (None, 'NaFlex is for vision transformers'),
    'naflex_patch_size_probs': (None, 'NaFlex is for vision transformers'),
    'naflex_loss_scale': ('linear', 'NaFlex is for vision transformers'),
    'naflex_patchify_channels_first': (False, 'NaFlex is for vision transformers'),
    'kd_token_distill_type': ('soft', 'distillation tokens are for vision transformers'),
    'multilabel_threshold': (0.5, 'only one label per image: see docs/training.md, Several labels per image'),
}

# option -> the options without which it has no effect; one of them is enough
NEEDED: dict[str, tuple[str, ...]] = {
    'val_seed': ('val_fraction',),
    'amp_dtype': ('amp',),
    'clip_mode': ('clip_grad',),
    **dict.fromkeys(('layer_decay_min_scale', 'layer_decay_no_opt_scale'), ('layer_decay',)),
    **dict.fromkeys(('lr_noise_pct', 'lr_noise_std'), ('lr_noise',)),
    **dict.fromkeys(('remode', 'recount', 'resplit'), ('reprob',)),
    **dict.fromkeys(
        ('mixup_prob', 'mixup_switch_prob', 'mixup_mode', 'mixup_off_epoch'), ('mixup', 'cutmix', 'cutmix_minmax'),
    ),
    **dict.fromkeys((
        'train_batch_sizes', 'train_size_probs', 'train_size_schedule', 'train_size_schedule_spread',
        'train_size_random_mix', 'train_batches_per_epoch', 'variable_batch_loss_scale',
    ), ('train_img_sizes',)),
    **dict.fromkeys(('bce_sum', 'bce_target_thresh', 'bce_pos_weight'), ('bce_loss',)),
    **dict.fromkeys(('model_ema_force_cpu', 'model_ema_decay', 'model_ema_warmup'), ('model_ema',)),
    **dict.fromkeys((
        'kd_distill_type', 'kd_loss_type', 'distill_loss_weight', 'task_loss_weight', 'kd_temperature',
        'kd_student_feature_dim', 'kd_teacher_feature_dim',
    ), ('kd_model_name',)),
}
# option -> the options that have no effect beside it
REPLACED: dict[str, tuple[str, ...]] = {
    'lr': ('lr_base', 'lr_base_size', 'lr_base_scale'),
    'no_aug': (
        *AUGMENTATION, 'train_crop_mode', 'color_jitter_prob', 'grayscale_prob', 'gaussian_blur_prob', 'recount',
        'resplit',
    ),
}
# option -> the schedules in which timm uses it
OF_SCHEDULES: dict[str, tuple[str, ...]] = {
    'decay_milestones': ('multistep',),
    'patience_epochs': ('plateau',),
    'decay_epochs': ('step', 'wsd', 'rsqrt'),
    'decay_rate': ('step', 'multistep', 'plateau', 'poly'),
    'lr_decay_fn': ('wsd', 'rsqrt'),
    'lr_stable_timescale': ('rsqrt',),
    'lr_k_decay': ('cosine', 'poly'),
    **dict.fromkeys(('lr_cycle_mul', 'lr_cycle_decay', 'lr_cycle_limit'), ('cosine', 'tanh', 'poly')),
    'min_lr': ('cosine', 'tanh', 'plateau', 'poly', 'wsd', 'rsqrt'),
}
NO_EFFECT = (None, False, 'none', 'constant')  # values that ask for nothing


def loss_of(args: argparse.Namespace) -> str:
    """The name of the loss: 'ce', 'bce', ..; `--loss` overrides the flags of a recipe or a file."""
    return str(args.loss or ('jsd' if args.jsd_loss else 'bce' if args.bce_loss else 'ce'))


def check_effects(
        args: argparse.Namespace, in_file: Set[str], given: Set[str], defaults: Mapping[str, Any]
) -> None:
    """Raise UsageError for an option without effect, or for two losses.

    An option may be given with the one that it needs switched off (`model_ema: false`), as in the args.yaml of a run.

    Args:
        args: the options.
        in_file: names of the options in the YAML file.
        given: names of the options on the command line, or in Python.
        defaults: of options that ask for nothing if they are given as they are by default: in Python, where a caller
            may pass all of them.
    """
    for asked in (given, in_file | given):
        for name in sorted(asked & set(NEEDED)):
            needed = NEEDED[name]
            there = any(getattr(args, n) or n in args.opt_kwargs for n in needed)
            there = loss_of(args) == 'bce' if 'bce_loss' in needed else there
            if not there and not asked & set(needed) and getattr(args, name) not in (*NO_EFFECT, defaults.get(name)):
                flags = ' or '.join(f'--{_dashes(n)}' for n in needed)
                missing = 'it' if len(needed) == 1 else 'one of them'
                raise UsageError(f'--{_dashes(name)} needs {flags}: it has no effect without {missing}')
    if 'lr' not in given and given & set(REPLACED['lr']):
        args.lr = None  # that of a recipe or a file, which the command line overrides
    for name, others in REPLACED.items():
        without = [n for n in sorted(given & set(others)) if getattr(args, n) not in (*NO_EFFECT, '', defaults.get(n))]
        if getattr(args, name) and without:
            advice = ': give one of them' if name in given else f', which is in {args.config}: change it there'
            raise UsageError(f'--{_dashes(without[0])} has no effect with --{_dashes(name)}{advice}')
    losses = [name for name, loss in (('jsd_loss', 'jsd'), ('bce_loss', 'bce')) if getattr(args, name)]
    overridden = 'loss' in given and not given & set(losses)
    if not overridden and len({loss_of(args), *(name.partition('_')[0] for name in losses)}) > 1:
        named = [f'--loss {args.loss}'] * bool(args.loss) + [f'--{_dashes(name)}' for name in losses]
        raise UsageError(f'{" and ".join(named)} are different losses: give one of them')
    for name in losses if overridden else ():
        setattr(args, name, False)  # so that the args.yaml of the run has one loss


def unused_beside_others(args: argparse.Namespace, given: Set[str]) -> list[str]:
    """What to say of options that have no effect with the values of others.

    Args:
        args: the options.
        given: names of those given on the command line, or in Python.
    """
    features, constant = args.kd_distill_type == 'feature', args.train_size_schedule == 'constant'
    cuts = args.cutmix or args.cutmix_minmax
    found = [
        (name, args.sched not in schedules, f'--sched {args.sched} does not have it')
        for name, schedules in OF_SCHEDULES.items()
    ]
    found += [
        ('color_jitter', bool(args.aa) and '3a' not in args.aa, f'--aa {args.aa} takes its place'),
        ('mixup_switch_prob', not (args.mixup and cuts), 'it needs --mixup and --cutmix'),
        ('train_size_schedule_spread', constant, 'it is for --train-size-schedule progressive'),
        ('train_size_random_mix', constant, 'it is for --train-size-schedule progressive'),
        ('kd_temperature', features, 'it is for --kd-distill-type logit'),
        ('kd_student_feature_dim', not features, 'it is for --kd-distill-type feature'),
        ('kd_teacher_feature_dim', not features, 'it is for --kd-distill-type feature'),
        ('no_resume_opt', not args.resume, 'there is no --resume'),
        ('dataset_download', not args.dataset, 'an image folder is not downloaded'),
        ('wandb_project', not args.log_wandb, 'there is no --log-wandb'),
        ('wandb_tags', not args.log_wandb, 'there is no --log-wandb'),
    ]
    return [
        f'--{_dashes(name)} is not used: {reason}' for name, is_unused, reason in found
        if is_unused and name in given and getattr(args, name) not in (*NO_EFFECT, '', [])
    ]


def unused_options(args: argparse.Namespace, distributed: bool, group: Mapping[str, Any]) -> list[str]:
    """What to say of options that have no effect in this run.

    Args:
        args: the options.
        distributed: several processes train.
        group: a parameter group of the optimizer.
    """
    found = []
    if args.sync_bn and not distributed:
        found.append('--sync-bn: has no effect with a single process')
    of_recipe = find_recipe(args.recipe).options if args.recipe else {}
    for name, entry in (('opt_betas', 'betas'), ('opt_eps', 'eps')):
        if getattr(args, name) is not None and entry not in group and name not in of_recipe:
            found.append(f'--{_dashes(name)}: has no effect on {args.opt}, which has no {entry}')
    if args.momentum != 0.9 and 'momentum' not in group and 'momentum' not in of_recipe:  # not the default
        found.append(f'--momentum: has no effect on {args.opt}, which has no momentum')
    return found


def _dashes(name: str) -> str:
    return name.replace('_', '-')


def check_options(args: argparse.Namespace, recipe: Recipe | None, asked: Set[str] = frozenset()) -> None:
    """Raise UsageError for options that are not supported or contradict each other; resolve `--arch-file`.

    Args:
        args: the options; the default of `--warmup-epochs` is made to fit `--epochs`.
        recipe: the recipe that was used, if any.
        asked: names of the options that were given, other than by the recipe.
    """
    for name, (default, reason) in UNSUPPORTED.items():
        if getattr(args, name) != default:
            raise UsageError(f'--{_dashes(name)} is not supported here: {reason}')
    if args.task != 'classification':
        raise UsageError(
            f'--task {args.task} is not supported here, only classification, one label per image: docs/training.md '
            '(Several labels per image) has a script with the parts of timm'
        )
    args.kd_model_name = args.kd_model_name or None  # '' switches off the teacher of a recipe
    if args.arch_file:
        arch = read_arch_file(args.arch_file)
        if args.model_kwargs.get('arch', arch) != arch:
            raise UsageError(f'--arch-file {args.arch_file}: is another architecture than --model-kwargs: give one')
        args.model_kwargs = {**args.model_kwargs, 'arch': arch}
        if args.model != 'fpnas' and (args.model != 'resnet50' or 'model' in asked):  # not the default
            raise UsageError(f'--arch-file {args.arch_file} is for --model fpnas, not {args.model}')
        args.model = 'fpnas'
    if args.pretrained_path and args.initial_checkpoint:
        raise UsageError('--pretrained-path and --initial-checkpoint both load weights: give one of them')
    _check_start(args, asked)
    if recipe and recipe.options.get('model', args.model) != args.model:
        raise UsageError(
            f'recipe {recipe.name} is for {recipe.options["model"]}, not {args.model}: use a recipe for any model '
            f'(such as {recipe.name.partition("/")[2] or "ls+aa+ema"}), or one of {args.model} (--list-recipes)'
        )
    check_order(args, 'scale', 'ratio', 'cutmix_minmax')
    check_image_options(args)
    loss, mixes = loss_of(args), args.mixup or args.cutmix or args.cutmix_minmax
    sizes = [args.batch_size, *(args.train_batch_sizes or ())]
    checks = [
        (args.aug_splits != 1, '--aug-splits 1: expected 0, or at least 2'),
        (not args.split_bn or args.aug_splits > 1 or args.resplit, '--split-bn needs --aug-splits or --resplit'),
        (loss != 'jsd' or args.aug_splits > 1, 'the jsd loss needs --aug-splits'),
        (not args.amp or args.model_dtype in (None, 'float32'), '--amp needs a float32 model: leave out --model-dtype'),
        (args.resume != 'auto' or args.experiment, '--resume auto needs --experiment, the run to continue'),
        (not args.wandb_resume_id or args.resume, '--wandb-resume-id needs --resume'),
        (
            not (args.class_weights and args.balanced_sampling),
            '--class-weights and --balanced-sampling correct for the same thing: give one of them',
        ),
        (
            not args.class_weights or loss == 'ce',
            '--class-weights is for the cross-entropy (--loss ce): use --balanced-sampling with other losses',
        ),
        (
            not (args.balanced_sampling and args.aug_repeats),
            '--balanced-sampling and --aug-repeats both choose the images of an epoch: give one of them',
        ),
        (not args.torchcompile_mode or args.torchcompile, '--torchcompile-mode needs --torchcompile'),
        (not mixes or all(size % 2 == 0 for size in sizes),
         f'--mixup and --cutmix mix pairs of images: --batch-size {args.batch_size}: expected an even number'),
        (not args.lr_noise or len(args.lr_noise) < 3, '--lr-noise: expected a start, or a start and an end'),
        (not args.train_size_probs or sum(args.train_size_probs) > 0, '--train-size-probs: expected a number above 0'),
    ]
    for good, message in checks:
        if not good:
            raise UsageError(message)
    _fit_warmup(args, 'warmup_epochs' in asked)


def _check_start(args: argparse.Namespace, asked: Set[str]) -> None:
    """Raise UsageError for what contradicts `--init-from`; without a model it is the source's own network."""
    if not args.init_from:
        if args.init_from_model:
            raise UsageError('--init-from-model is for a file of weights: give it with --init-from FILE')
        return
    for name in ('pretrained', 'pretrained_path', 'initial_checkpoint'):
        if getattr(args, name):
            raise UsageError(f'--init-from and --{_dashes(name)} both load weights: give one of them')
    if args.resume and args.resume != 'auto':
        raise UsageError('--init-from and --resume both load weights: a run that is resumed has its own')
    if 'model' not in asked:
        args.model = 'fpnas'


def _fit_warmup(args: argparse.Namespace, asked: bool) -> None:
    """A default warm-up that is no shorter than the schedule is halved to fit; one that was asked for is refused."""
    warmup, epochs = args.warmup_epochs, args.epochs
    if args.warmup_prefix or not warmup or warmup < epochs or args.sched == 'none':
        return
    if asked:
        raise UsageError(
            f'--warmup-epochs {warmup}: expected fewer than --epochs, {epochs} (or --warmup-prefix, which adds them)'
        )
    args.warmup_epochs = epochs // 2
    if os.environ.get('RANK', '0') == '0':
        _logger.warning('for --epochs %d: --warmup-epochs %d instead of %d', epochs, args.warmup_epochs, warmup)
