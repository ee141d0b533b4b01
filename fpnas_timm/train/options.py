"""The options of `train.py`: timm's names, defaults and meaning, and a few of our own.

What timm's script takes and this one does not is refused by name (`UNSUPPORTED`), never ignored: a YAML file that
timm's script wrote (`args.yaml`) is read as long as it asks for none of it.
"""
import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from timm.utils import ParseKwargs

from ..errors import UsageError
from ..recipes import Recipe, find_recipe
from ..runs.options import OptionGroup, load_yaml, read_arch_file, refuse_unknown, set_options

__all__ = ['UNSUPPORTED', 'build_parser', 'parse_train_args', 'train_options']

# timm's option -> (its default, why it is not here and what to use instead)
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
    'multilabel_threshold': (0.5, 'only one label an image'),
}


def build_parser() -> argparse.ArgumentParser:
    """The parser of `train.py`."""
    parser = argparse.ArgumentParser(
        prog='train.py',
        description="Train a network on images, with timm's parts and the paper's recipes.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('data', nargs='?', metavar='DIR', help='data folder, as --data-dir')

    add = OptionGroup(parser, 'ours')
    add('--recipe', None, "the paper's recipe of this name, see --list-recipes", metavar='NAME')
    add('--list-recipes', False, "print the recipes with the paper's accuracy, and stop")
    add('-c --config', None, 'YAML file of options; the command line and then this file win over the recipe',
        metavar='FILE')
    add('--arch-file', None, 'file with an architecture string (the arch.txt of a search): trains `fpnas` of it',
        metavar='FILE')
    add('--freeze', None, 'leave the first N layers as they are, or `all` but the classifier', metavar='N|all')
    add('--log-tensorboard', False, 'write TensorBoard event files into the run folder')

    add = OptionGroup(parser, 'data')
    add('--data-dir', None, 'data folder', metavar='DIR')
    add('--dataset', '', "timm's TYPE/NAME; an image folder if empty")
    add('--train-split', 'train', 'name of the training split')
    add('--val-split', 'validation', "name of the validation split; '' for none")
    add('--train-num-samples', None, 'images of the training split, for streamed data sets', type=int)
    add('--val-num-samples', None, 'images of the validation split, for streamed data sets', type=int)
    add('--dataset-download', False, 'let torch/ and tfds/ data sets download')
    add('--class-map', '', 'file that maps class names to indices', metavar='FILE')
    add('--input-img-mode', None, "PIL mode that images are read in; 'RGB' for three channels, else 'L'")
    add('--input-key', None, 'field of the images, where a data set has fields')
    add('--target-key', None, 'field of the classes, where a data set has fields')
    add('--dataset-trust-remote-code', False, "let a Hugging Face data set run its repository's code")
    add('--task', 'classification', 'one label an image, the only task here')

    add = OptionGroup(parser, 'model')
    add('--model', 'resnet50', "any model of timm's, `fpnas` with an architecture string, or a `local-dir:` folder")
    add('--model-kwargs', {}, 'KEY=VALUE arguments of the model, such as arch=STRING', nargs='*', action=ParseKwargs)
    add('--pretrained', False, "start from the model's published weights")
    add('--pretrained-path', None, 'start from this file as if it were the published weights: the head and the first '
        'convolution are adapted', metavar='FILE')
    add('--pretrained-cfg-overlay', {}, "KEY=VALUE changes of the model's pretrained cfg", nargs='*',
        action=ParseKwargs)
    add('--initial-checkpoint', '', 'start from exactly these weights', metavar='FILE')
    add('--resume', '', "go on from this training checkpoint; `auto`: from the experiment's own last one, if any",
        metavar='FILE')
    add('--no-resume-opt', False, "resume without the optimizer's state")
    add('--num-classes', None, "outputs of the classifier; the model's own if not given", type=int)
    add('--gp', None, "global pooling; the model's own if not given")
    add('--img-size', None, "height and width of the images, pixels; the model's own if not given", type=int)
    add('--in-chans', None, 'channels of the images; 3 if not given', type=int)
    add('--input-size', None, 'channels, height, width of the images', nargs=3, type=int)
    add('--crop-pct', None, 'share of the image that the centre crop of the validation keeps', type=float)
    add('--mean', None, 'mean of the pixels, a channel', nargs='+', type=float)
    add('--std', None, 'standard deviation of the pixels, a channel', nargs='+', type=float)
    add('--interpolation', '', "interpolation of the validation images; the model's own if empty")
    add('-b --batch-size', 128, 'images of a training batch, a process')
    add('-vb --validation-batch-size', None, 'images of a validation batch; --batch-size if not given', type=int)
    add('--channels-last', False, 'keep tensors in the channels_last memory format')
    add('--grad-accum-steps', 1, 'batches whose gradients are added up before an update')
    add('--grad-checkpointing', False, 'recompute activations in the backward pass: less memory, more time')
    add('--fast-norm', False, "timm's faster norm layers for low precision")
    add('--head-init-scale', None, "factor on the classifier's initial weights and bias", type=float)
    add('--head-init-bias', None, "the classifier's initial bias", type=float)
    add('--torchcompile', None, 'torch.compile with this backend', nargs='?', const='inductor')
    add('--torchcompile-mode', None, 'mode of torch.compile')

    add = OptionGroup(parser, 'device')
    add('--device', 'cuda', 'cuda, cpu, mps, ..; in a distributed run each process has its own')
    add('--amp', False, 'mixed precision')
    add('--amp-dtype', 'float16', 'low precision of --amp', choices=('float16', 'bfloat16'))
    add('--model-dtype', None, 'precision of the whole model, without --amp',
        choices=('float32', 'float16', 'bfloat16'))
    add('--no-ddp-bb', False, 'do not broadcast buffers in a distributed run')
    add('--synchronize-step', False, 'wait for the device after each update')
    add('--local_rank', 0, 'set by launchers; the environment wins')
    add('--device-modules', None, 'Python modules to import first', nargs='+')

    add = OptionGroup(parser, 'optimizer')
    add('--opt', 'sgd', "timm's name of the optimizer")
    add('--opt-eps', None, "epsilon; the optimizer's own if not given", type=float)
    add('--opt-betas', None, "betas; the optimizer's own if not given", nargs='+', type=float)
    add('--momentum', 0.9, 'momentum')
    add('--weight-decay', 2e-5, 'weight decay')
    add('--clip-grad', None, 'clip gradients to this', type=float)
    add('--clip-mode', 'norm', 'how gradients are clipped', choices=('norm', 'value', 'agc'))
    add('--layer-decay', None, 'factor on the learning rate, per layer away from the head', type=float)
    add('--layer-decay-min-scale', 0.0, 'lower bound of that factor')
    add('--layer-decay-no-opt-scale', None, 'layers whose factor is below this are not trained', type=float)
    add('--opt-kwargs', {}, 'KEY=VALUE arguments of the optimizer', nargs='*', action=ParseKwargs)

    add = OptionGroup(parser, 'learning rate')
    add('--sched', 'cosine', "timm's name of the schedule")
    add('--sched-on-updates', False, 'change the learning rate at each update, not each epoch')
    add('--lr', None, 'learning rate; without it: --lr-base scaled to the global batch', type=float)
    add('--lr-base', 0.1, 'learning rate at a global batch of --lr-base-size')
    add('--lr-base-size', 256, 'see --lr-base')
    add('--lr-base-scale', '', "'linear' or 'sqrt'; if empty, sqrt for Ada* and LAMB optimizers")
    add('--lr-noise', None, 'where noise on the learning rate starts and ends, shares of the schedule', nargs='+',
        type=float)
    add('--lr-noise-pct', 0.67, 'limit of the noise')
    add('--lr-noise-std', 1.0, 'standard deviation of the noise')
    add('--lr-cycle-mul', 1.0, 'factor on the length of the next cycle')
    add('--lr-cycle-decay', 0.5, 'factor on the learning rate of the next cycle')
    add('--lr-cycle-limit', 1, 'number of cycles')
    add('--lr-k-decay', 1.0, 'k-decay of cosine and poly')
    add('--lr-decay-fn', None, 'shape of the last phase of wsd and rsqrt')
    add('--lr-stable-timescale', None, 'time scale of rsqrt, epochs', type=float)
    add('--warmup-lr', 1e-5, 'learning rate at the start of the warm-up')
    add('--min-lr', 0.0, 'learning rate at the end of the schedule')
    add('--epochs', 300, 'length of the schedule')
    add('--stop-epoch', None, 'stop after this many epochs, the schedule unchanged', type=int)
    add('--epoch-repeats', 0.0, 'how often a streamed data set is repeated in an epoch')
    add('--start-epoch', None, "number of the first epoch; the checkpoint's if not given", type=int)
    add('--decay-milestones', [90, 180, 270], 'epochs at which multistep decays', nargs='+', type=int)
    add('--decay-epochs', None, 'epochs between decays of step (90 if not given), length of the decay of wsd',
        type=float)
    add('--warmup-epochs', 5, 'epochs of linear warm-up')
    add('--warmup-prefix', False, 'the warm-up comes before --epochs, not within')
    add('--cooldown-epochs', 0, 'epochs at --min-lr after the schedule')
    add('--patience-epochs', 10, 'epochs without progress before plateau decays')
    add('--decay-rate --dr', 0.1, 'factor of a decay')

    add = OptionGroup(parser, 'augmentation and regularisation')
    add('--no-aug', False, 'no augmentation at all')
    add('--train-crop-mode', None, 'how training images are cropped; random resized crops if not given')
    add('--scale', [0.08, 1.0], 'area of a random crop, share of the image', nargs='+', type=float)
    add('--ratio', [3 / 4, 4 / 3], 'aspect ratio of a random crop', nargs='+', type=float)
    add('--hflip', 0.5, 'probability of a horizontal flip')
    add('--vflip', 0.0, 'probability of a vertical flip')
    add('--color-jitter', 0.4, 'strength of the colour jitter; unused with --aa')
    add('--color-jitter-prob', None, 'probability of colour jitter', type=float)
    add('--grayscale-prob', None, 'probability of a grey image', type=float)
    add('--gaussian-blur-prob', None, 'probability of blur', type=float)
    add('--aa', None, "AutoAugment policy: 'original', 'v0', 'rand-..', 'augmix-..'")
    add('--aug-repeats', 0.0, 'repeated augmentation, in distributed runs')
    add('--aug-splits', 0, 'parts of a batch that are augmented each in its own way; 0 or at least 2')
    add('--loss', None, 'loss; cross-entropy if not given', choices=('ce', 'bce', 'asl', 'poly', 'jsd'))
    add('--jsd-loss', False, 'as --loss jsd, with --aug-splits')
    add('--bce-loss', False, 'as --loss bce')
    add('--bce-sum', False, 'sum the binary cross-entropy over classes')
    add('--bce-target-thresh', None, 'make soft targets 0 or 1 at this threshold', type=float)
    add('--bce-pos-weight', None, 'weight of the positive term', type=float)
    add('--reprob', 0.0, 'probability of random erasing')
    add('--remode', 'pixel', "what is put there: 'pixel', 'rand' or 'const'")
    add('--recount', 1, 'rectangles erased')
    add('--resplit', False, 'no erasing in the first part of --aug-splits')
    add('--mixup', 0.0, 'alpha of mixup')
    add('--cutmix', 0.0, 'alpha of cutmix')
    add('--cutmix-minmax', None, 'least and greatest share of a cut', nargs='+', type=float)
    add('--mixup-prob', 1.0, 'probability of mixup or cutmix')
    add('--mixup-switch-prob', 0.5, 'probability of cutmix where both are on')
    add('--mixup-mode', 'batch', "one draw per 'batch', 'pair' or 'elem'")
    add('--mixup-off-epoch', 0, 'no mixup from this epoch on; 0: never off')
    add('--smoothing', 0.1, 'label smoothing')
    add('--train-interpolation', 'random', "interpolation of training images; '' for the model's own")
    add('--drop', 0.0, 'dropout before the classifier')
    add('--drop-path', None, 'stochastic depth', type=float)
    add('--drop-block', None, 'DropBlock, for models that have it', type=float)
    add('--train-img-sizes', None, 'image sizes, one a batch', nargs='+', type=int)
    add('--train-batch-sizes', None, 'batch size of each of --train-img-sizes', nargs='+', type=int)
    add('--train-size-probs', None, 'weight of each of --train-img-sizes', nargs='+', type=float)
    add('--train-size-schedule', 'constant', 'how sizes are drawn', choices=('constant', 'progressive'))
    add('--train-size-schedule-spread', 0.65, 'width of the progressive window, in sizes')
    add('--train-size-random-mix', 0.1, 'share of uniform draws in the progressive schedule')
    add('--train-batches-per-epoch --train-steps-per-epoch', None, 'batches of an epoch', type=int)
    add('--variable-batch-loss-scale', 'none', 'scale gradients with the batch size of --train-batch-sizes',
        choices=('none', 'sqrt', 'linear'))

    add = OptionGroup(parser, 'batch norm')
    add('--bn-momentum', None, "momentum; the model's own if not given", type=float)
    add('--bn-eps', None, "epsilon; the model's own if not given", type=float)
    add('--sync-bn', False, 'batch statistics over all processes (GPUs only)')
    add('--dist-bn', 'reduce', "running statistics of the processes after each epoch: 'reduce' (mean), 'broadcast' "
        "(of the first) or ''", choices=('reduce', 'broadcast', ''))
    add('--split-bn', False, 'separate batch norms for each of --aug-splits')

    add = OptionGroup(parser, 'moving average of the weights (EMA)')
    add('--model-ema', False, 'keep, validate and export the moving average')
    add('--model-ema-force-cpu', False, 'keep it on the CPU, and do not validate it')
    add('--model-ema-decay', 0.9998, 'decay')
    add('--model-ema-warmup', False, 'start with a smaller decay')

    add = OptionGroup(parser, 'distillation')
    add('--kd-model-name', None, "the teacher: a model of timm's with weights, `local-dir:` or `hf-hub:`")
    add('--kd-distill-type', 'logit', 'what is matched', choices=('logit', 'feature'))
    add('--kd-loss-type', 'kl', 'loss between logits', choices=('kl',))
    add('--distill-loss-weight', None, 'weight of the distillation; 1 if not given', type=float)
    add('--task-loss-weight', None, "weight of the labels' loss; alone, the distillation has the rest", type=float)
    add('--kd-temperature', 4.0, 'temperature of the softmax')
    add('--kd-student-feature-dim', None, "width of the student's features; found out", type=int)
    add('--kd-teacher-feature-dim', None, "width of the teacher's features; found out", type=int)

    add = OptionGroup(parser, 'run')
    add('--seed', 42, 'random seed')
    add('--worker-seeding', 'all', "'all' or 'part' of the random generators of a worker", choices=('all', 'part'))
    add('--log-interval', 50, 'updates between lines of the log')
    add('--val-interval', 1, 'epochs between validations and checkpoints')
    add('--recovery-interval', 0, 'updates between recovery checkpoints; 0: none')
    add('--checkpoint-hist', 10, 'checkpoints to keep')
    add('--save-epochs', None, 'epochs whose checkpoints are kept for good', nargs='+', type=int)
    add('-j --workers', 4, 'processes that load images')
    add('--save-images', False, 'save a training batch as an image at every --log-interval')
    add('--pin-mem', False, 'pin the memory of the loader')
    add('--no-prefetcher', False, 'normalise and mix images one by one, not in batches')
    add('--output', '', 'folder of runs; output/train if empty', metavar='DIR')
    add('--experiment', '', "name of the run's folder within; made from time, model and size if empty", metavar='NAME')
    add('--eval-metric', 'top1', 'what the best checkpoint is best at', choices=('top1', 'top5', 'loss'))
    add('--log-wandb', False, 'log to Weights & Biases')
    add('--wandb-project', None, 'its project')
    add('--wandb-tags', [], 'its tags', nargs='+', type=str)
    add('--wandb-resume-id', '', 'its run to go on with, with --resume')

    for name, (default, _) in UNSUPPORTED.items():
        flag = f'--{name.replace("_", "-")}'
        if default is False:
            parser.add_argument(flag, action='store_true', help=argparse.SUPPRESS)
        else:
            nargs = '+' if isinstance(default, list) or 'patch_size' in name else None
            parser.add_argument(flag, nargs=nargs, default=default, help=argparse.SUPPRESS)
    return parser


def parse_train_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of a run: the recipe's, then the file's, then the command line's; each wins over the one before.

    Raises:
        UsageError: an unknown option (with the nearest one), one that is not supported, a bad value, an unknown
            recipe or one for another model, an unreadable file.
    """
    parser = build_parser()
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument('--recipe')
    first.add_argument('-c', '--config')
    early = first.parse_known_args(argv)[0]
    recipe = _set_recipe_and_file(parser, early.recipe, early.config)
    args, rest = parser.parse_known_args(argv)
    if args.list_recipes:
        return args
    refuse_unknown(parser, rest)
    args.data_dir = args.data_dir or args.data
    _check(args, recipe)
    return args


def train_options(options: Mapping[str, Any]) -> argparse.Namespace:
    """The options of a run from Python: as `parse_train_args`, with `options` in place of the command line.

    Args:
        options: name -> value, with underscores for dashes; `recipe` and `config` (a YAML file) among them.

    Raises:
        UsageError: as `parse_train_args`.
    """
    parser = build_parser()
    recipe = _set_recipe_and_file(parser, options.get('recipe'), options.get('config'))
    set_options(parser, options, 'train()')
    args = parser.parse_args([])
    args.data_dir = args.data_dir or args.data
    _check(args, recipe)
    return args


def _set_recipe_and_file(parser: argparse.ArgumentParser, recipe_name: Any, path: Any) -> Recipe | None:
    """Make the options of the recipe and then those of the file the parser's defaults; returns the recipe."""
    config = load_yaml(path) if path else {}
    recipe_name = recipe_name or config.get('recipe')
    recipe = find_recipe(str(recipe_name)) if recipe_name else None
    if recipe:
        set_options(parser, recipe.options, f'recipe {recipe.name}')
    if config:
        data = config.pop('data', None)  # a positional argument, which set_options does not know
        set_options(parser, config, str(path))
        parser.set_defaults(data=data)
    return recipe


def _check(args: argparse.Namespace, recipe: Recipe | None) -> None:
    """Raise UsageError where options contradict each other; resolve `--arch-file`."""
    for name, (default, reason) in UNSUPPORTED.items():
        if getattr(args, name) != default:
            raise UsageError(f'--{name.replace("_", "-")} is not supported here: {reason}')
    if args.task != 'classification':
        raise UsageError(f'--task {args.task} is not supported here: only classification, one label an image')
    if args.arch_file:
        args.model_kwargs = {**args.model_kwargs, 'arch': read_arch_file(args.arch_file)}
        if args.model not in ('resnet50', 'fpnas'):  # the default, or what it will be
            raise UsageError(f'--arch-file {args.arch_file} is for --model fpnas, not {args.model}')
        args.model = 'fpnas'
    if recipe and recipe.options.get('model', args.model) != args.model:
        raise UsageError(
            f'recipe {recipe.name} is for {recipe.options["model"]}, not {args.model}: take a recipe for any model '
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
        (args.resume != 'auto' or args.experiment, '--resume auto needs --experiment, the run to go on with'),
        (not args.wandb_resume_id or args.resume, '--wandb-resume-id needs --resume'),
        (args.stop_epoch is None or args.stop_epoch > 0, f'--stop-epoch {args.stop_epoch}: expected at least 1'),
    ]
    for good, message in checks:
        if not good:
            raise UsageError(message)
    args.grad_accum_steps = max(1, args.grad_accum_steps)
