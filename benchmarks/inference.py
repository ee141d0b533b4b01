"""Images/s of each model beside the timm peer of about the same multiply-adds, each at its own input size.

One thread, everything in one process; ours and the peer take turns, the table shows medians. `ratio` is ours over the
peer's, in multiply-adds per second: above 1, ours does more of its work in the same time. On a GPU a figure is the time
between two synchronisations, divided by the number of calls between them.

    python benchmarks/inference.py                      # the table of docs/performance.md
    python benchmarks/inference.py --device cuda --dtype float16 --batches 1 256
    python benchmarks/inference.py --profile fpnas_l0   # where the time goes at batch 1
"""

import argparse
import functools
import logging
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

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
CALLS = 10  # in a turn on a GPU
FORMATS = {'contiguous': torch.contiguous_format, 'channels_last': torch.channels_last}


def interleaved(
        functions: Sequence[Callable[[], object]], rounds: int, device: str = 'cpu', calls: int = CALLS
) -> list[float]:
    """Median seconds of each function; they take turns, so that the machine's moods hit all of them.

    On a GPU each turn is several `calls`, whose work may overlap with the preparation of the next one, as in use.
    """
    on_gpu = torch.device(device).type == 'cuda'
    calls = calls if on_gpu else 1
    for f in functions:
        for _ in range(3 if on_gpu else 2):
            f()
    seconds: list[list[float]] = [[] for _ in functions]
    for _ in range(rounds):
        for times, f in zip(seconds, functions):
            if on_gpu:
                torch.cuda.synchronize()
            start = time.perf_counter()
            for _ in range(calls):
                f()
            if on_gpu:
                torch.cuda.synchronize()
            times.append((time.perf_counter() - start) / calls)
    return [statistics.median(times) for times in seconds]


def prepared(
        name: str, batch: int, memory_format: torch.memory_format, fused: bool = False, device: str = 'cpu',
        dtype: str = 'float32',
) -> Callable[[], object]:
    model: nn.Module = timm.create_model(name).eval()
    size = model.default_cfg['input_size'][-1]
    if fused:
        model = reparameterize_model(model)
    to: dict[str, Any] = dict(device=device, dtype=getattr(torch, dtype), memory_format=memory_format)
    model = model.to(**to)
    images = torch.randn(batch, 3, size, size).to(**to)

    def run() -> torch.Tensor:
        with torch.inference_mode():
            return model(images)

    return run


def describe(device: str) -> str:
    """Card and versions, for the line above a table."""
    versions = f'torch {torch.__version__}, timm {timm.__version__}'
    if torch.device(device).type == 'cuda':
        return f'{torch.cuda.get_device_name(device)}, {versions}, cuDNN {torch.backends.cudnn.version()}, TF32'
    return f'{versions}, 1 thread'


def as_the_commands(device: str) -> None:
    """The settings of `fpnas train` and `validate` on a GPU."""
    if torch.device(device).type == 'cuda':
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True


@functools.cache
def macs(name: str) -> int:
    model = timm.create_model(name)
    return count(model, model.default_cfg['input_size'][-1]).macs


def measure(
        names: Sequence[str], batches: Sequence[int], formats: Sequence[str], rounds: int, device: str = 'cpu',
        dtype: str = 'float32',
) -> Iterator[dict[str, Any]]:
    """The rows of the table; `images/s` and the ratios as the columns."""
    for name in names:
        peer = PEERS[name]
        work, peer_work = macs(name), macs(peer)
        for batch in batches:
            for label in formats:
                ours, fused, theirs = interleaved(
                    [
                        prepared(name, batch, FORMATS[label], device=device, dtype=dtype),
                        prepared(name, batch, FORMATS[label], fused=True, device=device, dtype=dtype),
                        prepared(peer, batch, FORMATS[label], device=device, dtype=dtype),
                    ],
                    rounds if batch == 1 else max(rounds // 5, 5),
                    device,
                )
                yield {
                    'model': name, 'peer': peer, 'batch': batch, 'dtype': dtype, 'memory format': label,
                    'images/s': batch / ours, 'peer images/s': batch / theirs,
                    'ratio': work / ours / (peer_work / theirs), 'ratio, fused': work / fused / (peer_work / theirs),
                }


def table(args: argparse.Namespace) -> None:
    print(f'{describe(args.device)}; {args.dtype}; ratio per multiply-add')
    print('| model | peer | batch | memory format | images/s | peer images/s | ratio | ratio, ours fused |')
    print('|---|---|---|---|---|---|---|---|')
    for row in measure(args.models, args.batches, list(FORMATS), args.rounds, args.device, args.dtype):
        print(
            f"| {row['model']} | {row['peer']} | {row['batch']} | {row['memory format']} | {row['images/s']:.1f} "
            f"| {row['peer images/s']:.1f} | {row['ratio']:.2f} | {row['ratio, fused']:.2f} |",
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
    parser.add_argument('--rounds', type=int, default=50, help='at batch 1; a fifth of it at others')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--dtype', default='float32', choices=('float32', 'float16', 'bfloat16'))
    parser.add_argument('--batches', type=int, nargs='+', default=[1, 16])
    parser.add_argument('--profile', metavar='MODEL', choices=list(PEERS))
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    logging.disable(logging.WARNING)
    as_the_commands(args.device)
    if args.profile:
        profile(args.profile)
    else:
        table(args)


if __name__ == '__main__':
    main()
