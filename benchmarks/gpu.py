"""Speed on a GPU in a minute and a quarter: inference, training and steps of a search. Writes JSON.

    python benchmarks/gpu.py -o gpu.json          # measure (make bench-gpu)
    python benchmarks/gpu.py --table gpu.json     # as Markdown, for docs/performance.md

Ours and the peer take turns, see `inference.py` and `training.py`; the settings are those of `fpnas train` (TF32,
cuDNN's benchmarks). `waits` compares training steps whose loss is read one step late, as `fpnas train` does, with steps
after which `item()` waits. A step of the search trains and scores K architectures of S1++'s space
(`model/shared_pass.py`).
"""
import argparse
import datetime
import gc
import json
import logging
import random
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from inference import as_the_commands, describe, interleaved, measure
from timm.optim import create_optimizer_v2
from training import measure_steps

import fpnas_timm
from fpnas_timm.model import shared_pass
from fpnas_timm.model.supernet import SuperNet
from fpnas_timm.runs.files import write_text
from fpnas_timm.spaces import get_space
from fpnas_timm.train.losses import Losses

MODELS = ('fpnas_s1pp', 'fpnas_l0', 'fpnas_l2')
ARCHS, SEARCH_BATCH = 14, 64  # K at 59 nats and lambda 1/4


def inference(device: str, quick: bool) -> Iterator[dict[str, Any]]:
    """At batch 1, and at one that fills the card."""
    models, batches, rounds = (MODELS[:1], (1, 2), 2) if quick else (MODELS, (1, 256), 5)
    for dtype in ('float16', 'float32'):
        yield from measure(models, batches, ['channels_last'], rounds, device, dtype)


def training(device: str, quick: bool) -> Iterator[dict[str, Any]]:
    """Forward, backward and update."""
    yield from measure_steps(
        MODELS[:1] if quick else MODELS[:2], ['bfloat16', 'float32'], ['channels_last'], 1 if quick else 5,
        2 if quick else 128, device,
    )


def waits(device: str, quick: bool) -> Iterator[dict[str, Any]]:
    """Training steps of a small batch, where Python is what the GPU waits for."""
    for name in MODELS[:1] if quick else MODELS[:2]:
        steps = [_step_and_read(name, device, late, 2 if quick else 32) for late in (True, False)]
        late, waiting = interleaved(steps, 1 if quick else 10, device)
        yield {'model': name, 'batch': 2 if quick else 32, 'ms, read late': late * 1e3, 'ms, waiting': waiting * 1e3}


def _step_and_read(name: str, device: str, late: bool, batch: int) -> Callable[[], None]:
    model = timm.create_model(name).to(device, memory_format=torch.channels_last).train()
    images = torch.randn(batch, *model.default_cfg['input_size']).to(device, memory_format=torch.channels_last)
    target = torch.zeros(batch, dtype=torch.long, device=device)
    optimizer = create_optimizer_v2(model, opt='sgd', lr=1e-3)
    losses = Losses(0, lambda value, update: RuntimeError(f'the loss is {value}'))

    def step() -> None:
        with torch.autocast(images.device.type, torch.bfloat16):
            loss = F.cross_entropy(model(images), target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if late:
            losses.add(loss, 1, batch, 0)
        else:
            loss.item()

    return step


def searching(device: str, quick: bool) -> Iterator[dict[str, Any]]:
    """The passes of a step: training and scoring the same K random architectures, without update and images."""
    torch.backends.cudnn.benchmark = False  # as in `fpnas search`: every architecture has other shapes
    size, batch, count = (64, 2, 2) if quick else (128, SEARCH_BATCH, ARCHS)
    space = get_space('fpnas_s1pp').with_img_size(size)
    net = SuperNet(space, 100).to(device, memory_format=torch.channels_last)
    rng = random.Random(0)
    archs = [space.sample_arch(rng) for _ in range(count)]
    images = torch.randn(batch, 3, size, size).to(device, memory_format=torch.channels_last)
    target = torch.randint(100, (batch,)).to(device)
    for dtype in ('bfloat16', 'float32'):
        def autocast(dtype: str = dtype) -> torch.autocast:
            return torch.autocast(images.device.type, torch.bfloat16, enabled=dtype == 'bfloat16')

        def train(autocast: Callable[[], torch.autocast] = autocast) -> None:
            net.zero_grad()
            shared_pass.train(net, images, archs, lambda logits, k: F.cross_entropy(logits, target), autocast=autocast)

        def score(autocast: Callable[[], torch.autocast] = autocast) -> None:
            for _, logits in shared_pass.score(net, images, archs, autocast):
                F.cross_entropy(logits.float(), target, reduction='sum')

        trained, scored = interleaved([train, score], 1 if quick else 3, device, calls=2)
        yield {
            'space': space.name, 'size': size, 'batch': batch, 'K': count, 'dtype': dtype,
            'ms, training': trained * 1e3, 'ms, scoring': scored * 1e3,
            'images/s and architecture': count * batch / (trained + scored),
        }


PARTS: dict[str, Callable[[str, bool], Iterator[dict[str, Any]]]] = {
    'search': searching, 'training': training, 'waits': waits, 'inference': inference,
}


def run(output: Path, device: str, quick: bool, seconds: float) -> bool:
    """Measure and write after every row; returns whether no part failed.

    A part may use an equal share of the time that is left. What is not measured in time is left out, and said; so is
    the error of a part that fails, after which the others go on.
    """
    found: dict[str, Any] = {
        'machine': describe(device), 'date': f'{datetime.date.today()}', 'version': fpnas_timm.__version__,
        'left out': [], 'errors': {},
    }
    started = time.monotonic()

    def passed() -> float:
        return time.monotonic() - started

    for i, (part, measured) in enumerate(PARTS.items()):
        found[part] = []
        as_the_commands(device)
        until = passed() + (seconds - passed()) / (len(PARTS) - i)
        try:
            for row in measured(device, quick):
                found[part].append({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()})
                write_text(output, json.dumps(found, indent=1) + '\n')
                print(f'{passed():5.1f} s', part, found[part][-1], flush=True)
                if passed() > until:
                    found['left out'].append(part)
                    break
        except Exception as e:
            found['errors'][part] = f'{type(e).__name__}: {e}'
            print(f'{passed():5.1f} s {part} failed', flush=True)
            traceback.print_exc()
        gc.collect()
        if torch.device(device).type == 'cuda':
            torch.cuda.empty_cache()
        write_text(output, json.dumps(found, indent=1) + '\n')
    return not found['errors']


def table(path: Path) -> None:
    """Print a file as Markdown."""
    found = json.loads(path.read_text())
    print(f'{found["date"]}: {found["machine"]}')
    for part in PARTS:
        rows = found.get(part) or []
        if rows:
            print('', f'| {" | ".join(rows[0])} |', f'|{"---|" * len(rows[0])}', sep='\n')
        for row in rows:
            print(f'| {" | ".join(f"{v:,.4g}" if isinstance(v, float) else str(v) for v in row.values())} |')
    if found['left out']:
        print(f'\nnot finished in time: {", ".join(found["left out"])}')
    for part, error in found.get('errors', {}).items():
        print(f'\n{part} failed: {error}')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('-o', '--output', type=Path, default=Path('gpu.json'))
    parser.add_argument('--device', default='cuda')
    parser.add_argument('--seconds', type=float, default=65, help='after which no further row is measured')
    parser.add_argument('--quick', action='store_true', help='tiny: only whether it runs')
    parser.add_argument('--table', type=Path, metavar='FILE')
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    logging.disable(logging.WARNING)
    if args.table:
        table(args.table)
    else:
        sys.exit(not run(args.output, args.device, args.quick, args.seconds))


if __name__ == '__main__':
    main()
