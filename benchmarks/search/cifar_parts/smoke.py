"""A minute on the device: does every part run, and how fast? And the times of a search and a training on a CPU."""
import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from .data import Images
from .driver import how, recipe_of
from .problem import RECIPE, add_result, log, random_archs, results
from .supernets import create_evaluator
from .training import step_seconds, train_all


def smoke(args: argparse.Namespace, data: dict[str, Images]) -> int:
    """A minute: each part for a few steps; step times of the trainer's settings; recipes on another architecture."""
    status, cuda = 0, args.device != 'cpu'
    if cuda:
        log(torch.cuda.get_device_name(), torch.__version__, 'cuDNN', torch.backends.cudnn.version())

    def part(name: str, run: Callable[[], Any]) -> None:
        nonlocal status
        start = time.time()
        try:
            run()
            log(f'{name}: ok, {time.time() - start:.1f} s')
        except Exception as e:  # say it, and try the rest
            log(f'{name}: failed, {time.time() - start:.1f} s: {type(e).__name__}: {str(e)[:2000]}')
            status = 1

    other = [{'name': 'smoke', 'arch': a, 'seed': 0} for a in random_archs(8, seed=1)]  # none of those compared
    out = args.output / 'smoke'
    out.mkdir(exist_ok=True)
    part('trainer: step times', lambda: _step_times(args, other, data))
    part('supernet: pass times', lambda: _pass_times(args, data))
    if cuda:
        part('supernet: kernels', lambda: _kernels(args, data))
    part('all', lambda: _small_run(args, out))
    part('recipes', lambda: _recipes(args, out, other[0], data))
    return status


def _small_run(args: argparse.Namespace, out: Path) -> None:
    """`all` for less than a minute, as a process of its own."""
    command = [
        sys.executable, str(Path(__file__).parents[1] / 'cifar.py'), 'all', '--device', args.device, '--output',
        str(out / 'all'), '--cache', str(args.cache), '--data', str(args.data), '--minutes', str(args.minutes),
        '--procs', str(args.procs), '--plan', str(args.procs), '--trainers', str(args.trainers), '--streams',
        str(args.streams), *(['--scale', str(args.scale)] if args.scale else []), *(['--mps'] if args.mps else []),
        '--steps', str(args.steps or 300),
        *(['--limit', str(args.limit)] if args.limit else []), *(['--batch', str(args.batch)] if args.batch else []),
    ]
    subprocess.run(command, check=True, env={**os.environ, 'CIFAR_STARTED': ''})
    for row in results(out / 'all'):
        if row['kind'] == 'ranking' and row['part'].startswith('1'):
            log(f'ranking {row["name"]}: {1000 * row["seconds"] / row["passes"]:.1f} ms a pass')
        if row['kind'] == 'search':
            log(f'search {row["name"]} seed {row["seed"]}: {1000 * row["seconds"] / row["steps"]:.1f} ms a step')


def _kernels(args: argparse.Namespace, data: dict[str, Images]) -> None:
    """How many kernels a pass of the supernet launches, and how long they take, without the host."""
    evaluator = create_evaluator(data['train'], data['held'], 20, 20, 0, bf16=args.supernet_bf16)
    evaluator.start_epoch(0, 0)
    rng = torch.Generator().manual_seed(0)
    for what, run in (('training', evaluator.train_step), ('scoring', evaluator.log_likelihoods)):
        run([evaluator.net.space.sample(rng)])
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            for _ in range(10):
                run([evaluator.net.space.sample(rng)])
        kernels = [e for e in profile.events() if e.device_type == torch.autograd.DeviceType.CUDA]
        microseconds = sum(e.self_device_time_total for e in kernels)
        log(f'{what}: {len(kernels) / 10:.0f} kernels a pass, its update included: {microseconds / 1e4:.2f} ms there')


def _pass_times(args: argparse.Namespace, data: dict[str, Images]) -> None:
    """ms a pass of the supernet in one process, by precision and format."""
    cuda = args.device != 'cpu'
    count = 20 if cuda else 1
    for bf16 in (False, True) if cuda else (False,):
        for memory_format in (torch.contiguous_format, torch.channels_last):
            evaluator = create_evaluator(
                data['train'], data['held'], count + 2, count, 0, bf16=bf16, memory_format=memory_format,
                batch=args.batch or RECIPE.batch,
            )
            evaluator.start_epoch(0, 0)
            rng = torch.Generator().manual_seed(0)
            drawn = [[evaluator.net.space.sample(rng) for _ in range(4)] for _ in range(count)]
            seconds = {}
            for what, run in (('training', evaluator.train_step), ('scoring', evaluator.log_likelihoods)):
                run(drawn[0])
                start = time.perf_counter()
                for archs in drawn:
                    run(archs)  # ends by reading a figure from the device
                seconds[what] = (time.perf_counter() - start) / (4 * count)
            log(f'bf16 {bf16}, {memory_format}: {1000 * seconds["training"]:.1f} ms a pass of training, '
                f'{1000 * seconds["scoring"]:.1f} of scoring')


def _step_times(args: argparse.Namespace, jobs: list[dict[str, Any]], data: dict[str, Images]) -> None:
    """ms a step: precision and format with and without graphs, and how it scales with the networks at once."""
    cuda = args.device != 'cpu'
    steps = 60 if cuda else 3

    def show(count: int, **how: Any) -> float:
        seconds, ready, graphs = step_seconds(jobs[:count], data, recipe_of(args), steps, **how)
        log(f'{count} at once, {how}: {1000 * seconds:.2f} ms a step and network, {1 / seconds:.0f} steps/s, '
            f'{ready:.1f} s to get one ready, {"graphs" if graphs else "eager"}')
        return seconds

    found = {}
    for bf16 in (False, True) if cuda else (False,):
        for channels_last in (False, True):
            found[bf16, channels_last] = show(1, bf16=bf16, channels_last=channels_last)
    bf16, channels_last = min(found, key=lambda k: found[k])
    best = {'bf16': bf16, 'channels_last': channels_last}
    if cuda:
        show(1, graph=False, **best)
        for count in (2, 4, 8):
            show(count, **best)
        torch.backends.cudnn.benchmark = True
        log('with the algorithms that cuDNN finds fastest:')
        show(1, **best)
        torch.backends.cudnn.benchmark = False


def _recipes(args: argparse.Namespace, out: Path, job: dict[str, Any], data: dict[str, Images]) -> None:
    """A few recipes on one architecture that is none of those compared; by the images held out."""
    recipes = {
        'adamw 2e-3': replace(RECIPE, lr=2e-3),
        'adamw 4e-3': RECIPE,
        'adamw 8e-3': replace(RECIPE, lr=8e-3),
        'sgd 0.1': replace(RECIPE, opt='sgd', lr=0.1, weight_decay=5e-4),
        'sgd 0.2': replace(RECIPE, opt='sgd', lr=0.2, weight_decay=5e-4),
        'sgd 0.4': replace(RECIPE, opt='sgd', lr=0.4, weight_decay=5e-4),
    }
    recipes = {name: replace(recipe, epochs=6, batch=recipe_of(args).batch) for name, recipe in recipes.items()}
    train_all(
        iter([{**job, 'name': name} for name in recipes]), data, out, lambda job: recipes[job['name']], len(recipes),
        time.time() + 60, args.steps, **how(args),
    )


def time_on_cpu(args: argparse.Namespace, data: dict[str, Images]) -> None:
    """CPU seconds of a training and of a search in one thread, from a few steps of each."""
    torch.set_num_threads(1)
    start = time.process_time()
    archs = random_archs(5)
    steps = 6
    spent = []
    for arch in archs:
        job = {'name': 'time', 'arch': arch, 'seed': 0}
        seconds, _, _ = step_seconds([job], data, RECIPE, steps, channels_last=True)
        spent.append(seconds)
    total = RECIPE.steps(45_000)
    training = statistics.mean(spent) * total
    log(f'training: {statistics.mean(spent):.3f} s a step ({min(spent):.3f} to {max(spent):.3f}), {total} steps: '
        f'{training:.0f} s')
    evaluator = create_evaluator(data['train'], data['held'], 1000, 1000, 0)
    evaluator.start_epoch(0, 0)
    rng = torch.Generator().manual_seed(0)
    space = evaluator.net.space
    rates = {}
    for what, run in (('train', evaluator.train_step), ('score', evaluator.log_likelihoods)):
        before, begun = evaluator.macs, time.process_time()
        for _ in range(steps):
            run([space.sample(rng) for _ in range(2)])
        rates[what] = (time.process_time() - begun) / (evaluator.macs - before)
    log(f'supernet: {1e9 * rates["train"]:.4f} s for 1e9 multiply-adds of training (3 for a forward and backward), '
        f'{1e9 * rates["score"]:.4f} s for 1e9 of scoring')
    add_result(args.output, kind='time', name='cpu', seed=0, training_step=statistics.mean(spent), training=training,
               train_rate=rates['train'], score_rate=rates['score'], torch=torch.__version__,
               cpu_seconds=round(time.process_time() - start, 1))
    for row in results(args.output, 'search'):
        scored = row['scored_macs'] * rates['score']
        trained = (row['spent_macs'] - row['scored_macs']) * rates['train']
        log(f'search {row["name"]} seed {row["seed"]}: {trained + scored:.0f} s, {(trained + scored) / training:.2f} '
            'trainings')
