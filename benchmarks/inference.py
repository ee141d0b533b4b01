"""Images/s of each model beside the timm peer of about the same multiply-adds, each at its own input size.

One thread, everything in one process; ours and the peer take turns, the table shows medians. `ratio` is ours over the
peer's, in multiply-adds per second: above 1, ours does more of its work in the same time. On a GPU a figure is the time
between two synchronisations, divided by the number of calls between them.

With `--runtimes`, on the CPU: PyTorch eager, fused and compiled, ONNX Runtime and OpenVINO in float32 and int8, of both
models of a pair; all of them take turns. The clock is the processor time of the process, so that what other programs
take does not count; all runtimes have one thread. Writes JSON; `--table` shows it as Markdown.

    python benchmarks/inference.py                      # the table of docs/performance.md
    python benchmarks/inference.py --runtimes -o benchmarks/results/inference.json
    python benchmarks/inference.py --table benchmarks/results/inference.json
    python benchmarks/inference.py --device cuda --dtype float16 --batches 1 256
    python benchmarks/inference.py --profile fpnas_l0   # where the time goes at batch 1
"""

import argparse
import contextlib
import datetime
import functools
import json
import logging
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
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
        functions: Sequence[Callable[[], object]], rounds: int, device: str = 'cpu', calls: int = CALLS,
        clock: Callable[[], float] = time.perf_counter,
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
            start = clock()
            for _ in range(calls):
                f()
            if on_gpu:
                torch.cuda.synchronize()
            times.append((clock() - start) / calls)
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


def in_runtimes(
        name: str, batches: Sequence[int], rounds: int, folder: Path, runtimes: Sequence[str],
        quiet: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext,
) -> list[dict[str, Any]]:
    """The rows of a model and its peer: milliseconds of both in each runtime, and the ratio per multiply-add.

    Args:
        name: the model.
        batches: batch sizes.
        rounds: at batch 1; a fifth of it at others.
        folder: for the exported files, which are made if they are not there.
        runtimes: names of `runtimes.RUNTIMES`.
        quiet: entered while times are taken, after everything has been prepared.
    """
    from runtimes import make_files, open_call

    peer = PEERS[name]
    for model in (name, peer):
        make_files(model, runtimes, folder)
    calls = {}
    for batch in batches:
        torch._dynamo.reset()
        for model in (name, peer):
            expected = None
            for runtime in runtimes:
                call, output = open_call(model, runtime, batch, folder)
                expected = output if expected is None else expected
                if 'int8' not in runtime:
                    torch.testing.assert_close(output, expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())
                calls[batch, runtime, model] = call
    rows = []
    with quiet():
        load = os.getloadavg()[0]
        for batch in batches:
            keys = [key for key in calls if key[0] == batch]
            times = interleaved(
                [calls[key] for key in keys], rounds if batch == 1 else max(rounds // 5, 5), clock=time.process_time
            )
            seconds = {key[1:]: t for key, t in zip(keys, times)}
            work = macs(name) / macs(peer)
            rows += [
                {
                    'model': name, 'peer': peer, 'batch': batch, 'runtime': runtime, 'load': round(load, 2),
                    'ms': round(1e3 * seconds[runtime, name], 3), 'peer ms': round(1e3 * seconds[runtime, peer], 3),
                    'ratio': round(work * seconds[runtime, peer] / seconds[runtime, name], 3),
                }
                for runtime in runtimes
            ]
    return rows


def facts(rounds: int) -> dict[str, Any]:
    """What the JSON file says of a run with `--runtimes`, beside its rows."""
    from runtimes import versions

    from fpnas_timm.device.runtimes import machine_name

    return {
        'date': str(datetime.date.today()), 'machine': machine_name(), 'threads': 1, 'rounds': rounds,
        'clock': 'processor time of the process, medians', 'versions': versions(),
    }


def markdown(found: Mapping[str, Any]) -> str:
    """The rows of `in_runtimes` as a table: the ratio and, in brackets, our milliseconds."""
    rows = found['rows']
    runtimes = list(dict.fromkeys(row['runtime'] for row in rows))
    shown = ', '.join(f'{k} {v}' for k, v in found['versions'].items())
    lines = [f"{found['machine']}, {shown}, {found['date']}", '']
    lines += [f'| model | peer | batch | {" | ".join(runtimes)} |', '|---|---|---|' + '---|' * len(runtimes)]
    for key in dict.fromkeys((row['model'], row['peer'], row['batch']) for row in rows):
        cells = {
            row['runtime']: f"{row['ratio']:.2f} ({row['ms']:.1f})" for row in rows
            if (row['model'], row['peer'], row['batch']) == key
        }
        lines.append(f'| {" | ".join(map(str, key))} | {" | ".join(cells.get(r, "") for r in runtimes)} |')
    return '\n'.join(lines)


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
    parser.add_argument('--runtimes', nargs='*', metavar='NAME', help='compare runtimes on the CPU (default: all); '
                        'needs the extras onnx and openvino')
    parser.add_argument('--files', default='output/inference', help='folder for the exported files of --runtimes')
    parser.add_argument('-o', '--output', help='JSON file of --runtimes')
    parser.add_argument('--table', metavar='FILE', help='show such a file as Markdown')
    args = parser.parse_args()
    if args.table:
        print(markdown(json.loads(Path(args.table).read_text())))
        return
    torch.set_num_threads(1)
    torch.manual_seed(0)
    logging.disable(logging.WARNING)
    as_the_commands(args.device)
    if args.profile:
        profile(args.profile)
    elif args.runtimes is not None:
        from runtimes import RUNTIMES

        folder, runtimes = Path(args.files), args.runtimes or RUNTIMES
        folder.mkdir(parents=True, exist_ok=True)
        rows = [r for name in args.models for r in in_runtimes(name, args.batches, args.rounds, folder, runtimes)]
        found = {**facts(args.rounds), 'rows': rows}
        print(markdown(found))
        if args.output:
            Path(args.output).write_text(json.dumps(found, indent=1) + '\n')
    else:
        table(args)


if __name__ == '__main__':
    main()
