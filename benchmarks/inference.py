"""Images/s of each model beside the timm peer of about the same multiply-adds, each at its own input size.

One thread, everything in one process; ours and the peer take turns, the table shows medians. `ratio` is ours over the
peer's, in multiply-adds per second: above 1, ours does more of its work in the same time.

    python benchmarks/inference.py                      # the table of docs/performance.md
    python benchmarks/inference.py --profile fpnas_l0   # where the time goes at batch 1
"""

import argparse
import logging
import statistics
import time
from collections.abc import Callable

import timm
import torch
from timm.utils import reparameterize_model
from torch import nn

import fpnas_timm  # noqa: F401  (registers the models)
from fpnas_timm.zoo.report import count

PEERS = {
    'fpnas_s1pp': 'mobilenetv3_small_100',
    'fpnas_s4pp': 'mobilenetv3_large_100',
    'fpnas_l0': 'efficientnet_b0',
    'fpnas_l1': 'efficientnet_b1',
    'fpnas_l2': 'efficientnet_b2',
}
FORMATS = {'contiguous': torch.contiguous_format, 'channels_last': torch.channels_last}


def interleaved(functions: list[Callable[[], object]], rounds: int) -> list[float]:
    """Median seconds of each function; they take turns, so that the machine's moods hit all of them."""
    for f in functions:
        f()
        f()
    seconds: list[list[float]] = [[] for _ in functions]
    for _ in range(rounds):
        for times, f in zip(seconds, functions):
            start = time.perf_counter()
            f()
            times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in seconds]


def prepared(name: str, batch: int, memory_format: torch.memory_format, fused: bool = False) -> Callable[[], object]:
    model: nn.Module = timm.create_model(name).eval()
    size = model.default_cfg['input_size'][-1]
    if fused:
        model = reparameterize_model(model)
    model = model.to(memory_format=memory_format)
    images = torch.randn(batch, 3, size, size).contiguous(memory_format=memory_format)
    return lambda: model(images)


def macs(name: str) -> int:
    model = timm.create_model(name)
    return count(model, model.default_cfg['input_size'][-1]).macs


def table(names: list[str], rounds: int) -> None:
    print(f'torch {torch.__version__}, timm {timm.__version__}, 1 thread; ratio per multiply-add')
    print('| model | peer | batch | memory format | images/s | peer images/s | ratio | ratio, ours fused |')
    print('|---|---|---|---|---|---|---|---|')
    for name in names:
        peer = PEERS[name]
        work, peer_work = macs(name), macs(peer)
        for batch in (1, 16):
            for label, memory_format in FORMATS.items():
                ours, fused, theirs = interleaved(
                    [
                        prepared(name, batch, memory_format),
                        prepared(name, batch, memory_format, fused=True),
                        prepared(peer, batch, memory_format),
                    ],
                    rounds if batch == 1 else max(rounds // 5, 5),
                )
                ratio, ratio_fused = (work / t / (peer_work / theirs) for t in (ours, fused))
                print(
                    f'| {name} | {peer} | {batch} | {label} | {batch / ours:.1f} | {batch / theirs:.1f} '
                    f'| {ratio:.2f} | {ratio_fused:.2f} |',
                    flush=True,
                )


def profile(name: str) -> None:
    """Milliseconds of self time by operator at batch 1, channels_last, and the share that is Python and dispatch."""
    from torch.profiler import profile as torch_profile

    for model_name in (name, PEERS[name]):
        run = prepared(model_name, 1, torch.channels_last)
        [seconds] = interleaved([run], 40)
        repeats = 10
        with torch_profile() as p:
            for _ in range(repeats):
                run()
        rows = sorted(p.key_averages(), key=lambda e: -e.self_cpu_time_total)
        print(f'\n{model_name}: {seconds * 1e3:.1f} ms an image')
        for row in rows[:10]:
            print(f'  {row.key:<30}{row.self_cpu_time_total / 1e3 / repeats:>8.2f} ms {row.count // repeats:>6} calls')


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('models', nargs='*', default=list(PEERS), metavar='MODEL', help=', '.join(PEERS))
    parser.add_argument('--rounds', type=int, default=50, help='at batch 1; a fifth of it at batch 16')
    parser.add_argument('--profile', metavar='MODEL', choices=list(PEERS))
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    logging.disable(logging.WARNING)
    if args.profile:
        profile(args.profile)
    else:
        table(args.models, args.rounds)


if __name__ == '__main__':
    main()
