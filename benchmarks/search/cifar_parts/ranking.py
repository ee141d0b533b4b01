"""A supernet that ranks: supernets trained under several settings, each scoring the same random architectures.

Every setting gets the same number of passes (an architecture forward and backward on a batch), so that what a step
does more it does less often. The scores are compared with the accuracies of `training` by `report`.
"""
import math
import random
import time
from pathlib import Path
from typing import Any

import torch

from fpnas_timm.arch import Arch

from .data import Images
from .problem import add_result, cifar_space, log, random_archs
from .supernets import create_evaluator, score

PASSES = 4500  # of a setting
BATCH = 128
PARTS = 3  # scored after each third

# name: (sampled architectures of a step, further options of the supernet or its evaluator)
BASE: dict[str, Any] = {'lr': 2e-3}
SANDWICH: dict[str, Any] = {**BASE, 'weight_archs': 'sandwich'}
SETTINGS: dict[str, tuple[int, dict[str, Any]]] = {
    'plain': (2, BASE),
    'sandwich-distilled': (2, {**SANDWICH, 'distill': 0.5}),
    'near-target': (2, {**BASE, 'weight_draws': 'budget', 'weight_window': (3_000_000, 5_000_000)}),
    'lr-6e-3': (2, {'lr': 6e-3}),
    'one-near-target': (1, {'lr': 6e-3, 'weight_draws': 'budget', 'weight_window': (3_000_000, 5_000_000)}),
    'one': (1, BASE),
    'sandwich': (2, SANDWICH),
    'four': (4, BASE),
    'lr-1e-3': (2, {'lr': 1e-3}),
    'smoothing': (2, {**BASE, 'smoothing': 0.1}),
    'largest-distilled-all': (2, {**BASE, 'weight_archs': 'largest', 'distill': 1.0}),
}
EMA = 0.998  # every setting is scored with and without an average of the weights


def rank(
        out: Path,
        name: str,
        data: dict[str, Images],
        seed: int = 0,
        scale: float = 1.0,
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
        scale: of its length.
        deadline: time at which it stops; what was scored until then stays.
        calibration: images for the statistics of the batch norms.
        more: options of the supernet in every setting, such as `bf16`.
    """
    sampled, options = SETTINGS[name]
    options = {**more, **options}
    space = cifar_space()
    extra = {'sandwich': 2, 'largest': 1}.get(options.get('weight_archs', ''), 0)
    usual = more.get('batch', BATCH)
    updates = max(PARTS, int(scale * PASSES) * usual // ((sampled + extra) * options.get('batch', usual)))
    evaluator = create_evaluator(
        data['train'], data['held'], updates, updates, seed, weight_ema=EMA, **options
    )
    archs = [Arch.parse(a) for a in random_archs()]
    mixed = torch.randperm(len(data['train'].labels), generator=torch.Generator().manual_seed(0))[:calibration]
    calibrating = data['train'].pick(mixed.to(data['train'].labels.device))  # in order they would all be of one class
    marks = {round(updates * part / PARTS): part for part in range(1, PARTS + 1)}
    started, scoring, losses, rng = time.time(), 0.0, list[float](), random.Random(seed)
    evaluator.start_epoch(0, 0)
    for update in range(1, updates + 1):
        losses.append(evaluator.train_step([space.sample(rng) for _ in range(sampled)]))
        late = time.time() > deadline
        if update not in marks and not late:
            continue
        seconds, scored_from = time.time() - started - scoring, time.time()
        nets = {'weights': evaluator.net}
        if evaluator.average is not None:
            nets['average'] = evaluator.average.net
        scores = {
            f'{which}, {norms}': score(net, archs, data['held'], images)
            for which, net in nets.items()
            for norms, images in (('batch', None), ('calibrated', calibrating))
            if norms == 'batch' or which == 'average' or update == updates  # the others take their time
        }
        scoring += time.time() - scored_from
        recent = losses[-100:]
        add_result(
            out, kind='ranking', name=name, seed=seed, part=f'{marks[update]}/{PARTS}' if update in marks else 'late',
            updates=update, of=updates, passes=evaluator.trained, macs=evaluator.macs, seconds=round(seconds, 1),
            scoring_seconds=round(scoring, 1), loss=round(sum(recent) / len(recent), 4),
            options=options, sampled=sampled, archs=[str(a) for a in archs], scores=scores,
        )
        log(f'ranking {name}: {update} of {updates} updates, {evaluator.trained} passes, {seconds:.0f} s, '
            f'loss {sum(recent) / len(recent):.3f}, scored in {time.time() - scored_from:.1f} s')
        if late:
            return
