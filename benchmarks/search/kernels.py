"""The operations and GPU kernels of an architecture's pass, and what a step takes. Called by `cost.py --device`.

On a GPU the kernels of small networks are shorter than the time to start them: then a share of a batch takes as long as
the batch, and several processes should divide the architectures instead (`--split archs`). On a CPU times are CPU times
of one thread. With `--compile` also what torch.compile takes for the digits' small networks.
"""
import contextlib
import copy
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch.profiler import ProfilerActivity, profile

from fpnas_timm.arch import Arch
from fpnas_timm.cli.demo import digits_space
from fpnas_timm.model import blocks, shared_pass, supernet
from fpnas_timm.model.supernet import SuperNet
from fpnas_timm.spaces import MBConvSpace, get_space

CLASSES, PROCESSES = 100, 8
LAST_START = 40.0  # seconds after which no other part is begun on a GPU, which is lent


class Passes:
    """The supernet of a space, a batch, and random architectures."""

    def __init__(self, space: MBConvSpace, device: torch.device, count: int, batch: int) -> None:
        torch.manual_seed(0)
        self.device, self.batch = device, batch
        self.clock = time.perf_counter if device.type == 'cuda' else time.process_time
        size = space.img_size
        self.net = SuperNet(space, CLASSES).to(device)
        rng = random.Random(0)
        self.archs = [space.sample_arch(rng) for _ in range(count)]
        self.images = torch.randn(batch, 3, size, size, device=device)
        self.target = torch.randint(CLASSES, (batch,), device=device)
        self.autocast: Callable[[], Any] = contextlib.nullcontext

    def sync(self) -> None:
        if self.device.type == 'cuda':
            torch.cuda.synchronize()

    def train(self, archs: Sequence[Arch], batch: int | None = None) -> None:
        """One architecture after the other, on the first images."""
        for arch in archs:
            with self.autocast():
                loss = F.cross_entropy(self.net(self.images[:batch], arch), self.target[:batch])
            loss.backward()

    def train_together(self, archs: Sequence[Arch]) -> None:
        shared_pass.train(
            self.net, self.images, archs, lambda x, _: F.cross_entropy(x, self.target), autocast=self.autocast
        )

    @torch.no_grad()
    def score(self, archs: Sequence[Arch]) -> None:
        for arch in archs:
            with self.autocast():
                self.net(self.images, arch)

    def seconds(self, functions: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
        """Median time of each function; they take turns."""
        times: dict[str, list[float]] = {name: [] for name in functions}
        for i in range(rounds + 1):  # the first is not counted
            for name, run in functions.items():
                self.sync()
                start = self.clock()
                run()
                self.sync()
                times[name] += [self.clock() - start] * (i > 0)
        return {name: statistics.median(found) for name, found in times.items()}


def counted(passes: Passes, run: Callable[[], object]) -> dict[str, float]:
    """Operations that are called from Python or autograd, kernels, and the seconds that the kernels take."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if passes.device.type == 'cuda' else [])]
    run()
    passes.sync()
    with profile(activities=activities) as found:
        run()
        passes.sync()
    events = found.events() or []
    operations = [e for e in events if e.name.startswith('aten::')]
    outer = [e for e in operations if e.cpu_parent is None or not e.cpu_parent.name.startswith('aten::')]
    kernels = [
        e for e in events
        if e.device_type == torch.autograd.DeviceType.CUDA and not e.name.startswith(('Memcpy', 'Memset'))
    ]
    busy = sum(e.time_range.elapsed_us() for e in kernels) / 1e6
    return {'operations': len(outer), 'kernels': len(kernels), 'kernel_seconds': busy}


def kernels_of_a_pass(passes: Passes) -> dict[str, Any]:
    """Per architecture: means of the first four."""
    found: dict[str, Any] = {}
    for name, run in (('forward', passes.score), ('forward and backward', passes.train)):
        every = [counted(passes, lambda run=run, arch=arch: run([arch])) for arch in passes.archs[:4]]
        mean = {key: statistics.mean(c[key] for c in every) for key in every[0]}
        mean['seconds'] = passes.seconds({'x': lambda run=run: run(passes.archs[:4])}, 3)['x'] / 4
        found[name] = mean
        print(
            f'{name}, an architecture: {mean["operations"]:.0f} operations, {mean["kernels"]:.0f} kernels; '
            f'{1e3 * mean["seconds"]:.1f} ms, of which kernels {1e3 * mean["kernel_seconds"]:.1f} ms', flush=True,
        )
    return found


def whole_step(passes: Passes) -> dict[str, Any]:
    """Training K architectures: one after the other, together, and with the last groups alone different."""
    first = passes.archs[0]
    late = [
        Arch(first.stem, (*first.groups[:-3], *arch.groups[-3:]), first.head, first.img_size) for arch in passes.archs
    ]
    found = passes.seconds({
        'random, one by one': lambda: passes.train(passes.archs),
        'random, together': lambda: passes.train_together(passes.archs),
        'last three groups differ, one by one': lambda: passes.train(late),
        'last three groups differ, together': lambda: passes.train_together(late),
    }, 3)
    for name, seconds in found.items():
        print(f'training K = {len(late)}, {name}: {1e3 * seconds:.0f} ms', flush=True)
    return found


def split(passes: Passes) -> dict[str, Any]:
    """The work of one of eight processes: all architectures on an eighth of the batch, or an eighth of them on it."""
    few = max(1, len(passes.archs) // PROCESSES)
    found = passes.seconds({
        'one process': lambda: passes.train(passes.archs),
        'data': lambda: passes.train(passes.archs, passes.batch // PROCESSES),
        'archs': lambda: passes.train(passes.archs[:few]),
    }, 3)
    for name, seconds in found.items():
        ratio = found['one process'] / seconds
        print(f'{PROCESSES} processes, --split {name}: {1e3 * seconds:.0f} ms, {ratio:.1f} times as fast', flush=True)
    return found


def variants(passes: Passes) -> dict[str, Any]:
    """Training with other memory formats and precisions."""
    own = passes.archs[:4]
    plain_net, plain_images = passes.net, passes.images
    found: dict[str, list[float]] = {}
    on_cpu = passes.device.type == 'cpu'
    formats = {'channels_last': torch.channels_last, 'contiguous': torch.contiguous_format}
    for _ in range(3):
        for layout, memory_format in formats.items():
            for precision in ('float32', 'bfloat16'):
                passes.images = plain_images.contiguous(memory_format=memory_format)
                passes.net = copy.deepcopy(plain_net).to(memory_format=memory_format)
                if precision == 'bfloat16':
                    passes.autocast = lambda: torch.autocast(passes.device.type, torch.bfloat16)
                if on_cpu and layout == 'contiguous':  # the supernet converts by itself
                    supernet.to_fast_memory_format = lambda x: x
                try:
                    seconds = passes.seconds({'x': lambda: passes.train(own)}, 1)['x'] / len(own)
                finally:
                    supernet.to_fast_memory_format = blocks.to_fast_memory_format
                    passes.autocast, passes.net, passes.images = contextlib.nullcontext, plain_net, plain_images
                found.setdefault(f'{precision}, {layout}', []).append(seconds)
    for name, seconds in found.items():
        print(f'{name}: {1e3 * statistics.median(seconds):.1f} ms an architecture', flush=True)
    return {name: statistics.median(seconds) for name, seconds in found.items()}


def compiled(passes: Passes) -> dict[str, Any]:
    """torch.compile of two of the digits' networks: CPU seconds of the first pass with all compilers, and later."""
    passes = Passes(digits_space(), passes.device, 2, 32)
    import torch._inductor.config as inductor

    inductor.compile_threads, inductor.force_disable_caches = 1, True
    first, later, eager = [], [], []
    plain, fast = passes.net, torch.compile(passes.net)
    for arch in passes.archs:
        passes.net = plain
        eager.append(passes.seconds({'x': lambda arch=arch: passes.score([arch])}, 5)['x'])
        passes.net = fast
        start = sum(os.times()[:4])
        passes.score([arch])
        first.append(sum(os.times()[:4]) - start)
        later.append(passes.seconds({'x': lambda arch=arch: passes.score([arch])}, 5)['x'])
        print(
            f'torch.compile, forward: first pass {first[-1]:.1f} s, then {1e3 * later[-1]:.1f} ms; eager '
            f'{1e3 * eager[-1]:.1f} ms', flush=True,
        )
    return {'first': first, 'later': later, 'eager': eager}


def measure(device: torch.device, results: str | None, with_compile: bool = False) -> None:
    """All parts, each on its own: what fails is said, and the others go on."""
    started = time.monotonic()
    on_gpu = device.type == 'cuda'
    if on_gpu:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    count, batch, size = (16, 64, 128) if on_gpu else (8, 16, 64)
    passes = Passes(get_space('fpnas_s1pp').with_img_size(size), device, count, batch)
    name = torch.cuda.get_device_name(device) if on_gpu else 'CPU, 1 thread'
    shape = f'{len(passes.archs)} architectures, batch {passes.batch}, {passes.images.shape[-1]} pixels'
    print(f'torch {torch.__version__}, {name}; {shape}\n', flush=True)
    found: dict[str, Any] = {'torch': torch.__version__, 'device': name, 'shape': shape}
    for part in (kernels_of_a_pass, whole_step, split, variants, *([compiled] if with_compile else [])):
        if time.monotonic() - started > LAST_START and on_gpu:
            print(f'{part.__name__}: left out, {LAST_START:.0f} s are over', flush=True)
            continue
        try:
            found[part.__name__] = part(passes)
        except Exception as e:  # a part that this device cannot run must not cost the others
            found[part.__name__] = {'error': str(e)}
            print(f'{part.__name__}: {type(e).__name__}: {e}', file=sys.stderr, flush=True)
        passes.net.zero_grad()
        if results:
            Path(results).write_text(json.dumps(found, indent=1) + '\n')
    print(f'\n{time.monotonic() - started:.0f} s')
