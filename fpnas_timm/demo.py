"""The whole path on real images, in a minute: a budget becomes a string, the string a trained model that timm loads.

scikit-learn's handwritten digits (1,797 images of 8 x 8 pixels) become an image folder; the budgeted decode finds an
architecture in a small search space; timm builds, trains, saves and loads it.
"""
import argparse
import csv
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import timm
import torch
from timm.data import create_dataset, create_loader
from timm.loss import LabelSmoothingCrossEntropy
from timm.models import save_for_hf
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import AverageMeter, ModelEmaV3, accuracy, random_seed
from torch import nn

from .arch import Arch, Conv
from .draw import draw_arch
from .reconstruct import section_b_prior
from .search.decode import InfeasibleError, decode
from .spaces import MBConvSpace, Row, steps

__all__ = ['digits_folder', 'digits_space', 'main', 'train']

IMG_SIZE = 32
BATCH_SIZE = 64


def digits_space() -> MBConvSpace:
    """A small search space for 32 x 32 images: five groups, 6.0e12 architectures."""
    micro = {'kernel': (0, 3, 5), 'act': ('re', 'sw'), 'splits': (0, 1, 2, 4)}
    expansion = steps(1.5, 4.5, 0.75)
    rows = [
        Row(expansion, channels, repeat, stride, **micro)
        for channels, repeat, stride in [
            ((8, 12, 16), 1, 1), ((16, 24, 32), 2, 2), ((16, 24, 32), 1, 1), ((32, 48, 64), 2, 2), ((48, 64, 80), 1, 1)
        ]
    ]
    return MBConvSpace.from_rows('digits', Conv(3, 1, 16, 'sw'), rows, Conv(1, 1, 256, 'sw'), IMG_SIZE)


def digits_folder(root: Path, seed: int = 0) -> None:
    """Write the digits as `root/{train,validation}/<digit>/*.png`, a fifth of each class held out for validation."""
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
            image.resize((IMG_SIZE, IMG_SIZE), Image.Resampling.BICUBIC).convert('RGB').save(folder / f'{i:04d}.png')
    done.touch()


def train(model: nn.Module, data: Path, epochs: int, log: Path, seed: int = 0) -> tuple[nn.Module, float]:
    """Train on an image folder with timm's parts.

    Args:
        model: the network; trained in place.
        data: folder with `train` and `validation`.
        epochs: passes over the training images.
        log: CSV file, a row an epoch.
        seed: of shuffling and augmentation.

    Returns:
        The average of the weights over the training (EMA) and its validation accuracy in %.
    """
    from tqdm import tqdm

    random_seed(seed)
    cfg = dict(input_size=(3, IMG_SIZE, IMG_SIZE), batch_size=BATCH_SIZE, use_prefetcher=False, num_workers=0)
    loader = create_loader(
        create_dataset('', root=data, split='train'),
        is_training=True,
        scale=(0.7, 1.0),
        ratio=(0.9, 1.1),
        hflip=0.0,
        color_jitter=0.2,
        **cfg,
    )
    validation = create_loader(create_dataset('', root=data, split='validation'), crop_pct=1.0, **cfg)
    loss_fn = LabelSmoothingCrossEntropy(0.1)
    optimizer = create_optimizer_v2(model, opt='adamw', lr=4e-3, weight_decay=0.02)
    scheduler, epochs = create_scheduler_v2(
        optimizer, sched='cosine', num_epochs=epochs, warmup_epochs=1, warmup_lr=1e-4, step_on_epochs=False,
        updates_per_epoch=len(loader),
    )
    ema = ModelEmaV3(model, decay=0.98, use_warmup=True)
    top1, update = 0.0, 0
    with log.open('w', newline='', encoding='utf-8') as f:
        writer = csv.writer(f)
        writer.writerow(['epoch', 'train_loss', 'eval_top1'])
        for epoch in range(epochs):
            model.train()
            losses = AverageMeter()
            bar = tqdm(loader, desc=f'epoch {epoch + 1}/{epochs}', leave=False, disable=not sys.stderr.isatty())
            for images, target in bar:
                loss = loss_fn(model(images), target)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                update += 1
                scheduler.step_update(num_updates=update)
                ema.update(model, step=update)
                losses.update(loss.item(), len(target))
                bar.set_postfix(loss=f'{losses.avg:.3f}')
            top1 = validate(ema.module, validation)
            writer.writerow([epoch, f'{losses.avg:.5f}', f'{top1:.3f}'])
            f.flush()
            print(f'epoch {epoch + 1:2d}/{epochs}: train loss {losses.avg:.3f}, validation top-1 {top1:.2f} %')
    return ema.module, top1


@torch.inference_mode()
def validate(model: nn.Module, loader) -> float:
    """Top-1 accuracy in % over a loader."""
    model.eval()
    meter = AverageMeter()
    for images, target in loader:
        meter.update(accuracy(model(images), target)[0].item(), len(target))
    return meter.avg


def find_arch(target_macs: float) -> Arch:
    """The most probable architecture of `digits_space` under the prior, at most and nearly (5 %) `target_macs`."""
    space = digits_space()
    found = decode(
        space, section_b_prior(space), macs=(int(0.95 * target_macs), int(target_macs)), num_classes=10
    )
    print(f'architecture   {found.arch}')
    print(f'multiply-adds  {found.cost.macs:,} at {IMG_SIZE} x {IMG_SIZE} (budget {int(target_macs):,})')
    print(f'parameters     {found.cost.params:,}')
    return found.arch


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0, 1 if the loaded model differs, 2 if the budget is out of reach."""
    parser = argparse.ArgumentParser(prog='python -m fpnas_timm.demo', description=__doc__)
    parser.add_argument('--output', type=Path, default=Path('output/demo'), help='where everything is written')
    parser.add_argument('--target-macs', type=float, default=3e6, help='multiply-adds at 32 x 32 pixels')
    parser.add_argument('--epochs', type=int, default=12)
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args(argv)
    start = time.monotonic()
    out = args.output
    try:
        arch = find_arch(args.target_macs)
    except InfeasibleError as e:
        print(f'error: {e}', file=sys.stderr)
        return 2
    out.mkdir(parents=True, exist_ok=True)
    (out / 'arch.txt').write_text(f'{arch}\n', encoding='utf-8')
    digits_folder(out / 'data')
    torch.manual_seed(args.seed)
    model = timm.create_model('fpnas', arch=str(arch), num_classes=10)
    trained, top1 = train(model, out / 'data', args.epochs, out / 'summary.csv', args.seed)

    folder = out / 'model'
    labels = [str(i) for i in range(10)]
    data_config = dict(input_size=(3, IMG_SIZE, IMG_SIZE), crop_pct=1.0)
    save_for_hf(
        trained, str(folder), model_config=dict(label_names=labels), safe_serialization=True, data_config=data_config
    )
    loaded = timm.create_model(f'local-dir:{folder}', pretrained=True).eval()
    images = torch.randn(8, 3, IMG_SIZE, IMG_SIZE)
    with torch.inference_mode():
        difference = (loaded(images) - trained(images)).abs().max().item()
    if difference > 0:
        print(f'error: the model in {folder} gives other logits, by up to {difference:.2g}', file=sys.stderr)
        return 1
    print(f'accuracy       {top1:.2f} % of the validation images (EMA weights, {args.epochs} epochs)')
    print(f"model          {folder}: timm.create_model('local-dir:{folder}', pretrained=True), same logits")
    draw_arch(arch, out / 'arch.png')
    print(f'picture        {out / "arch.png"}')
    print(f'log            {out / "summary.csv"}')
    print(f'time           {time.monotonic() - start:.0f} s')
    return 0


if __name__ == '__main__':
    sys.exit(main())
