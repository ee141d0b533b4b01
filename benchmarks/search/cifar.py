"""The search on CIFAR-10: what its results are worth beside random architectures, and supernets that rank.

    python benchmarks/search/cifar.py all --device cuda --minutes 7 --mps --data ../shared/data/cifar10_jpeg.tar.xz
    python benchmarks/search/cifar.py report

`all` does everything within the given minutes on one GPU: it trains the 30 random architectures, runs the searches and
the supernets of the ranking study beside that in processes of their own, and trains what the searches find. Single
parts, in one process and on any device (on a CPU set OMP_NUM_THREADS=1; each can run beside the others):

    python benchmarks/search/cifar.py train                   # all that has not been trained: random, peers, found
    python benchmarks/search/cifar.py train refined-s0        # only this one, with both seeds
    python benchmarks/search/cifar.py rank plain sandwich     # ranking study, by setting
    python benchmarks/search/cifar.py search default --seeds 0 1 2
    python benchmarks/search/cifar.py work                    # all searches and rankings, one after another
    python benchmarks/search/cifar.py time                    # seconds of a search and a training on a CPU thread
    python benchmarks/search/cifar.py smoke --device cuda     # two minutes: does everything run, and how fast?

Everything is appended to `results.jsonl` in `--output`, as soon as it is there; what is there is not done again.
"""

import argparse
import os
import sys
import warnings
from pathlib import Path

import torch
from cifar_parts import data, driver, problem, report, smoke
from cifar_parts.ranking import SETTINGS
from cifar_parts.searches import SEARCHES

ROOT = Path(__file__).parents[2]


WHAT = ('all', 'smoke', 'train', 'rank', 'search', 'work', 'time', 'peers', 'report')


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', choices=WHAT)
    parser.add_argument('names', nargs='*', help=f'of rank: {", ".join(SETTINGS)}; of search: {", ".join(SEARCHES)}; '
                        'of train: networks, such as random-0 or refined-s1 (default: all)')
    parser.add_argument('--data', type=Path, default=ROOT.parent / 'shared' / 'data' / 'cifar10_jpeg.tar.xz',
                        help='the tar file or a folder with train/<class>/*.jpg and test/<class>/*.jpg')
    parser.add_argument('--output', type=Path, default=ROOT / 'output' / 'cifar')
    parser.add_argument('--cache', type=Path, help='where the decoded images are kept (default: --output)')
    parser.add_argument('--tables', type=Path, default=ROOT / 'benchmarks' / 'results', help='`report`: where to write')
    parser.add_argument('--picture', type=Path, default=ROOT / 'docs' / 'img' / 'results_cifar.png')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    parser.add_argument('--minutes', type=float, help='`all`: stop after this time (default: 7; within `smoke`: 1.1)')
    parser.add_argument('--share', type=float, default=0.6, help='`all`: of the time, for searches and rankings')
    parser.add_argument('--plan', type=int, help='`all`: only the first N searches and rankings')
    parser.add_argument('--procs', type=int, default=14, help='`all`: searches and rankings at once')
    parser.add_argument('--trainers', type=int, default=3, help='`all`: processes that train networks')
    parser.add_argument('--streams', type=int, default=4, help='networks that one process trains at once')
    parser.add_argument('--until', type=float, default=float('inf'), help='stop at this time (seconds since 1970)')
    parser.add_argument('--scale', type=float, help='multiplies the length of searches and rankings (`all`: what'
                        'fits')
    parser.add_argument('--epochs', type=int, default=problem.RECIPE.epochs, help='of training')
    parser.add_argument('--steps', type=int, help='of training, instead of --epochs: for a quick try')
    parser.add_argument('--batch', type=int, help='images of all batches: for a quick try')
    parser.add_argument('--limit', type=int, help='use only so many images of each part: for a quick try')
    parser.add_argument('--eager', action='store_true', help='no CUDA graphs')
    parser.add_argument('--bf16', action=argparse.BooleanOptionalAction, help='in training (default: on a GPU)')
    parser.add_argument('--channels-last', action=argparse.BooleanOptionalAction, default=True, help='in training')
    parser.add_argument('--mps', action='store_true', help="`all`: try NVIDIA's MPS, which runs kernels of several "
                        'processes at once')
    parser.add_argument('--supernet-bf16', action=argparse.BooleanOptionalAction, default=False)
    parser.add_argument('--benchmark', action='store_true', help='let cuDNN try algorithms, in training')
    return parser


def images(args: argparse.Namespace) -> dict[str, data.Images]:
    """The images, on the device."""
    data.prepare(args.data, args.cache, os.cpu_count() or 1)
    return {part: i.to(torch.device(args.device)) for part, i in data.load(args.cache, args.limit).items()}


def main() -> int:
    args = options().parse_args()
    args.cache = args.cache or args.output
    args.minutes = args.minutes or (1.1 if args.what == 'smoke' else 7)
    args.output.mkdir(parents=True, exist_ok=True)
    args.cache.mkdir(parents=True, exist_ok=True)
    if args.bf16 is None:
        args.bf16 = args.device != 'cpu'
    warnings.filterwarnings('ignore', message='.*capturable.*')
    if args.what == 'all':
        return driver.run_all(args, Path(__file__), sys.argv[1:])
    if args.what == 'peers':
        for name in problem.PEERS:
            print(name, *problem.solve_peer(name))
        return 0
    if args.what == 'report':
        report.report(args.output, args.tables, args.picture)
        return 0
    if args.what == 'smoke':
        return smoke.smoke(args, images(args))
    if args.what == 'time':
        smoke.time_on_cpu(args, images(args))
        return 0
    if args.what == 'train':
        return driver.train(args, images(args))
    if args.what == 'work':
        return driver.work(args, images(args))
    loaded = images(args)
    scale = args.scale or 1.0
    went = [driver.run_one(args, loaded, args.what, name, seed, scale) for seed in args.seeds for name in args.names]
    return int(not all(went))


if __name__ == '__main__':
    sys.exit(main())
