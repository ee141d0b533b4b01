"""`fpnas transfer`: a network with the weights of another, as a folder for timm, `fpnas train` and `fpnas hub push`."""
import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..arch import ArchError
from ..arch.checks import MAX_IMG_SIZE
from ..arch.cost import cost
from ..arch.sizes import hw, shown_size
from ..errors import UsageError
from ..runs.image_options import USUAL
from ..runs.parser import Parser, read_arch_file
from ..runs.values import SEED, Range, Value
from ..weights.config_checks import MAX_CLASSES, check_network_size
from . import exit_status

if TYPE_CHECKING:
    from ..model.network import FPNAS
    from ..transfer.remap import Inherited
    from ..transfer.sources import Source

__all__ = ['transfer_main']


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog='fpnas transfer',
        description="A network with the weights of a pretrained one: the same network as a string, or another one.",
        epilog='examples: fpnas transfer efficientnet_b0.ra_in1k -o b0 | '
        'fpnas transfer efficientnet_b0.ra_in1k --arch fpnas_l0 --images data -o l0 | '
        'fpnas transfer tf_efficientnet_lite0 --describe',
    )
    parser.add_argument(
        'source', metavar='SOURCE', help="timm model with the tag of its weights, hf-hub:ORG/NAME, local-dir:FOLDER, "
        'the folder of a training run or a search, or a file of weights'
    )
    parser.add_argument('-o', '--output', metavar='FOLDER', help='folder to write, which must be empty')
    parser.add_argument('--describe', action='store_true', help='print the string and what is exact; write nothing, '
                        'load no weights')
    parser.add_argument('--source-model', metavar='NAME', help='for a file: the timm model or string it belongs to')
    parser.add_argument('--arch', metavar='NAME_OR_STRING', help='the network to make (default: that of the source)')
    parser.add_argument('--arch-file', metavar='FILE', help='file with the architecture string of the network to make')
    parser.add_argument('--num-classes', type=Value(int, Range(0, MAX_CLASSES)), metavar='N',
                        help="number of classifier outputs (default: the source's)")
    parser.add_argument('--images', metavar='DIR', help='image folder (docs/data.md): cut layers are fitted to some '
                        'of its training images; labels are not used')
    parser.add_argument('--num-images', type=Value(int, Range(2), optional=False), default=1024, metavar='N',
                        help='how many images')
    parser.add_argument('--img-size', type=Value(int, Range(1, MAX_IMG_SIZE)), metavar='N',
                        help="height and width of the network's images, also of those of --images (default: those of "
                        "the string to make, or else the source's)")
    parser.add_argument('--seed', type=Value(int, SEED, optional=False), default=42, metavar='N',
                        help='seed of new weights and of the images')
    parser.add_argument('--json', action='store_true', help='print JSON')
    return parser


@dataclass(frozen=True)
class _Made:
    model: 'FPNAS'
    source: 'Source'
    inherited: 'Inherited'


def transfer_main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0, or 2 if the network cannot be made."""

    def run() -> None:
        args = _parser().parse_args(argv)
        _check(args)
        if args.describe:
            _describe(args)
            return
        from ..weights.folder import check_empty

        folder = check_empty(args.output)
        made = _make(args)
        _write(made, folder)
        _print(made, folder, args.json)

    return exit_status(run)


def _check(args: argparse.Namespace) -> None:
    if not args.describe and not args.output:
        raise UsageError('--output FOLDER is missing: where to write the network')
    if args.describe and args.output:
        raise UsageError('--describe writes nothing: leave out --output')
    if args.arch and args.arch_file:
        raise UsageError('--arch and --arch-file exclude each other')
    made = ('arch', 'arch_file', 'num_classes', 'images', 'img_size')
    given = [f'--{name.replace("_", "-")}' for name in made if getattr(args, name) is not None]
    if args.describe and given:
        raise UsageError(f'--describe is about the source, not about a network to make: leave out {", ".join(given)}')


def _describe(args: argparse.Namespace) -> None:
    from ..transfer import as_arch
    from ..transfer.layers import pooling
    from ..transfer.sources import describe_source

    model: Any = describe_source(args.source, args.source_model)
    found = as_arch(model)
    if args.json:
        print(json.dumps({'arch': str(found.arch), 'exact': found.exact, 'differences': found.differences}, indent=2))
        return
    channels = getattr(model, 'in_chans', None) or model.pretrained_cfg['input_size'][0]
    counts = cost(
        found.arch, num_classes=model.num_classes, in_chans=channels, global_pool=pooling(model),
        output_stride=getattr(model, 'output_stride', 32),
    )
    print(found.arch)
    print(f'{counts.macs:,} multiply-adds at {shown_size(found.arch.img_size, " x ")} pixels, {counts.params:,} '
          f'parameters; {model.num_classes:,} classes, {channels} image channels')
    print('exact: our network computes the same' if found.exact else 'approximate:')
    for line in found.differences:
        print(f'  {line}')


def _make(args: argparse.Namespace) -> _Made:
    import timm
    import torch
    from timm.data import resolve_model_data_config

    from ..transfer import transfer
    from ..transfer.images import sample_images
    from ..transfer.sources import open_source
    from ..weights.folder import args_of
    from ..zoo import resolve_arch

    asked = read_arch_file(args.arch_file) if args.arch_file else args.arch
    try:
        target = resolve_arch(asked)[0] if asked else None
    except ArchError as e:
        raise UsageError(f'--arch: {e}') from None
    source = open_source(args.source, args.source_model)
    classes = source.model.num_classes if args.num_classes is None else args.num_classes
    arch = target or source.model.arch
    torch.manual_seed(args.seed)
    check_network_size(arch, classes, source.model.in_chans, '--num-classes')
    model = cast('FPNAS', timm.create_model(
        'fpnas', arch=str(arch), num_classes=classes, in_chans=source.model.in_chans, **args_of(source.model),
    )).eval()
    size = args.img_size or (arch.img_size if asked else None)
    config: dict[str, Any] = {**resolve_model_data_config(source.model)}
    if size:
        config['input_size'] = (source.model.in_chans, *hw(size))
    about = {**config, 'license': source.license or None}
    model.pretrained_cfg = {**cast(Any, model.pretrained_cfg), **about}  # type: ignore[assignment]
    images = None
    if args.images:
        img_mode = source.img_mode or USUAL.get(source.model.in_chans, 'RGB')
        images = sample_images(_open_images(args.images, img_mode), config, args.num_images, args.seed)
    return _Made(model, source, transfer(source.model, model, images))


def _open_images(folder: str, img_mode: str) -> Any:
    from ..runs.datasets import open_dataset

    return open_dataset('', folder, 'train', input_img_mode=img_mode)


def _write(made: _Made, folder: Path) -> None:
    from timm.data import resolve_model_data_config

    from ..hub.card import model_card, origin_of
    from ..runs.files import write_text
    from ..weights.folder import CARD_FILE, export_model, read_config
    from ..weights.recorded import MULTILABEL

    inherited = made.inherited
    labels = made.source.label_names if inherited.classifier else ()
    facts = {
        'init_from': made.source.record,
        'inherited': inherited.summary,
        **({'task': MULTILABEL} if made.source.multilabel and inherited.classifier else {}),
    }
    if not made.source.license:
        print(f'{made.source.name}: the license of its weights is not recorded', file=sys.stderr)
    config = {**resolve_model_data_config(made.model), 'input_img_mode': made.source.img_mode}
    export_model(made.model, folder, config, labels, facts)
    written, arch = read_config(folder), made.model.arch
    name = f'ORG/{folder.resolve().name}'
    card = model_card(written, arch, name, origin_of(written, arch), made.source.license or 'unknown')
    write_text(folder / CARD_FILE, card)


def _print(made: _Made, folder: Path, as_json: bool) -> None:
    inherited = made.inherited
    if as_json:
        print(json.dumps({
            'arch': str(made.model.arch), 'folder': str(folder), 'blocks': inherited.blocks,
            'weights': inherited.weights, 'left_out': inherited.left_out, 'contained': inherited.contained,
            'fitted': inherited.fitted, 'classifier': inherited.classifier,
        }, indent=2))
        return
    print(inherited)
    print(f"use: timm.create_model('local-dir:{folder}', pretrained=True), or fpnas train --init-from {folder}")
