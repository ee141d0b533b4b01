"""What runs when: trainings, searches and rankings, and everything on one GPU within a given time."""
import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from . import data as images
from .problem import PEERS, RECIPE, STARTED, Recipe, log, macs_of, random_archs, results
from .ranking import PARTS, PASSES, SETTINGS, rank
from .searches import passes_of, search
from .supernets import seconds_a_pass
from .training import numbered, train_all

CLAIMS = 'claims'  # a folder in the cache: what a process has begun
SEARCHING = 'searching'  # a file in the cache while searches may still find something to train
PROBE = 10.0  # seconds in which each process of `all` finds its pace
SCALES = 0.35, 1.3  # the least and greatest multiple of the lengths of searches and rankings
CLIENT = """
import torch
x = torch.randn(64, 64, device='cuda')
(x @ x).sum().item()
graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
with torch.cuda.graph(graph, stream=stream):
    y = x * 2
graph.replay()
torch.cuda.synchronize()
assert torch.equal(y, x * 2)
"""
LEAST = 30  # seconds that a search or ranking needs to be worth beginning
SEEDS = [0, 1]  # of the training of peers and of what searches find
LEADING = ('default', 'evolution')  # both seeds of these come before the others' first


def _plan() -> list[tuple[str, str, int]]:
    """What runs beside the trainings, the most wanted first: (command, name, seed)."""
    ranks = [('rank', name, 0) for name in SETTINGS]

    def searches(*names: str) -> list[tuple[str, str, int]]:
        return [('search', name, seed) for name in names for seed in (0, 1, 2)]

    return [
        *searches('default', 'evolution'), *ranks[:5], *searches('short', 'fixed-K', 'no-warmup'), *ranks[5:8],
        *searches('joint', 'factorised', 'sandwich-distilled'), *ranks[8:], *searches('random-scored', 'as-printed'),
    ]


PLAN = _plan()


def jobs(args: argparse.Namespace) -> Iterator[dict[str, Any] | None]:
    """What is to be trained, as soon as it is known; None: nothing at the moment. With `args.names`, only those."""
    while True:
        searching = (args.cache / SEARCHING).exists()  # looked at first, so that no result is missed
        for job in _untrained(args):
            if claim(args.cache, f'{job["name"]}_{job["seed"]}'):
                yield {'macs': macs_of(job['arch']) if 'arch' in job else None, **job}
                break
        else:
            if not searching:
                return
            yield None


def _known(args: argparse.Namespace) -> list[dict[str, Any]]:
    """All networks with each seed, in the order in which they are trained."""
    first = [{'name': f'random-{i}', 'group': 'random', 'arch': a} for i, a in enumerate(random_archs())]
    peers = [{'name': name, 'group': 'peer', 'peer': name, 'macs': PEERS[name][1]} for name in PEERS]
    found = [
        {'name': f'{row["name"]}-s{row["seed"]}', 'group': 'search', 'arch': row['arch']}
        for row in results(args.output, 'search')
    ]
    leading = [job for job in found if job['name'].rpartition('-s')[0] in LEADING]
    others = [job for job in found if job not in leading]
    return [
        *numbered(first, SEEDS[:1]), *numbered(peers, SEEDS[:1]), *numbered(leading, SEEDS),
        *numbered(others, SEEDS[:1]), *numbered(peers, SEEDS[1:]), *numbered(others, SEEDS[1:]),
    ]


def _untrained(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Those that are wanted and have no result yet."""
    done = {(row['name'], row['seed']) for row in results(args.output, 'trained')}
    return [
        job for job in _known(args)
        if (job['name'], job['seed']) not in done and (not args.names or job['name'] in args.names)
    ]


def claim(cache: Path, name: str) -> bool:
    """Whether this process is the first that wants to do it."""
    folder = cache / CLAIMS
    folder.mkdir(exist_ok=True)
    try:
        (folder / name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def how(args: argparse.Namespace) -> dict[str, Any]:
    return {'bf16': args.bf16, 'channels_last': args.channels_last, 'graph': not args.eager}


def recipe_of(args: argparse.Namespace) -> Recipe:
    return replace(RECIPE, epochs=args.epochs, batch=args.batch or RECIPE.batch)


def train(args: argparse.Namespace, data: dict[str, images.Images]) -> int:
    """Train until there is nothing left to train."""
    unknown = set(args.names) - {job['name'] for job in _known(args)}
    if unknown and not (args.cache / SEARCHING).exists():
        log(f'unknown: {", ".join(sorted(unknown))}; expected random-0 to random-{len(random_archs()) - 1}, '
            f'{", ".join(PEERS)}, or a search of {args.output} with its seed, such as refined-s0')
        return 2
    torch.backends.cudnn.benchmark = args.benchmark
    log('training: images loaded')
    train_all(
        jobs(args), data, args.output, lambda job: recipe_of(args), args.streams if args.device != 'cpu' else 1,
        args.until, args.steps, **how(args),
    )
    if left := _untrained(args):
        names = ', '.join(f'{job["name"]} seed {job["seed"]}' for job in left)
        log(f'not trained, for want of time or because another process has begun it (its mark is in '
            f'{args.cache / CLAIMS}): {names}')
    return 0


def run_one(
        args: argparse.Namespace, data: dict[str, images.Images], what: str, name: str, seed: int, scale: float
) -> bool:
    """A ranking or a search, unless its result is there already; whether it went well."""
    more: dict[str, Any] = {'bf16': args.supernet_bf16, **({'batch': args.batch} if args.batch else {})}
    known = {(row['kind'], row['name'], row['seed'], row.get('part')) for row in results(args.output)}
    try:
        if what == 'rank' and ('ranking', name, seed, f'{PARTS}/{PARTS}') not in known:
            rank(args.output, name, data, seed, scale, args.until, **more)
        elif what == 'search' and ('search', name, seed, None) not in known:
            search(args.output, name, data, seed, scale, args.until, **more)
    except Exception as e:  # the others may still work
        log(f'{what} {name} seed {seed} failed: {type(e).__name__}: {e}')
        return False
    return True


def work(args: argparse.Namespace, data: dict[str, images.Images]) -> int:
    """Searches and rankings of the plan that nobody has begun, while there is time for another one."""
    log('searches and rankings: images loaded')
    scale = args.scale or agreed_scale(args, data)
    for what, name, seed in PLAN[: args.plan]:
        if time.time() > args.until - LEAST:
            break
        if claim(args.cache, f'{what}_{name}_{seed}') and not run_one(args, data, what, name, seed, scale):
            return 1  # a process in which something went wrong on the GPU may be of no use any more
    return 0


def agreed_scale(args: argparse.Namespace, data: dict[str, images.Images]) -> float:
    """How long searches and rankings are, so that the plan fits the time: by the pace of all processes at once."""
    file = args.cache / 'scale'
    if not file.exists():
        own = seconds_a_pass(data, PROBE if args.device != 'cpu' else 2.0, args.batch or 128)
        (args.cache / f'pace_{os.getpid()}').write_text(str(own))
        latest = time.time() + 10
        while len(paces := list(args.cache.glob('pace_*'))) < args.procs and time.time() < latest:
            time.sleep(0.1)
        if claim(args.cache, 'scale'):
            pace = statistics.median(float(p.read_text() or own) for p in paces)
            plan = PLAN[: args.plan]
            passes = sum(passes_of(name, 1) if what == 'search' else PASSES + 600 for what, name, _ in plan)
            time_for = 0.85 * min(args.procs, len(plan)) * (args.until - time.time()) / pace
            scale = min(SCALES[1], max(SCALES[0], time_for / passes))
            log(f'{len(paces)} processes at once: {1000 * pace:.1f} ms a pass; the plan has {passes:.0f} passes, there '
                f'is time for {time_for:.0f}: scale {scale:.2f}')
            temporary = file.with_suffix('.new')
            temporary.write_text(str(scale))
            temporary.replace(file)
    latest = time.time() + 20
    while not file.exists() and time.time() < latest:
        time.sleep(0.1)
    return float(file.read_text()) if file.exists() else SCALES[0]


def run_all(args: argparse.Namespace, script: Path, argv: list[str]) -> int:
    """Everything within `--minutes`; a part that fails or takes too long does not stop the others."""
    end = STARTED + 60 * args.minutes
    for old in [*(args.cache / CLAIMS).glob('*'), *args.cache.glob('pace_*'), *args.cache.glob('scale*')]:
        old.unlink()
    with shared_gpu() if args.mps else contextlib.nullcontext({}) as variables:
        images.prepare(args.data, args.cache, os.cpu_count() or 1)
        (args.cache / SEARCHING).touch()
        searched = STARTED + args.share * 60 * args.minutes  # searches and rankings have stopped by then
        planned = PLAN[: args.plan]
        log(f'{args.trainers} trainers; {len(planned)} searches and rankings by {args.procs} processes until '
            f'{searched - STARTED:.0f} s, everything until {end - STARTED:.0f} s')

        def start(what: str, until: float) -> subprocess.Popen:
            return _start(script, [a for a in argv if a != 'all'], what, until, variables)

        trainers = [start('train', end - 10) for _ in range(args.trainers)]
        _wait_for_workers([start('work', searched) for _ in range(min(args.procs, len(planned)))], searched, start)
        left = [job for job in planned if claim(args.cache, '_'.join(map(str, job)))]
        log('searches and rankings are over', f'but for {len(left)} that there was no time for: {left}' if left else '')
        (args.cache / SEARCHING).unlink()
        for process in trainers:
            try:
                process.wait(max(1.0, end - time.time()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                log('a trainer was killed, it did not stop in time')
    for kind in ('trained', 'ranking', 'search'):
        log(f'{kind}: {len(results(args.output, kind))} results')
    return 0


def _wait_for_workers(
        workers: list[subprocess.Popen], searched: float, start: Callable[[str, float], subprocess.Popen]
) -> None:
    """Until all have ended; one that fails is started anew while there is time for it."""
    restarts = len(workers)
    while workers:
        time.sleep(0.2)
        for process in list(workers):
            if process.poll() is None and time.time() > searched + 20:
                log('a search or ranking was killed, it did not stop in time')
                process.kill()
                process.wait()
            if process.poll() is not None:
                workers.remove(process)
                if process.returncode and restarts and time.time() < searched - 2 * LEAST:
                    restarts -= 1
                    workers.append(start('work', searched))


@contextlib.contextmanager
def shared_gpu() -> Iterator[dict[str, str]]:
    """NVIDIA's MPS, which lets the kernels of several processes run at once: the variables of its clients.

    Empty, and said so, if it cannot be started or a first client does not work with it.
    """
    control = shutil.which('nvidia-cuda-mps-control') or '/usr/local/nvidia/bin/nvidia-cuda-mps-control'
    with tempfile.TemporaryDirectory(prefix='mps', ignore_cleanup_errors=True) as folder:
        variables = {'CUDA_MPS_PIPE_DIRECTORY': folder, 'CUDA_MPS_LOG_DIRECTORY': folder}
        env = {**os.environ, **variables}
        try:
            quiet = subprocess.DEVNULL  # a pipe would stay open as long as what is started
            subprocess.run([control, '-d'], env=env, check=True, timeout=15, stdout=quiet, stderr=quiet)
        except (OSError, subprocess.SubprocessError) as e:
            log(f'no MPS, the processes take turns on the GPU: {e}')
            yield {}
            return
        try:
            client = [sys.executable, '-c', CLIENT]
            subprocess.run(client, env=env, check=True, timeout=40, capture_output=True, text=True)
            log('MPS: works')
            works = True
        except subprocess.SubprocessError as e:
            log(f'no MPS, the processes take turns on the GPU: {e} {getattr(e, "stderr", "")}')
            works = False
            _quit(control, env)
        try:
            yield variables if works else {}
        finally:
            if works:
                _quit(control, env)


def _quit(control: str, env: dict[str, str]) -> None:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        quiet = subprocess.DEVNULL
        subprocess.run([control], input='quit\n', env=env, timeout=15, stdout=quiet, stderr=quiet, text=True)


def _start(
        script: Path, shared: list[str], what: str, until: float, variables: dict[str, str]
) -> subprocess.Popen:
    """A part as a process of its own: options of the driver, one CPU thread."""
    root = str(script.parents[2])
    paths = os.pathsep.join([root, *filter(None, [os.environ.get('PYTHONPATH')])])
    env = {**os.environ, 'OMP_NUM_THREADS': '1', 'CIFAR_STARTED': str(STARTED), 'PYTHONPATH': paths,
           'PYTHONUNBUFFERED': '1', **variables}
    return subprocess.Popen([sys.executable, str(script), what, *shared, '--until', f'{until:.1f}'], env=env)
