"""Demo on real images: search an architecture, train it from scratch and load the trained model with timm.

Writes scikit-learn's handwritten digits (1,797 images of 8 x 8 pixels) to an image folder. `fpnas search` searches a
small space for a network within a budget, `fpnas train` trains it from scratch, and timm loads the result.
"""
import argparse
import json
import random
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from ..arch import Arch, Conv
from ..arch.cost import cost
from ..errors import RunError
from ..runs.options import OptionGroup
from ..runs.parser import Parser
from ..spaces import MBConvSpace, Row, steps
from ..spaces.budgets import quantity
from . import exit_status
from .runs import search_main, train_main

__all__ = ['digits_folder', 'digits_space', 'main']

FILE_SIZE = 32  # pixels of the image files
IMG_SIZE = 16  # pixels of the network input: twice the size of the digits
SEARCH = (
    '--img-size 16 --lam 0.25 --weight-samples 2 --beta 0.5 --cost-form two-sided '
    '--temperature 32 --alpha-lr 0.03 --batch-size 32 --opt adamw --lr 4e-3 --weight-decay 0.02 --scale 0.7 1 '
    '--hflip 0 --color-jitter 0.2 --workers 0 --device cpu'
).split()
TRAIN = (
    '--num-classes 10 --img-size 16 -b 64 --opt adamw --lr 4e-3 --weight-decay 0.02 --scale 0.7 1 '
    '--hflip 0 --color-jitter 0.2 --crop-pct 1 --model-ema --model-ema-decay 0.98 --model-ema-warmup --workers 0 '
    '--device cpu'
).split()


def digits_space() -> MBConvSpace:
    """A small search space for 16 x 16 images: five groups, 6.0e12 architectures."""
    expansion = steps(1.5, 4.5, 0.75)
    rows = [
        Row(expansion, channels, repeat, stride, kernel=(0, 3, 5), act=('re', 'sw'), splits=(0, 1, 2, 4))
        for channels, repeat, stride in [
            ((8, 12, 16), 1, 1), ((16, 24, 32), 2, 2), ((16, 24, 32), 1, 1), ((32, 48, 64), 2, 2), ((48, 64, 80), 1, 1)
        ]
    ]
    return MBConvSpace.from_rows('digits', Conv(3, 1, 16, 'sw'), rows, Conv(1, 1, 256, 'sw'), IMG_SIZE)


def digits_folder(root: Path, seed: int = 0) -> None:
    """Write the digits as `root/{train,validation}/<digit>/*.png`, with a fifth of each class for validation."""
    from PIL import Image
    from sklearn.datasets import load_digits

    done = root / 'complete'
    if done.exists():
        return
    digits = load_digits()
    by_class: dict[int, list[int]] = {}
    for i, target in enumerate(digits.target):
        by_class.setdefault(int(target), []).append(i)
    for target, indices in by_class.items():
        random.Random(seed + target).shuffle(indices)
        for n, i in enumerate(indices):
            split = 'validation' if n < len(indices) // 5 else 'train'
            folder = root / split / str(target)
            folder.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray((digits.images[i] * (255 / 16)).astype('uint8'))
            image.resize((FILE_SIZE, FILE_SIZE), Image.Resampling.BICUBIC).convert('RGB').save(folder / f'{i:04d}.png')
    done.touch()


def check_loads_back(model: Path, weights: Path) -> float:
    """Check that timm loads the export with the same logits as the checkpoint; returns its top-1 accuracy in %.

    Raises:
        RunError: the logits differ.
    """
    import timm
    import torch

    loaded = timm.create_model(f'local-dir:{model}', pretrained=True).eval()
    state = torch.load(weights, weights_only=True)
    again = timm.create_model('fpnas', arch=str(loaded.arch), num_classes=10).eval()
    again.load_state_dict(state['state_dict_ema'])
    images = torch.randn(8, 3, IMG_SIZE, IMG_SIZE)
    with torch.inference_mode():
        difference = (loaded(images) - again(images)).abs().max().item()
    if difference > 0:
        raise RunError(f'the model in {model} gives logits that differ from the run by up to {difference:.2g}')
    return json.loads((model / 'config.json').read_text())['training']['top1']


def run(args: argparse.Namespace) -> int:
    """Search, train and load the result. Returns exit status 0, or that of the step that failed."""
    start, out, epochs = time.monotonic(), Path(args.output), args.search_epochs
    out.mkdir(parents=True, exist_ok=True)
    for name in ('search', 'train'):  # remove an earlier demo, but no other folders
        if (out / name / 'args.yaml').exists():
            shutil.rmtree(out / name)
    digits_folder(out / 'data')
    (out / 'space.json').write_text(json.dumps(digits_space().to_dict(), indent=1))
    common = ['--data-dir', str(out / 'data'), '--seed', str(args.seed)]
    status = search_main([
        '--space', str(out / 'space.json'), '--target-macs', str(args.target_macs), '--epochs', str(epochs),
        '--warmup-epochs', str(epochs // 3), '--joint-epoch', str(2 * epochs // 3), *SEARCH, *common,
        '--output', str(out / 'search'),
    ])
    if status:
        return status
    searched = time.monotonic()
    status = train_main([
        '--arch-file', str(out / 'search' / 'arch.txt'), '--epochs', str(args.epochs),
        '--warmup-epochs', str(min(1, args.epochs - 1)), *TRAIN, *common,
        '--output', str(out), '--experiment', 'train',
    ])
    if status:
        return status
    model = out / 'train' / 'export'
    top1 = check_loads_back(model, out / 'train' / 'model_best.pth.tar')
    arch = Arch.parse((out / 'search' / 'arch.txt').read_text())
    spent = cost(arch, num_classes=10)
    print(f'architecture   {arch}')
    print(f'multiply-adds  {spent.macs:,} at {IMG_SIZE} x {IMG_SIZE} (budget {args.target_macs:,.0f})')
    print(f'parameters     {spent.params:,}')
    print(f'accuracy       {top1:.2f} % of the validation images (EMA weights, best of {args.epochs} epochs)')
    print(f"model          {model}: timm.create_model('local-dir:{model}', pretrained=True), same logits")
    print(f'report         {out}/search/report.html, for a browser')
    print(f'pictures       {out}/search/{{arch,course,distribution}}.png, {out}/train/curves.png')
    print(f'time           {time.monotonic() - start:.0f} s, of which the search {searched - start:.0f} s')
    return 0


def build_parser() -> Parser:
    """The parser of `fpnas demo`."""
    parser = Parser(prog='fpnas demo', description=__doc__)
    add = OptionGroup(parser, 'options')
    add('--output', 'output/demo', 'output folder', metavar='OUT')
    add('--target-macs', 1e6, 'budget of multiply-adds at 16 x 16 pixels (default: 1M)', parse=quantity, metavar='N')
    add('--search-epochs', 24, 'number of search epochs')
    add('--epochs', 12, 'number of training epochs')
    add('--seed', 0, 'random seed')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0, 1 if a run failed or the loaded model differs, 2 if the budget cannot be met."""
    return exit_status(lambda: run(build_parser().parse_args(argv)))
