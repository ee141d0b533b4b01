"""The options of `fpnas validate`, with the names of timm's `validate.py`. Does not import torch."""
from ..runs.options import OptionGroup
from ..runs.parser import Parser

__all__ = ['build_validate_parser']


def build_validate_parser(prog: str = 'fpnas validate') -> Parser:
    """The parser of `fpnas validate`; `prog` is the command name shown in its usage."""
    parser = Parser(prog=prog, description='Loss and accuracy of a network on images.')
    parser.add_argument('data', nargs='?', metavar='DIR', help='data folder, as --data-dir')

    add = OptionGroup(parser, 'data')
    add.shared('data_dir', 'dataset')
    add('--split', 'validation', 'name of the split')
    add('--val-images', None, "only the images that this file lists (validation.txt of a run with --val-fraction), of "
        "the split 'train' if no other is given", metavar='FILE')
    add.shared('class_map', 'img_extensions', 'input_img_mode', 'img_size', 'input_size', 'in_chans')
    add('--use-train-size', False, "do not use the model's test size, if it has one")
    add.shared('crop_pct')
    add('--crop-mode', None, "'center', 'squash' or 'border'", otherwise="the model's")
    add.shared('mean', 'std', 'interpolation')
    add.shared('batch_size', default=256)
    add.shared('workers', 'pin_mem', 'no_prefetcher')

    add = OptionGroup(parser, 'model')
    add.shared('model', flags='-m --model')
    add.shared('model_kwargs', 'arch_file', 'pretrained')
    add('--checkpoint', '', "load weights from this file; the moving average if it contains one", metavar='FILE')
    add.shared('num_classes', 'gp')
    add('--reparam', False, 'fold the batch norms into the convolutions first')

    add = OptionGroup(parser, 'device')
    add.shared('device', 'amp', 'amp_dtype', 'model_dtype', 'channels_last', 'torchcompile', 'device_modules')
    add('--results-file', '', 'also write the result to this file (JSON)', metavar='FILE')
    return parser
