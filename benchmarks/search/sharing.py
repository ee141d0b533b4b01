"""What the architectures of a step share in a search of the digits, and what that saves. Called by `cost.py replay`.

A short search (that of `fpnas demo`, with alpha learned faster, so that its entropy falls from 29 to a few nats)
records the architectures of every step. Counted over all of them: different networks, group evaluations, multiply-adds.
Timed, on a few steps of each epoch: training and scoring these architectures together, beside one after the other; they
take turns, in seconds of one thread's CPU time. Peak memory is what a process of its own grows by (Linux).
"""
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from fpnas_timm.arch import Arch
from fpnas_timm.arch.cost import group_costs
from fpnas_timm.cli.demo import SEARCH, digits_folder, digits_space
from fpnas_timm.cli.runs import search_main
from fpnas_timm.model import shared_pass
from fpnas_timm.model.supernet import SuperNet
from fpnas_timm.search.loop import Search

BATCH, CLASSES = 32, 10
FASTER = ['--alpha-lr', '0.2', '--temperature', '8', '--epochs', '16', '--warmup-epochs', '2', '--joint-epoch', '9']


def recorded(options: Sequence[str]) -> list[dict[str, Any]]:
    """The steps of a search: `epoch`, `entropy` (nats) and `archs`."""
    steps: list[dict[str, Any]] = []
    taken = Search._take_step

    def take(search: Search) -> dict[str, float]:
        draw = search.distribution.sample

        def sample(*args: Any) -> Any:
            steps.append({'epoch': search.epoch, 'archs': draw(*args)})
            return steps[-1]['archs']

        search.distribution.sample = sample
        figures = taken(search)
        del search.distribution.sample
        steps[-1]['entropy'] = figures['entropy']
        return figures

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        digits_folder(root / 'data')
        (root / 'space.json').write_text(json.dumps(digits_space().to_dict()))
        Search._take_step = take
        try:
            status = search_main([
                *SEARCH, '--space', str(root / 'space.json'), '--data-dir', str(root / 'data'), '--target-macs', '1M',
                *FASTER, *options, '--output', str(root / 'out'),
            ])
        finally:
            Search._take_step = taken
    if status:
        sys.exit(status)
    return steps


def counts(archs: Sequence[Arch]) -> dict[str, int]:
    """Networks, group evaluations and multiply-adds, one after the other and shared."""
    plain, shared = 0, {}
    for arch in archs:
        costs = [c.macs for c in group_costs(arch, num_classes=CLASSES).values()]
        plain += sum(costs)
        for n in range(len(arch.blocks) + 1):
            shared[arch.blocks[:n]] = costs[n]
        shared[arch.blocks, 'end'] = sum(costs[-2:])
    groups = len(archs[0].blocks)
    beginnings = len({arch.blocks[:n] for arch in archs for n in range(1, groups + 1)})
    return {
        'networks': len(archs), 'different': len(set(archs)), 'groups': groups * len(archs),
        'groups_shared': beginnings, 'macs': plain, 'macs_shared': sum(shared.values()),
    }


class Passes:
    """A supernet of the digits and a batch; the two ways to run a step."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.net = SuperNet(digits_space(), CLASSES)
        self.images, self.target = torch.randn(BATCH, 3, 16, 16), torch.randint(CLASSES, (BATCH,))

    def loss(self, logits: torch.Tensor, k: int) -> torch.Tensor:
        return F.cross_entropy(logits, self.target)

    def plain(self, archs: Sequence[Arch], training: bool) -> None:
        for k, arch in enumerate(archs):
            with contextlib.nullcontext() if training else torch.no_grad():
                loss = self.loss(self.net(self.images, arch), k)
            if training:
                loss.backward()

    def shared(self, archs: Sequence[Arch], training: bool) -> None:
        if training:
            shared_pass.train(self.net, self.images, archs, self.loss)
        else:
            for _, logits in shared_pass.score(self.net, self.images, archs):
                self.loss(logits, 0)

    def seconds(self, archs: Sequence[Arch], training: bool, rounds: int) -> tuple[float, float]:
        """CPU time of the plain loop and of the shared pass, medians."""
        found = [], []
        for _ in range(rounds):
            for times, run in zip(found, (self.plain, self.shared)):
                start = time.process_time()
                run(archs, training)
                times.append(time.process_time() - start)
        return statistics.median(found[0]), statistics.median(found[1])


def memory(kind: str, strings: Sequence[str]) -> None:
    """Print by how many bytes training these architectures makes this process grow."""
    torch.set_num_threads(1)
    passes = Passes()
    archs = [Arch.parse(string) for string in strings]
    for p in passes.net.parameters():
        p.grad = torch.zeros_like(p)
    Path('/proc/self/clear_refs').write_text('5')  # the peak counts from here
    before = int(Path('/proc/self/statm').read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE')
    for _ in range(3):
        getattr(passes, kind)(archs, True)
    peak = next(line for line in Path('/proc/self/status').read_text().splitlines() if line.startswith('VmHWM'))
    print(int(peak.split()[1]) * 1024 - before)


def memories(archs: Sequence[Arch]) -> dict[str, int]:
    """Peak memory of both ways, each in a process of its own."""
    return {
        kind: int(subprocess.run(
            [sys.executable, __file__, kind, *map(str, archs)], capture_output=True, text=True, check=True,
        ).stdout) for kind in ('plain', 'shared')
    }


def replay(options: Sequence[str], results: str | None, timed: int, rounds: int) -> None:
    """Search, count, time, print a table and write a JSON file."""
    started = time.monotonic()
    steps = recorded(options)
    space, passes, rng = digits_space(), Passes(), random.Random(0)
    epochs: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for step in steps:
        step['archs'] = [space.to_arch(a) for a in step['archs']]
        epochs[step['epoch']].append(step)
    passes.plain(steps[0]['archs'], True)
    rows = []
    for epoch, own in epochs.items():
        row: dict[str, Any] = {
            'epoch': epoch + 1, 'entropy': statistics.mean(s['entropy'] for s in own), 'steps': len(own),
        }
        every = [counts(s['archs']) for s in own]
        row |= {name: sum(c[name] for c in every) for name in every[0]}
        chosen = rng.sample(own, timed)
        for what, training in (('train', True), ('score', False)):
            pairs = [passes.seconds(s['archs'], training, rounds) for s in chosen]
            row[what], row[f'{what}_shared'] = (sum(times) for times in zip(*pairs))
        rows.append(row)
    ends = {f'entropy {s["entropy"]:.1f}': s['archs'] for s in (steps[0], steps[-1])}
    peaks = {name: memories(archs) for name, archs in ends.items()}
    settings = {'options': [*FASTER, *options], 'steps_timed': timed, 'rounds': rounds, 'batch': BATCH}
    found = {'torch': torch.__version__, **settings, 'epochs': rows, 'peak_bytes': peaks}
    if results:
        Path(results).write_text(json.dumps(found, indent=1) + '\n')
    show(found)
    print(f'\n{time.monotonic() - started:.0f} s')


def show(found: dict[str, Any]) -> None:
    """The table of a result."""
    rows = found['epochs']
    print(f'torch {found["torch"]}; search {" ".join(found["options"])}; savings in %\n')
    print('| epochs | entropy, nats | K | different | group evaluations | multiply-adds | time to train | to score |')
    print('|---|---|---|---|---|---|---|---|')
    for part in (*(rows[i : i + 4] for i in range(0, len(rows), 4)), rows):
        total = {name: sum(row[name] for row in part) for name in part[0]}

        saved = [
            f'{100 * (1 - total[f"{kind}_shared"] / total[kind]):.1f}' for kind in ('groups', 'macs', 'train', 'score')
        ]
        name = 'all' if part is rows else f'{part[0]["epoch"]} to {part[-1]["epoch"]}'
        print(
            f'| {name} | {part[0]["entropy"]:.1f} to {part[-1]["entropy"]:.1f} '
            f'| {total["networks"] / total["steps"]:.1f} | {total["different"] / total["steps"]:.1f} '
            f'| {" | ".join(saved)} |'
        )
    for name, peak in found['peak_bytes'].items():
        print(f'\npeak memory of training, {name} nats: {peak["shared"] / peak["plain"]:.3f} of the plain loop')


if __name__ == '__main__':
    memory(sys.argv[1], sys.argv[2:])
