"""`fpnas export` and `fpnas predict`: a network as a file for another runtime, and the classes of images with it.

torch is only imported after the command line has been parsed, so that `--help` and errors in options are fast.
"""
import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..arch.checks import MAX_IMG_SIZE
from ..errors import UsageError
from ..runs.parser import Parser, default_workers
from ..runs.values import SEED, Range, Value
from . import ended_by_sigterm, exit_status

if TYPE_CHECKING:
    import torch

    from ..device.export import ExportReport
    from ..device.metadata import Metadata
    from ..device.programs import Exported

__all__ = ['export_main', 'predict_main']

FORMATS = ('onnx', 'openvino', 'torch-export', 'torchscript', 'executorch')
MODEL = "model name or architecture string, hf-hub:REPO, or the folder of a model, a training run or a search"


def _export_parser() -> Parser:
    parser = Parser(
        prog='fpnas export',
        description='Export a network to a file for another runtime, check it against PyTorch, and write what was '
        'measured to FILE.json.',
        epilog='examples: fpnas export RUN -o model.onnx | fpnas export RUN -o int8.onnx --int8 --calibration DATA '
        '--data-dir DATA | fpnas export RUN -o model.xml --with-preprocessing',
    )
    parser.add_argument('model', metavar='MODEL', help=MODEL)
    parser.add_argument('-o', '--output', required=True, metavar='FILE',
                        help='file to write: .onnx, .xml (openvino), .pt2 (torch-export), .pt (torchscript), .pte '
                        '(executorch)')
    parser.add_argument('--format', type=Value(names=FORMATS), metavar='FORMAT',
                        help=f"one of {', '.join(FORMATS)} (default: that of FILE's ending)")
    parser.add_argument('--with-preprocessing', action='store_true',
                        help='put resize, crop and normalisation into the graph: it takes pixels (B, H, W, C), uint8, '
                        'of any size')
    parser.add_argument('--img-size', type=Value(int, Range(1, MAX_IMG_SIZE)), metavar='N',
                        help="height and width of the images (default: the network's)")
    parser.add_argument('--int8', action='store_true', help='quantise to int8 (onnx and openvino)')
    parser.add_argument('--calibration', metavar='DIR', help='with --int8: folder with training images, from which the '
                        'ranges of the activations are taken; labels are not used')
    parser.add_argument('--num-images', type=Value(int, Range(1), optional=False), default=256, metavar='N',
                        help='how many of them')
    parser.add_argument('--seed', type=Value(int, SEED, optional=False), default=42, metavar='N',
                        help='random seed of their choice')
    parser.add_argument('--data-dir', metavar='DIR',
                        help='image folder with labels (docs/data.md): accuracy before and after')
    parser.add_argument('--split', default='validation', metavar='VALUE', help='its split')
    parser.add_argument('-j', '--workers', type=Value(int, Range(0)), metavar='N',
                        help='number of DataLoader workers for it (default: 4, or fewer on a machine with fewer cores)')
    parser.add_argument('--threads', type=Value(int, Range(1), optional=False), default=1, metavar='N',
                        help='threads for the latencies')
    parser.add_argument('--json', action='store_true', help='print the report as JSON')
    return parser


def export_main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0, 1 if the file could not be made or differs from PyTorch, 2 for a wrong argument."""

    def run() -> None:
        args = _export_parser().parse_args(argv)
        if args.int8 and not args.calibration:
            raise UsageError('--int8 needs --calibration DIR: a folder with some of the training images')
        if args.calibration and not args.int8:
            raise UsageError('--calibration is for --int8: add it, or leave --calibration out')
        from ..device.export import check_request, export

        check_request(args.output, args.format, args.int8, args.with_preprocessing)
        if args.data_dir:
            from ..runs.datasets import open_dataset

            open_dataset('', args.data_dir, args.split, quiet=True)  # what is wrong with it is said before the export
        _quiet_libraries()

        def calibrate(metadata: 'Metadata') -> 'list[torch.Tensor]':
            from ..device.image_files import calibration_inputs

            return calibration_inputs(args.calibration, metadata, args.num_images, args.seed)

        report = export(
            args.model, args.output, args.format, calibrate if args.int8 else None,
            (lambda programs: _accuracy(programs, args)) if args.data_dir else None, args.with_preprocessing,
            args.img_size, args.threads,
        )
        print(report.to_json() if args.json else _shown(report), end='')
        if not report.metadata.trained:
            print(f'{args.model}: has no weights, so those in the file are random: it is for measuring only',
                  file=sys.stderr)

    return exit_status(lambda: ended_by_sigterm(run))


def _quiet_libraries() -> None:
    """Exporters warn about their own insides; what matters to the user, they raise."""
    import logging
    import warnings

    warnings.filterwarnings('ignore')
    for name in ('torch.onnx', 'torch.export', 'onnxscript', 'onnx_ir', 'executorch', 'torchao', 'nncf',
                 'torch.utils.cpp_extension', 'torch.utils._pytree'):
        logging.getLogger(name).setLevel(logging.ERROR)


def _accuracy(programs: 'Mapping[str, Exported]', args: argparse.Namespace) -> dict[str, dict[str, float]]:
    from ..device.predict import BATCH_SIZE
    from ..device.programs import input_transform
    from ..train.accuracy import Runner, accuracy

    metadata = programs['after'].metadata
    runners: dict[str, Runner] = {
        label: (program, input_transform(program.metadata), 1 if program.metadata.preprocessing else BATCH_SIZE)
        for label, program in programs.items()
    }
    workers = default_workers() if args.workers is None else args.workers
    return accuracy(
        runners, args.data_dir, args.split, metadata.img_mode, metadata.label_names, metadata.num_classes, args.model,
        workers,
    )


def _shown(report: 'ExportReport') -> str:
    """The report as text."""
    metadata, agreement = report.metadata, report.agreement
    channels, height, width = metadata.data_config['input_size']
    takes = (
        f'pixels ({_batch(metadata)}, H, W, {channels}), uint8, of any size' if metadata.preprocessing else
        f'images ({_batch(metadata)}, {channels}, {height}, {width}), float32, normalised'
    )
    named = 'with names' if metadata.label_names else 'without names'
    kinds = 'labels, several per image (the probability of each is the sigmoid)' if metadata.multilabel else 'classes'
    kind = 'calibration images' if agreement.real else 'random inputs'
    allowed = '' if agreement.tolerance is None else f' (at most {agreement.tolerance:g} is allowed)'
    size = f'{report.bytes:,} bytes'
    if report.float32_bytes:
        size += f', {report.float32_bytes:,} before the quantisation'
    lines = [
        ('file', f'{report.file} ({report.format}, {metadata.precision}), {size}'),
        ('input', takes),
        ('output', f'logits of {metadata.num_classes} {kinds}, {named}'),
        ('difference', f'{agreement.largest:.2g} of the largest output of PyTorch{allowed}, on {agreement.inputs} '
         f'{kind}; the same class for {100 * agreement.same_top1:.1f} %'),
    ]
    if report.accuracy:
        first, then = report.accuracy['before'], report.accuracy['after']
        lines.append(('accuracy', f"top-1 {first['top1']:.2f} % before, {then['top1']:.2f} % after; top-5 "
                      f"{first['top5']:.2f} and {then['top5']:.2f} % ({then['images']:,} images)"))
    threads = f'{report.threads} thread{"s" if report.threads > 1 else ""}'
    before, after = (report.milliseconds[label] for label in ('before', 'after'))
    lines.append(('one image', f'{before:.2f} ms in PyTorch, {after:.2f} ms with the file ({threads}, CPU)'))
    return ''.join(f'{name:<12}{text}\n' for name, text in lines)


def _batch(metadata: 'Metadata') -> str:
    return 'B' if metadata.batch_size is None else str(metadata.batch_size)


def predict_main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0, 1 if an image cannot be read, 2 for a wrong argument."""
    parser = Parser(
        prog='fpnas predict',
        description='The most probable classes of images, with a network or an exported file.',
        epilog='examples: fpnas predict RUN cat.jpg | fpnas predict model.onnx IMAGES --topk 1 --json',
    )
    parser.add_argument('model', metavar='MODEL', help=f'file of fpnas export; {MODEL}')
    parser.add_argument('images', nargs='+', metavar='IMAGE', help='image file, or a folder of images')
    parser.add_argument('-k', '--topk', type=Value(int, Range(1), optional=False), default=5, metavar='N',
                        help='how many classes')
    parser.add_argument('--json', action='store_true', help='print a JSON object per image')

    def run() -> None:
        args = parser.parse_args(argv)
        from ..device.predict import open_predictor, predict

        for found in predict(open_predictor(args.model), args.images, args.topk):
            row: list[dict[str, Any]] = [
                {'class': name, 'probability': round(p, 6)} for name, p in zip(found.classes, found.probabilities)
            ]
            if args.json:
                print(json.dumps({'image': found.image, 'classes': row}), flush=True)
            else:
                shown = ', '.join(f'{c["class"]} {100 * c["probability"]:.1f} %' for c in row)
                print(f'{found.image}: {shown}', flush=True)

    return exit_status(lambda: ended_by_sigterm(run))
