"""Folders of searches as `fpnas search` leaves them, made without searching."""
import json
import random
from pathlib import Path
from typing import Any

import yaml

from fpnas_timm.arch import Conv
from fpnas_timm.arch.cost import cost
from fpnas_timm.search.options import build_parser
from fpnas_timm.spaces import MBConvSpace, Row


def space(name: str = 'tiny') -> MBConvSpace:
    """Three groups; the second has fewer channels to choose from than the third."""
    micro: dict[str, Any] = {'kernel': (0, 3, 5), 'act': ('re', 'sw'), 'splits': (0, 1, 2)}
    rows = [Row((1.5, 3.0), (8, 12), 1, 1, **micro), Row((1.5, 3.0), (16, 24), 2, 2, **micro),
            Row((1.5, 3.0), (24, 32, 40), 2, 2, **micro)]
    return MBConvSpace.from_rows(name, Conv(3, 2, 8, 'sw'), rows, Conv(1, 1, 64, 'sw'), 32)


def history_of(over: MBConvSpace, epochs: int, seed: int) -> list[dict[str, Any]]:
    """Rows like those of a search: a warm-up of two epochs, then probabilities that are drawn."""
    rng, rows = random.Random(seed), []
    for epoch in range(epochs):
        marginals = []
        for group in over.groups:
            drawn = {v: [1.0 if epoch < 2 else rng.random() for _ in c] for v, c in group.items()}
            marginals.append({v: [round(p / sum(ps), 5) for p in ps] for v, ps in drawn.items()})
        mode = tuple(tuple(p.index(max(p)) for p in probs.values()) for probs in marginals)
        row = {
            'epoch': epoch, 'phase': 'warmup' if epoch < 2 else 'joint', 'entropy': 14.0 - rng.random() * epoch,
            'k': 4.0 - epoch / 10, 'cost': 300_000 - 10_000.5 * epoch, 'train_loss': 2.3 - rng.random() * epoch / 10,
            'seconds': 1.5, 'num_samples': 40 * max(0, epoch - 1), 'most_probable': over.describe(mode),
            'most_probable_cost': cost(over.to_arch(mode), num_classes=3).macs, 'marginals': marginals,
            'sampled': {'step': [], 'cost': [], 'log_likelihood': []},
        }
        if epoch >= 2:
            row['log_likelihood'] = -64.0 - rng.random()
            row['sampled'] = {'step': [0, 0, 1, 1], 'cost': [200_000 + rng.randrange(90_000) for _ in range(4)],
                              'log_likelihood': [-60.0 - rng.random() for _ in range(4)]}
        rows.append(row)
    return rows


def make_search(
        folder: Path, epochs: int = 6, seed: int = 0, finished: bool = True, finalists: int = 0,
        classes: tuple[str, ...] = ('blue', 'green', 'red'), name: str = 'tiny', **settings: Any,
) -> Path:
    """A folder of a search of this many epochs."""
    folder.mkdir(parents=True)
    over = space(name)
    options = {**vars(build_parser().parse_args([])), 'data_dir': 'images', 'space': name, 'output': str(folder),
               'target_macs': 250_000.0, 'epochs': epochs, 'seed': seed, 'batch_size': 32, **settings}
    for unsaved in ('resume', 'config'):
        del options[unsaved]
    (folder / 'args.yaml').write_text(yaml.safe_dump(options), encoding='utf-8')
    (folder / 'space.json').write_text(json.dumps(over.to_dict()), encoding='utf-8')
    record = {'processes': 1, 'space': over.to_dict(), 'images': '2-abc', 'class_names': list(classes),
              'train': list(range(18)), 'val': list(range(18, 35)), 'classes': list(range(len(classes))),
              'alpha_from': None, 'class_weights': None, 'init_from': None}
    (folder / 'halves.json').write_text(json.dumps(record), encoding='utf-8')
    history = history_of(over, epochs, seed)
    (folder / 'history.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in history), encoding='utf-8')
    if finished:
        arch = history[-1]['most_probable']
        result = {'arch': arch, 'space': name, 'macs': history[-1]['most_probable_cost'], 'params': 12_345,
                  'target_macs': options['target_macs'], 'log_prob': -3.21, 'entropy': 12.34, 'supernet_top1': 64.7059,
                  'supernet_top1_images': 17, 'samples': 160, 'seconds': 9.0, 'date': '2026-11-26'}
        if finalists:
            strings = [arch, *(row['most_probable'] for row in history[: finalists - 1])]
            result['finalists'] = [
                {'arch': string, 'macs': 240_000 - 1000 * i, 'params': 12_000 + i, 'log_prob': -3.5 - i,
                 'top1': 70.25 - i, 'top1_se': 1.25, 'score': 70.25 - i, 'inherited_top1': 70.25 - i,
                 'log_likelihood': -1 - i / 8, 'log_likelihood_se': 0.03, 'images': 17, 'rounds': i % 2}
                for i, string in enumerate(strings)
            ]
        (folder / 'result.json').write_text(json.dumps(result), encoding='utf-8')
    return folder
