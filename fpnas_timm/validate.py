"""Validate weights on images: `python -m fpnas_timm.validate DATA --model local-dir:RUN/export --pretrained`.

The options are those of timm's `validate.py`, as far as they are here; timm's own script runs unchanged through
`python -m fpnas_timm.run validate.py ..`.
"""
import argparse
import importlib
import json
import logging
import sys
from collections.abc import Sequence
from typing import Any

import timm
import torch
from timm.data import create_loader, resolve_data_config
from timm.utils import reparameterize_model, setup_default_logging

from . import train_data as data
from . import train_parts as parts
from .config import OptionGroup
from .data import open_dataset
from .device import low_precision, start_device
from .errors import UsageError, exit_status
from .evaluate import evaluate
from .files import write_text
from .train_args import read_arch_file, refuse_unknown

__all__ = ['build_parser', 'main', 'validate']


def build_parser() -> argparse.ArgumentParser:
    """The parser of `python -m fpnas_timm.validate`."""
    parser = argparse.ArgumentParser(
        prog='python -m fpnas_timm.validate',
        description='Loss and accuracy of a network on images.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('data', nargs='?', metavar='DIR', help='data folder, as --data-dir')
    add = OptionGroup(parser, 'data')
    add('--data-dir', None, 'data folder', metavar='DIR')
    add('--dataset', '', "timm's TYPE/NAME; an image folder if empty")
    add('--split', 'validation', 'name of the split')
    add('--class-map', '', 'file that maps class names to indices', metavar='FILE')
    add('--input-img-mode', None, "PIL mode that images are read in; 'RGB' for three channels, else 'L'")
    add('--img-size', None, "height and width of the images, pixels; the model's own if not given", type=int)
    add('--input-size', None, 'channels, height, width of the images', nargs=3, type=int)
    add('--in-chans', None, 'channels of the images; 3 if not given', type=int)
    add('--use-train-size', False, "not the model's test size, where it has one")
    add('--crop-pct', None, 'share of the image that the centre crop keeps', type=float)
    add('--crop-mode', None, "'center', 'squash' or 'border'")
    add('--mean', None, 'mean of the pixels, a channel', nargs='+', type=float)
    add('--std', None, 'standard deviation of the pixels, a channel', nargs='+', type=float)
    add('--interpolation', '', "interpolation; the model's own if empty")
    add('-b --batch-size', 256, 'images of a batch')
    add('-j --workers', 4, 'processes that load images')
    add('--pin-mem', False, 'pin the memory of the loader')
    add('--no-prefetcher', False, 'normalise images one by one, not in batches')
    add = OptionGroup(parser, 'model')
    add('-m --model', 'fpnas', "any model of timm's, `fpnas` with a string, or a `local-dir:` folder")
    add('--model-kwargs', {}, 'KEY=VALUE arguments of the model, such as arch=STRING', nargs='*',
        action=timm.utils.ParseKwargs)
    add('--arch-file', None, 'file with an architecture string: validates `fpnas` of it', metavar='FILE')
    add('--pretrained', False, "with the model's published weights, or the folder's")
    add('--checkpoint', '', "with these weights; a training checkpoint's moving average, if it has one", metavar='FILE')
    add('--num-classes', None, "outputs of the classifier; the model's own if not given", type=int)
    add('--gp', None, "global pooling; the model's own if not given")
    add('--reparam', False, 'fold the batch norms into the convolutions first')
    add = OptionGroup(parser, 'device')
    add('--device', 'cuda', 'cuda, cpu, mps, ..')
    add('--amp', False, 'mixed precision')
    add('--amp-dtype', 'float16', 'low precision of --amp', choices=('float16', 'bfloat16'))
    add('--model-dtype', None, 'precision of the whole model', choices=('float32', 'float16', 'bfloat16'))
    add('--channels-last', False, 'keep tensors in the channels_last memory format')
    add('--torchcompile', None, 'torch.compile with this backend', nargs='?', const='inductor')
    add('--device-modules', None, 'Python modules to import first', nargs='+')
    add('--results-file', '', 'write the result to this file, too (JSON)', metavar='FILE')
    return parser


def validate(args: argparse.Namespace) -> dict[str, Any]:
    """Validate as the options say; returns timm's keys: `top1`, `top5`, `param_count`, `img_size`, ..

    Raises:
        UsageError: the options, the data or the weights do not fit.
    """
    for module in args.device_modules or ():
        importlib.import_module(module)
    if args.arch_file:
        args.model, args.model_kwargs = 'fpnas', {**args.model_kwargs, 'arch': read_arch_file(args.arch_file)}
    if not (args.pretrained or args.checkpoint):
        raise UsageError('no weights to validate: give --checkpoint FILE, or --pretrained')
    device = start_device(args)
    asked_for = args.num_classes is not None
    # what only training has
    vars(args).update(drop=None, drop_path=None, drop_block=None, bn_momentum=None, bn_eps=None, pretrained_path=None)
    vars(args).update(pretrained_cfg_overlay={}, head_init_scale=None, head_init_bias=None, grad_checkpointing=False)
    args.initial_checkpoint = args.checkpoint
    model = parts.create_network(args)
    config = resolve_data_config(vars(args), model=model, use_test_size=not args.use_train_size)
    config['input_size'] = (model.in_chans, *config['input_size'][1:])
    param_count = sum(p.numel() for p in model.parameters())
    if args.reparam:
        model = reparameterize_model(model)
    model.to(device=device, dtype=data.model_dtype(args))
    if args.channels_last:
        model.to(memory_format=torch.channels_last)
    dataset = open_dataset(
        args.dataset, args.data_dir or args.data, args.split, class_map=args.class_map,
        input_img_mode=args.input_img_mode or ('RGB' if model.in_chans == 3 else 'L'),
    )
    args.data_dir = args.data_dir or args.data
    data.check_classes(args, data.class_names(dataset), asked_for)
    loader = create_loader(
        dataset,
        input_size=config['input_size'],
        batch_size=args.batch_size,
        interpolation=config['interpolation'],
        mean=config['mean'],
        std=config['std'],
        crop_pct=config['crop_pct'],
        crop_mode=config['crop_mode'],
        num_workers=args.workers,
        pin_memory=args.pin_mem,
        device=device,
        img_dtype=data.model_dtype(args) or torch.float32,
        use_prefetcher=not args.no_prefetcher,
        distributed=args.distributed,
    )
    if args.torchcompile:
        model = torch.compile(model, backend=args.torchcompile)
    autocast, _ = low_precision(args, device)
    metrics = evaluate(model, loader, args, device, autocast)
    if args.distributed:
        torch.distributed.destroy_process_group()
    return {
        'model': args.model,
        'top1': round(metrics['top1'], 4),
        'top1_err': round(100 - metrics['top1'], 4),
        'top5': round(metrics['top5'], 4),
        'top5_err': round(100 - metrics['top5'], 4),
        'loss': round(metrics['loss'], 5),
        'images': len(dataset),
        'param_count': round(param_count / 1e6, 2),
        'img_size': config['input_size'][-1],
        'crop_pct': config['crop_pct'],
        'interpolation': config['interpolation'],
    }


def main(argv: Sequence[str] | None = None) -> int:
    """The command line: prints the result as JSON after a line `--result`, as timm's script does."""

    def run() -> int:
        parser = build_parser()
        args, rest = parser.parse_known_args(argv)
        refuse_unknown(parser, rest)
        if not logging.root.handlers:
            setup_default_logging()
        result = validate(args)
        if args.rank == 0:
            text = json.dumps(result, indent=4)
            print(f'--result\n{text}')
            if args.results_file:
                write_text(args.results_file, text + '\n')
        return 0

    return exit_status(run)


if __name__ == '__main__':
    sys.exit(main())
