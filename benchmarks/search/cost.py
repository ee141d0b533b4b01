"""What the supernet and the loop cost beyond the passes of the networks themselves. One thread, ratios in one run.

    python benchmarks/search/cost.py
    python benchmarks/search/cost.py replay         # what sharing saves in a search (`sharing.py`); takes its options
    python benchmarks/search/cost.py --device cuda  # kernels and times of a step on a GPU (`kernels.py`)

`sub / alone`: a sampled architecture in the supernet beside the stand-alone network cut out of it. `masked / alone`: a
full-width supernet with masks, as FBNetV2's, beside the same. Both means over random architectures of S1++'s space.
Peak memory is what a process of its own grows by over three steps (Linux). The loop: time of a search's steps beyond
the evaluator's two calls.
"""

import argparse
import math
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

from fpnas_timm.model.supernet import SuperNet
from fpnas_timm.search.distribution import Factorized, Joint
from fpnas_timm.search.expected import ExpectedCost
from fpnas_timm.search.loop import Search, SearchConfig
from fpnas_timm.search.mode import ModeWithin
from fpnas_timm.spaces import MBConvSpace, get_space
from fpnas_timm.spaces.costs import network_costs

SIZE, BATCH = 128, 32


def interleaved(functions: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each function; they take turns."""
    for f in functions.values():
        f()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, f in functions.items():
            start = time.perf_counter()
            f()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def full_width(space: MBConvSpace, arch):
    """`arch` at the greatest expansion and channels, as a masked supernet computes it before it masks."""
    choices = [list(c) for c in space.from_arch(arch)]
    for chosen, row in zip(choices, space.rows):
        chosen[3], chosen[4] = len(row.expansion) - 1, len(row.channels) - 1
    return space.to_arch(tuple(map(tuple, choices)))


def problem(seed: int = 0):
    torch.manual_seed(seed)
    space = get_space('fpnas_s1pp').with_img_size(SIZE)
    return space, SuperNet(space, 1000), torch.randn(BATCH, 3, SIZE, SIZE), torch.randint(0, 1000, (BATCH,))


def times(count: int, rounds: int) -> None:
    space, net, images, target = problem()
    rng = random.Random(0)
    rows = []
    for _ in range(count):
        arch = space.sample_arch(rng)
        alone, wide = (net.extract(a).train() for a in (arch, full_width(space, arch)))

        def both(model, *args):
            return lambda: F.cross_entropy(model(images, *args), target).backward()

        def forward(model, *args):
            def run() -> None:
                with torch.no_grad():
                    model(images, *args)

            return run

        found = interleaved({
            f'{kind} {what}': make(*args)
            for what, make in (('forward', forward), ('forward and backward', both))
            for kind, args in (('alone', (alone,)), ('sub', (net, arch)), ('masked', (wide,)))
        }, rounds)
        rows.append(found)
    print(f'torch {torch.__version__}; {count} architectures, batch {BATCH}, {SIZE} pixels, {rounds} rounds\n')
    print('| pass | sub / alone, mean | least | most | masked / alone, mean |')
    print('|---|---|---|---|---|')
    for what in ('forward', 'forward and backward'):
        ratio = [r[f'sub {what}'] / r[f'alone {what}'] for r in rows]
        masked = [r[f'masked {what}'] / r[f'alone {what}'] for r in rows]
        print(
            f'| {what} | {statistics.mean(ratio):.3f} | {min(ratio):.3f} | {max(ratio):.3f} '
            f'| {statistics.mean(masked):.2f} |', flush=True,
        )


def memory(kind: str, seed: int) -> None:
    """Print by how many bytes three steps make this process grow."""
    torch.set_num_threads(1)
    space, net, images, target = problem()
    arch = space.sample_arch(random.Random(seed))
    alone = net.extract(arch).train()
    model = (lambda: net(images, arch)) if kind == 'sub' else (lambda: alone(images))
    for p in (net if kind == 'sub' else alone).parameters():
        p.grad = torch.zeros_like(p)  # belongs to the weights, not to the sampled network
    Path('/proc/self/clear_refs').write_text('5')  # the peak counts from here
    before = int(Path('/proc/self/statm').read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE')
    for _ in range(3):
        F.cross_entropy(model(), target).backward()
    peak = next(line for line in Path('/proc/self/status').read_text().splitlines() if line.startswith('VmHWM'))
    print(int(peak.split()[1]) * 1024 - before)


def memories(count: int) -> None:
    ratios = []
    for seed in range(count):
        sub, alone = (
            int(subprocess.run([sys.executable, __file__, 'memory', kind, str(seed)], capture_output=True, text=True,
                               check=True).stdout)
            for kind in ('sub', 'alone')
        )
        ratios.append(sub / alone)
    print(f'\npeak memory, sub / alone: mean {statistics.mean(ratios):.3f}, most {max(ratios):.3f} ({count} of them)')


class Timed:
    """An evaluator whose calls take a real network's passes, and that knows how long they took."""

    steps_per_epoch = 10

    def __init__(self, space, net, images, target) -> None:
        self.space, self.net, self.images, self.target = space, net, images, target
        self.seconds = 0.0

    def start_epoch(self, epoch: int, step: int) -> None:
        """Nothing to get ready."""

    def train_step(self, archs) -> float:
        start = time.perf_counter()
        for arch in archs:
            F.cross_entropy(self.net(self.images, self.space.to_arch(arch)), self.target).backward()
        self.seconds += time.perf_counter() - start
        return 1.0

    @torch.no_grad()
    def log_likelihoods(self, archs) -> torch.Tensor:
        start = time.perf_counter()
        out = [-F.cross_entropy(self.net(self.images, self.space.to_arch(a)), self.target) for a in archs]
        self.seconds += time.perf_counter() - start
        return torch.stack(out).double()

    def cost(self, arch) -> float:
        from fpnas_timm.arch.cost import cost

        return cost(self.space.to_arch(arch)).macs

    def state_dict(self) -> dict:
        return {}


def loop(joint_epoch: int | None) -> None:
    space, net, images, target = problem()
    evaluator = Timed(space, net, images, target)
    config = SearchConfig(epochs=1, joint_epoch=joint_epoch, lam=0.25, target=66e6, beta=0.3)
    start = time.perf_counter()
    search = Search(space, evaluator, config)
    search.run()
    seconds = time.perf_counter() - start
    assert math.isfinite(search.history[-1]['entropy'])
    print(
        f"the loop's own time, {search.distribution.kind}: {100 * (seconds / evaluator.seconds - 1):.2f} % beyond the "
        f'passes of K = {search.history[-1]["k"]:.0f} architectures', flush=True,
    )


def budget(name: str, calls: int = 10) -> None:
    """What a budget adds to a step in a space of the paper: processor time, in milliseconds."""
    space = get_space(name)
    macs = network_costs(space)[0]
    middle = sorted(macs(space.sample(random.Random(seed))) for seed in range(99))[49]
    expected, generator = ExpectedCost(macs), torch.Generator().manual_seed(0)
    find = ModeWithin([macs], [(0.98 * middle, middle)])
    for kind in (Factorized, Joint):
        distribution = kind(space)
        seconds = [0.0, 0.0]
        for _ in range(calls):
            with torch.no_grad():
                distribution.alpha.normal_(generator=generator)
            start = time.process_time()
            torch.autograd.grad(expected.mean(distribution), distribution.alpha)
            between = time.process_time()
            find(distribution)
            seconds[0] += between - start
            seconds[1] += time.process_time() - between
        print(
            f'{name}, {distribution.kind}: the expected cost and its gradient take {1000 * seconds[0] / calls:.1f} ms, '
            f'to find the mode within the budget {1000 * seconds[1] / calls:.0f} ms', flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('command', nargs='*', help='replay: what sharing saves; other words are internal')
    parser.add_argument('--archs', type=int, default=10)
    parser.add_argument('--rounds', type=int, default=9)
    parser.add_argument('--timed', type=int, default=4, help='replay: steps of each epoch that are timed')
    parser.add_argument('--results', help='replay, --device: JSON file to write')
    parser.add_argument('--device', help='count and time kernels there: cpu, cuda')
    parser.add_argument('--compile', action='store_true', help='--device: torch.compile too')
    args, options = parser.parse_known_args()
    torch.set_num_threads(1)
    if args.device:
        if args.device.startswith('cuda') and not torch.cuda.is_available():
            parser.error(f'--device {args.device}: torch has no such device on this machine')
        from kernels import measure

        measure(torch.device(args.device), args.results, args.compile)
    elif args.command[:1] == ['replay']:
        from sharing import replay

        replay(options, args.results, args.timed, args.rounds)
    elif options:
        parser.error(f'unknown: {" ".join(options)}')
    elif args.command:
        memory(args.command[1], int(args.command[2]))
    else:
        times(args.archs, args.rounds)
        memories(args.archs // 2)
        print()
        loop(None)
        loop(0)
        print()
        for name in ('fpnas_s1pp', 'fpnas_l2'):
            budget(name)


if __name__ == '__main__':
    main()
