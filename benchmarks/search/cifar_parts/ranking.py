"""A supernet that ranks: supernets trained under several settings, each scoring the same random architectures.

Every setting gets the same number of passes (an architecture forward and backward on a batch), so that what a step
does more it does less often. The scores are compared with the accuracies of `training` by `report`.
"""
import math
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from fpnas_timm.arch import Arch
from fpnas_timm.spaces import Choices, MBConvSpace

from .data import Images
from .problem import add_result, cifar_space, log, near_target, random_archs
from .supernets import create_evaluator, score

PASSES = 6000  # of a setting, unless it says otherwise
BATCH = 128
PARTS = 3  # scored after each third

# name: (sampled architectures of a step, where they are drawn, further options of the supernet or its evaluator)
BASE: dict[str, Any] = {'lr': 2e-3}
SANDWICH: dict[str, Any] = {**BASE, 'weight_archs': 'sandwich'}
SETTINGS: dict[str, tuple[int, str, dict[str, Any]]] = {
    'plain': (2, 'space', BASE),
    'sandwich-distilled': (2, 'space', {**SANDWICH, 'distill': 0.5}),
    'near-target': (2, 'target', BASE),
    'lr-6e-3': (2, 'space', {'lr': 6e-3}),
    'sandwich': (2, 'space', SANDWICH),
    'one': (1, 'space', BASE),
    'four': (4, 'space', BASE),
    'lr-1e-3': (2, 'space', {'lr': 1e-3}),
    'batch-256': (2, 'space', {**BASE, 'batch': 256}),
    'largest-distilled': (2, 'space', {**BASE, 'weight_archs': 'largest', 'distill': 0.5}),
    'sandwich-distilled-all': (2, 'space', {**SANDWICH, 'distill': 1.0}),
    'near-target-lr-4e-3': (2, 'target', {'lr': 4e-3}),
}
EMA = 0.998  # every setting is scored with and without an average of the weights


def draws(space: MBConvSpace, where: str, count: int, seed: int) -> Iterator[list[Choices]]:
    """The sampled architectures of each step: uniform over the space, or over what is near the target."""
    rng = random.Random(seed)
    near = near_target(space, rng, tolerance=0.3)
    while True:
        if where == 'target':
            yield [space.from_arch(Arch.parse(next(near))) for _ in range(count)]
        else:
            yield [space.sample(rng) for _ in range(count)]


def rank(
        out: Path,
        name: str,
        data: dict[str, Images],
        seed: int = 0,
        passes: int = PASSES,
        deadline: float = math.inf,
        calibration: int = 2500,
        **more: Any,
) -> None:
    """Train a supernet under a setting and score the random architectures after each third of its passes.

    Args:
        out: where the file of results is.
        name: of `SETTINGS`.
        data: images on the device: 'train' trains the weights, 'held' scores.
        seed: of the supernet.
        passes: architectures times batches, forward and backward.
        deadline: time at which it stops; what was scored until then stays.
        calibration: images for the statistics of the batch norms.
        more: options of the supernet in every setting, such as `bf16`.
    """
    sampled, where, options = SETTINGS[name]
    options = {**more, **options}
    space = cifar_space()
    extra = {'sandwich': 2, 'largest': 1}.get(options.get('weight_archs', ''), 0)
    usual = more.get('batch', BATCH)
    updates = max(PARTS, passes * usual // ((sampled + extra) * options.get('batch', usual)))
    evaluator = create_evaluator(
        data['train'], data['held'], updates, updates, seed, weight_ema=EMA, **options
    )
    archs = [Arch.parse(a) for a in random_archs()]
    calibrating = data['train'].pick(torch.arange(min(calibration, len(data['train'].labels))))
    marks = {round(updates * part / PARTS): part for part in range(1, PARTS + 1)}
    started, losses, stepping = time.time(), list[float](), draws(space, where, sampled, seed)
    evaluator.start_epoch(0, 0)
    for update in range(1, updates + 1):
        losses.append(evaluator.train_step(next(stepping)))
        late = time.time() > deadline
        if update not in marks and not late:
            continue
        seconds = time.time() - started
        nets = {'weights': evaluator.net}
        if evaluator.average is not None:
            nets['average'] = evaluator.average.net
        scores = {
            f'{which}, {norms}': score(net, archs, data['held'], images)
            for which, net in nets.items()
            for norms, images in (('batch', None), ('calibrated', calibrating))
            if norms == 'batch' or which == 'average' or update == updates  # the others take their time
        }
        recent = losses[-100:]
        add_result(
            out, kind='ranking', name=name, seed=seed, part=f'{marks[update]}/{PARTS}' if update in marks else 'late',
            updates=update, of=updates, passes=evaluator.trained, macs=evaluator.macs, seconds=round(seconds, 1),
            scoring_seconds=round(time.time() - started - seconds, 1), loss=round(sum(recent) / len(recent), 4),
            options=options, sampled=sampled, where=where, archs=[str(a) for a in archs], scores=scores,
        )
        log(f'ranking {name}: {update} of {updates} updates, {evaluator.trained} passes, {seconds:.0f} s, '
            f'loss {sum(recent) / len(recent):.3f}, scored in {time.time() - started - seconds:.1f} s')
        if late:
            return
