"""The product's searches on these images: half of the training images for the weights, half for alpha."""
import math
import time
from pathlib import Path
from typing import Any

import torch

from fpnas_timm.search.loop import Search, SearchConfig

from .data import Images, stratified
from .problem import TARGET, add_result, cifar_space, log, macs_of
from .supernets import create_evaluator

STEPS = 1000  # of a search
EPOCHS = 10
COMMON: dict[str, Any] = {
    'warmup_epochs': 3, 'joint_epoch': 7, 'lam': 0.25, 'weight_samples': 2, 'alpha_lr': 0.05, 'beta': 0.5,
    'cost_form': 'two-sided', 'temperature': 128.0,
}
WEIGHTS: dict[str, Any] = {'lr': 2e-3}
# name: settings that differ from COMMON; options of the supernet that differ from WEIGHTS
SEARCHES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    'default': ({}, {}),
    'fixed-K': ({'num_samples': 6}, {}),
    'factorised': ({'joint_epoch': None}, {}),
    'joint': ({'joint_epoch': 0}, {}),
    'no-warmup': ({'warmup_epochs': 0}, {}),
    'as-printed': ({'temperature': 1.0, 'cost_form': 'relative', 'beta': 0.3, 'alpha_lr': 0.01}, {}),
}


def search(
        out: Path,
        name: str,
        data: dict[str, Images],
        seed: int = 0,
        steps: int = STEPS,
        deadline: float = math.inf,
        bf16: bool = False,
) -> None:
    """Run a search and write its result.

    Args:
        out: where the file of results is.
        name: of `SEARCHES`.
        data: images on the device; those of 'train' are split into the two halves.
        seed: of the search and its supernet.
        steps: of the search, in all.
        deadline: time at which it stops with what it has learned so far.
        bf16: autocast to bfloat16.
    """
    settings, weights = SEARCHES[name]
    config = SearchConfig(epochs=EPOCHS, target=TARGET, **{**COMMON, **settings})
    first, second = (i.to(data['train'].labels.device) for i in stratified(data['train'].labels.cpu(), 0.5, 1))
    per_epoch = max(1, steps // EPOCHS)
    evaluator = create_evaluator(
        data['train'].pick(first), data['train'].pick(second), per_epoch, per_epoch * EPOCHS, seed, bf16=bf16,
        **{**WEIGHTS, **weights},
    )
    running = Search(cifar_space(), evaluator, config, seed, evaluator.decode)
    started, cpu = time.time(), time.process_time()

    class Late:
        def __bool__(self) -> bool:
            return time.time() > deadline

    def on_epoch(search: Search) -> None:
        row = search.history[-1]
        log(f'search {name} seed {seed}: epoch {search.epoch}, K {row["k"]:.1f}, entropy {row["entropy"]:.1f}, loss '
            f'{row["train_loss"]:.3f}, mode {row["most_probable_cost"] / 1e6:.2f} M, {time.time() - started:.0f} s')

    finished = running.run(Late(), None, on_epoch)
    seconds = time.time() - started
    arch = running.space.describe(running.result())
    mode = running.space.describe(running.distribution.most_probable())
    add_result(
        out, kind='search', name=name, seed=seed, arch=arch, macs=macs_of(arch), mode=mode, mode_macs=macs_of(mode),
        finished=finished, epoch=running.epoch, steps=per_epoch * EPOCHS, samples=running.num_samples,
        trained_passes=evaluator.trained, scored_passes=evaluator.scored_passes, spent_macs=evaluator.macs,
        scored_macs=evaluator.scored_macs,
        seconds=round(seconds, 1), cpu_seconds=round(time.process_time() - cpu, 1),
        evaluator_seconds=round(evaluator.seconds, 1), threads=torch.get_num_threads(),
        history=[{k: row[k] for k in ('epoch', 'phase', 'k', 'entropy', 'train_loss', 'cost', 'most_probable_cost')}
                 | {'log_likelihood': row.get('log_likelihood')} for row in running.history],
    )
    log(f'search {name} seed {seed}: {arch}')
