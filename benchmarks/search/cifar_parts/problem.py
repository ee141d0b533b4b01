"""The problem, fixed before any result was seen: space, target, recipe, what is compared; and the file of results."""
import fcntl
import json
import os
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from fpnas_timm.arch import Conv
from fpnas_timm.arch.cost import cost
from fpnas_timm.spaces import MBConvSpace, Row

SIZE, CLASSES = 32, 10
TARGET = 4_000_000
TOLERANCE = 0.02
RANDOM = 30  # architectures drawn uniformly within the tolerance of the target
RESULTS = 'results.jsonl'
STARTED = float(os.environ.get('CIFAR_STARTED') or time.time())  # of the driver, for the times in the log


@dataclass(frozen=True)
class Recipe:
    """How a network is trained on its own."""

    epochs: int = 12
    batch: int = 256
    opt: str = 'adamw'
    lr: float = 5e-3  # the peak, after `warmup` of the steps; then a cosine to 0
    weight_decay: float = 0.05  # of weights with more than one dimension
    warmup: float = 0.15
    smoothing: float = 0.1

    def steps(self, images: int) -> int:
        return self.epochs * (images // self.batch)


RECIPE = Recipe()


def cifar_space() -> MBConvSpace:
    """The FP-NAS micro-architecture at 32 pixels: five groups at 32, 16, 16, 8 and 4 pixels, 1.6e11 architectures."""
    micro = {'kernel': (0, 3, 5), 'act': ('re', 'sw'), 'splits': (0, 1, 2, 4)}
    expansions = (1.5, 3.0, 4.5)
    rows = [
        Row(expansion, channels, repeat, stride, **micro)
        for expansion, channels, repeat, stride in [
            ((1.0,), (8, 12, 16), 1, 1),
            (expansions, (12, 16, 24), 1, 2),
            (expansions, (16, 24, 32), 2, 1),
            (expansions, (32, 40, 56), 2, 2),
            (expansions, (48, 64, 80), 1, 2),
        ]
    ]
    return MBConvSpace.from_rows('cifar', Conv(3, 1, 16, 'sw'), rows, Conv(1, 1, 256, 'sw'), SIZE)


def macs_of(arch: Any) -> int:
    """Multiply-adds of an architecture or its string."""
    return cost(arch, num_classes=CLASSES).macs


def near_target(space: MBConvSpace, rng: random.Random, tolerance: float = TOLERANCE) -> Iterator[str]:
    """Architectures drawn uniformly from those within `tolerance` of the target."""
    while True:
        arch = space.sample_arch(rng)
        if abs(macs_of(arch) / TARGET - 1) <= tolerance:
            yield str(arch)


def random_archs(count: int = RANDOM, seed: int = 0) -> list[str]:
    """The random architectures that the search has to beat, all different."""
    found: dict[str, None] = {}
    for arch in near_target(cifar_space(), random.Random(seed)):
        found[arch] = None
        if len(found) == count:
            return list(found)
    raise AssertionError


# Hand-made peers: the least multiplier of timm's channels (in steps of 0.01) that gives at least 98 % of the target,
# and the multiply-adds with it, by fvcore (`cifar.py peers` solves them again).
PEERS = {
    'mobilenetv3_small': (0.55, 3_926_784),
    'mobilenetv2': (0.17, 3_989_248),
    'efficientnet_b0': (0.19, 4_325_760),
}


def create_peer(name: str, multiplier: float) -> nn.Module:
    """A timm network with scaled channels, whose stem has stride 1 and whose stages end at 4 x 4 pixels."""
    from timm.models.efficientnet import _gen_efficientnet, _gen_mobilenet_v2
    from timm.models.mobilenetv3 import _gen_mobilenet_v3

    make = {
        'mobilenetv3_small': partial(_gen_mobilenet_v3, 'mobilenetv3_small_100', multiplier),
        'mobilenetv2': partial(_gen_mobilenet_v2, 'mobilenetv2_100', multiplier),
        'efficientnet_b0': partial(_gen_efficientnet, 'efficientnet_b0', multiplier),
    }[name]
    model = make(num_classes=CLASSES)
    strided = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.stride == (2, 2)]
    for conv in [strided[0], strided[-1]]:  # the stem, and the last stage: 32, 16, 8, 4 pixels remain
        conv.stride = (1, 1)
    return model


def network_macs(model: nn.Module) -> int:
    """Multiply-adds of any network, by fvcore: convolutions and linear layers."""
    from fvcore.nn import FlopCountAnalysis

    counted = FlopCountAnalysis(model.eval(), torch.zeros(1, 3, SIZE, SIZE))
    by_operator = counted.unsupported_ops_warnings(False).uncalled_modules_warnings(False).by_operator()
    return int(by_operator['conv'] + by_operator['linear'])


def solve_peer(name: str) -> tuple[float, int]:
    """The multiplier for the target, and the multiply-adds with it."""
    for percent in range(5, 201):
        macs = network_macs(create_peer(name, percent / 100))
        if macs >= (1 - TOLERANCE) * TARGET:
            return percent / 100, macs
    raise ValueError(f'{name}: no multiplier up to 2 reaches the target')


def create_network(job: dict[str, Any]) -> nn.Module:
    """The network of a job, initialised from its seed."""
    torch.manual_seed(job['seed'])
    if job.get('peer'):
        return create_peer(job['peer'], PEERS[job['peer']][0])
    return timm.create_model('fpnas', arch=job['arch'], num_classes=CLASSES)


def log(*words: object) -> None:
    """A line with the seconds since the driver started."""
    line = ' '.join([f'[{time.time() - STARTED:6.1f} s]', *map(str, words)])
    sys.stdout.write(f'{line}\n')  # at once: other processes write too
    sys.stdout.flush()


def add_result(out: Path, **record: Any) -> None:
    """Append a line to the file of results; several processes may."""
    line = json.dumps({**record, 'at': round(time.time() - STARTED, 1)}) + '\n'
    with open(out / RESULTS, 'a') as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        f.write(line)


def results(out: Path, kind: str | None = None) -> list[dict[str, Any]]:
    """The lines of the file of results; of a repeated one the last. A line that is cut short is left out."""
    if not (out / RESULTS).exists():
        return []
    found = {}
    for line in (out / RESULTS).read_text().splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        found[tuple(row.get(k) for k in ('kind', 'name', 'seed', 'part'))] = row
    return [row for row in found.values() if kind in (None, row['kind'])]


def recipe_record(recipe: Recipe) -> dict[str, Any]:
    """The recipe as data."""
    return asdict(recipe)
