"""Checks of the options of `fpnas train`: what is not supported, and what does not go together."""
import argparse
from typing import Any

from ..errors import UsageError
from ..recipes import Recipe
from ..runs.parser import read_arch_file

__all__ = ['UNSUPPORTED', 'check_options']

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
    'multilabel_threshold': (0.5, 'only one label per image'),
}


def check_options(args: argparse.Namespace, recipe: Recipe | None) -> None:
    """Raise UsageError for incompatible options; resolve `--arch-file`."""
    for name, (default, reason) in UNSUPPORTED.items():
        if getattr(args, name) != default:
            raise UsageError(f'--{name.replace("_", "-")} is not supported here: {reason}')
    if args.task != 'classification':
        raise UsageError(f'--task {args.task} is not supported here: only classification, one label per image')
    if args.arch_file:
        args.model_kwargs = {**args.model_kwargs, 'arch': read_arch_file(args.arch_file)}
        if args.model not in ('resnet50', 'fpnas'):  # the default, or already the right one
            raise UsageError(f'--arch-file {args.arch_file} is for --model fpnas, not {args.model}')
        args.model = 'fpnas'
    if recipe and recipe.options.get('model', args.model) != args.model:
        raise UsageError(
            f'recipe {recipe.name} is for {recipe.options["model"]}, not {args.model}: use a recipe for any model '
            f'(such as {recipe.name.partition("/")[2] or "ls+aa+ema"}), or one of {args.model} (--list-recipes)'
        )
    checks = [
        (args.batch_size > 0, f'--batch-size {args.batch_size}: expected at least 1'),
        (args.epochs > 0, f'--epochs {args.epochs}: expected at least 1'),
        (args.log_interval > 0, f'--log-interval {args.log_interval}: expected at least 1'),
        (args.val_interval > 0, f'--val-interval {args.val_interval}: expected at least 1'),
        (args.checkpoint_hist > 0, f'--checkpoint-hist {args.checkpoint_hist}: expected at least 1'),
        (args.workers >= 0, f'--workers {args.workers}: expected at least 0'),
        (args.aug_splits == 0 or args.aug_splits > 1, f'--aug-splits {args.aug_splits}: expected 0, or at least 2'),
        (not args.split_bn or args.aug_splits > 1 or args.resplit, '--split-bn needs --aug-splits or --resplit'),
        (not (args.jsd_loss or args.loss == 'jsd') or args.aug_splits > 1, 'the jsd loss needs --aug-splits'),
        (not args.amp or args.model_dtype in (None, 'float32'), '--amp needs a float32 model: leave out --model-dtype'),
        (args.resume != 'auto' or args.experiment, '--resume auto needs --experiment, the run to continue'),
        (not args.wandb_resume_id or args.resume, '--wandb-resume-id needs --resume'),
        (
            not (args.class_weights and args.balanced_sampling),
            '--class-weights and --balanced-sampling correct for the same thing: give one of them',
        ),
        (
            not args.class_weights or not (args.jsd_loss or args.bce_loss or args.loss not in (None, 'ce')),
            '--class-weights is for the cross-entropy (--loss ce): use --balanced-sampling with other losses',
        ),
        (
            not (args.balanced_sampling and args.aug_repeats),
            '--balanced-sampling and --aug-repeats both choose the images of an epoch: give one of them',
        ),
        (args.stop_epoch is None or args.stop_epoch > 0, f'--stop-epoch {args.stop_epoch}: expected at least 1'),
    ]
    for good, message in checks:
        if not good:
            raise UsageError(message)
    args.grad_accum_steps = max(1, args.grad_accum_steps)
