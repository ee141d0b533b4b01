"""Command-line options: those that commands share, and how they are declared and shown."""
import argparse
from collections.abc import Callable
from typing import Any

from .values import NAMES, RANGES, Range, Value, key_values

__all__ = ['AUGMENTATION', 'SHARED', 'HelpFormatter', 'OptionGroup', 'ParseKwargs']


class ParseKwargs(argparse.Action):
    """Parses KEY=VALUE arguments to a dict and evaluates values that are Python literals; as in timm, without torch."""

    def __call__(
            self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any,
            option_string: str | None = None,
    ) -> None:
        try:
            setattr(namespace, self.dest, key_values(values))
        except argparse.ArgumentTypeError as e:
            raise argparse.ArgumentError(self, str(e)) from None


# Options of more than one of `search`, `train` and `validate`, by name: flags, default, help, and further arguments of
# `OptionGroup`. A command overrides the default or choices where it adds the option.
SHARED: dict[str, tuple[str, Any, str, dict[str, Any]]] = {
    # data
    'data_dir': ('--data-dir', None, 'data folder', {'metavar': 'DIR'}),
    'dataset': ('--dataset', '', "dataset as timm's TYPE/NAME", {'otherwise': 'an image folder'}),
    'train_split': ('--train-split', 'train', 'name of the training split', {}),
    'dataset_download': ('--dataset-download', False, 'allow torch/ and tfds/ datasets to download', {}),
    'class_weights': ('--class-weights', None, "weights of the classes in the loss: 'balanced' (by their numbers of "
                      'images), or a .json, .yaml or .csv file of class names and weights',
                      {'metavar': 'balanced|FILE'}),
    'balanced_sampling': ('--balanced-sampling', False, 'draw images with replacement, every class equally often', {}),
    'img_extensions': ('--img-extensions', None, 'extensions of the image files in an image folder, such as png webp',
                       {'nargs': '+', 'type': str, 'otherwise': 'all usual ones, see docs/data.md', 'metavar': 'EXT'}),
    'class_map': ('--class-map', '', 'file that maps class names to indices', {'metavar': 'FILE'}),
    'input_img_mode': ('--input-img-mode', None, 'PIL mode to convert images to',
                       {'otherwise': "the model's, else L, RGB or RGBA for 1, 3 or 4 channels"}),
    'num_classes': ('--num-classes', None, 'number of classifier outputs',
                    {'type': int, 'otherwise': "the model's"}),
    'img_size': ('--img-size', None, 'height and width of the images in pixels',
                 {'type': int, 'otherwise': "the model's"}),
    'in_chans': ('--in-chans', None, 'number of image channels', {'type': int, 'otherwise': "the model's"}),
    'input_size': ('--input-size', None, 'channels, height and width of the images',
                   {'nargs': 3, 'type': int, 'otherwise': "the model's"}),
    'batch_size': ('-b --batch-size', 128, 'batch size, per process', {}),
    'grad_accum_steps': ('--grad-accum-steps', 1, 'batches to accumulate gradients over per update', {}),
    'mean': ('--mean', None, 'mean pixel value per channel',
             {'nargs': '+', 'type': float, 'otherwise': "the model's"}),
    'std': ('--std', None, 'standard deviation of the pixels per channel',
            {'nargs': '+', 'type': float, 'otherwise': "the model's"}),
    'crop_pct': ('--crop-pct', None, 'centre crop of the validation images, as a fraction of the image',
                 {'type': float, 'otherwise': "the model's"}),
    'interpolation': ('--interpolation', '', 'interpolation for the validation images',
                      {'otherwise': "the model's"}),
    'workers': ('-j --workers', None, 'number of DataLoader workers',
                {'type': int, 'otherwise': '4, or fewer on a machine with fewer cores'}),
    'pin_mem': ('--pin-mem', False, 'use pinned memory in the DataLoader (with CUDA always)', {}),
    'no_prefetcher': ('--no-prefetcher', False, "disable timm's prefetcher (normalises and mixes whole batches)", {}),
    # model
    'model': ('--model', 'fpnas', 'any timm model, `fpnas` with an architecture string, or the folder of a model '
              'or a run', {}),
    'model_kwargs': ('--model-kwargs', {}, 'KEY=VALUE arguments of the model, such as arch=STRING',
                     {'nargs': '*', 'action': ParseKwargs}),
    'init_from': ('--init-from', None, 'start from the weights of this network, of any shape: a timm model with its '
                  "tag (efficientnet_b0.ra_in1k), hf-hub:ORG/NAME, the folder of a run, or a file",
                  {'metavar': 'SOURCE'}),
    'init_from_model': ('--init-from-model', None, 'the timm model or string that the file of --init-from belongs to',
                        {'metavar': 'NAME'}),
    'arch_file': ('--arch-file', None, 'file with an architecture string (the arch.txt of a search), for --model fpnas',
                  {'metavar': 'FILE'}),
    'pretrained': ('--pretrained', False, "start from the model's published weights or those in the folder", {}),
    'gp': ('--gp', None, 'global pooling', {'otherwise': "the model's"}),
    'torchcompile': ('--torchcompile', None, 'compile the model with this backend of torch.compile',
                     {'nargs': '?', 'const': 'inductor'}),
    # device and precision
    'device': ('--device', 'auto', 'auto, cuda, cpu, mps, ..; auto takes a GPU if there is one; in a distributed run, '
               'one GPU per process', {}),
    'amp': ('--amp', False, 'mixed precision', {}),
    'amp_dtype': ('--amp-dtype', 'float16', 'low-precision dtype of --amp', {'choices': ('float16', 'bfloat16')}),
    'model_dtype': ('--model-dtype', None, 'dtype of the whole model, without --amp',
                    {'choices': ('float32', 'float16', 'bfloat16'), 'otherwise': 'float32'}),
    'channels_last': ('--channels-last', False, 'use the channels_last memory format', {}),
    'device_modules': ('--device-modules', None, 'Python modules to import first', {'nargs': '+'}),
    # optimizer and schedule
    'opt': ('--opt', 'sgd', "timm's name of the optimizer", {}),
    'lr': ('--lr', None, 'learning rate', {'type': float}),
    'momentum': ('--momentum', 0.9, 'momentum', {}),
    'weight_decay': ('--weight-decay', 2e-5, 'weight decay', {}),
    'sched': ('--sched', 'cosine', "timm's name of the learning-rate schedule", {}),
    'warmup_lr': ('--warmup-lr', 1e-5, 'learning rate at the start of the warm-up', {}),
    'min_lr': ('--min-lr', 0.0, 'learning rate at the end of the schedule', {}),
    'smoothing': ('--smoothing', 0.1, 'label smoothing', {}),
    # augmentation
    'no_aug': ('--no-aug', False, 'disable augmentation', {}),
    'scale': ('--scale', [0.08, 1.0], 'range of the area of a random crop, as a fraction of the image',
              {'nargs': '+', 'type': float}),
    'ratio': ('--ratio', [3 / 4, 4 / 3], 'range of the aspect ratio of a random crop', {'nargs': '+', 'type': float}),
    'hflip': ('--hflip', 0.5, 'probability of a horizontal flip', {}),
    'vflip': ('--vflip', 0.0, 'probability of a vertical flip', {}),
    'color_jitter': ('--color-jitter', 0.4, 'strength of the colour jitter; unused with --aa', {}),
    'aa': ('--aa', None, "AutoAugment policy: 'original', 'v0', 'rand-..', 'augmix-..'", {}),
    'reprob': ('--reprob', 0.0, 'probability of random erasing', {}),
    'remode': ('--remode', 'pixel', "how erased pixels are filled: 'pixel', 'rand' or 'const'", {}),
    'train_interpolation': ('--train-interpolation', 'random', "interpolation for the training images; '' for the "
                            "model's", {}),
    # run
    'seed': ('--seed', 42, 'random seed', {}),
    'log_interval': ('--log-interval', 50, 'updates between log lines within an epoch, without a progress bar', {}),
    'log_tensorboard': ('--log-tensorboard', False, 'write TensorBoard event files to the output folder', {}),
    'log_wandb': ('--log-wandb', False, 'log to Weights & Biases', {}),
    'wandb_project': ('--wandb-project', None, 'Weights & Biases project', {}),
    'wandb_tags': ('--wandb-tags', [], 'Weights & Biases tags of the run', {'nargs': '+', 'type': str}),
    'wandb_resume_id': ('--wandb-resume-id', '', 'with --resume: ID of the Weights & Biases run to continue', {}),
}


AUGMENTATION = (  # of `SHARED`: what --no-aug switches off
    'scale', 'ratio', 'hflip', 'vflip', 'color_jitter', 'aa', 'reprob', 'remode', 'train_interpolation',
)


class HelpFormatter(argparse.HelpFormatter):
    """Adds `(default: ..)` to the help of every option that takes a value, unless its text already states it."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help
        if not text or '(default:' in text or action.nargs == 0 or not action.option_strings:
            return text
        return f'{text} (default: {"none" if action.default in (None, "", [], {}) else "%(default)s"})'


class OptionGroup:
    """Adds options with one line each: the type is that of the default; a default of False makes a flag.

    `otherwise` describes the default of an option whose default value is None or empty: `(default: the model's)`.
    `range` replaces the option's range in `RANGES`; `parse` converts the text instead of the type.
    """

    def __init__(self, parser: argparse.ArgumentParser, title: str) -> None:
        self.group = parser.add_argument_group(title)

    def __call__(
            self, flags: str, default: Any, text: str, otherwise: str | None = None, range: Range | None = None,
            parse: Callable[[str], Any] | None = None, **kwargs: Any,
    ) -> None:
        names = flags.split()
        dest = next(n for n in names if n.startswith('--')).strip('-').replace('-', '_')
        if default is False:
            kwargs['action'] = 'store_true'
        elif 'action' not in kwargs:
            sample = default[0] if isinstance(default, list) and default else default
            kind = kwargs.pop('type', type(sample) if sample not in (None, []) else str)
            if kwargs.get('nargs') is None and 'choices' not in kwargs:
                kwargs.setdefault('metavar', {int: 'N', float: 'X'}.get(kind, 'VALUE'))
            bounds = range or RANGES.get(dest, Range())
            known = tuple(kwargs.get('choices', NAMES.get(dest, ())))
            kwargs['type'] = Value(kind, bounds, known, default is None, parse)
        if otherwise and default in (None, ''):
            text += f' (default: {otherwise})'
        # argparse interprets % in help texts as a format
        self.group.add_argument(*names, default=default, help=text.replace('%', '%%'), **kwargs)

    def shared(self, *names: str, **changes: Any) -> None:
        """Add options of `SHARED`, with this command's changes: `shared('seed', default=0)`."""
        for name in names:
            flags, default, text, kwargs = SHARED[name]
            given = {'flags': flags, 'default': default, 'text': text, **kwargs, **changes}
            self(**given)
