"""Folders on this machine: a search, epoch by epoch, and a trained model. Neither needs torch."""
import json
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..draw.boxes import average_figure, figures_svg
from ..draw.heatmap import heat_table
from ..draw.markup import card, cards
from ..draw.searched import Searched
from ..draw.svg import finite
from ..errors import UsageError
from ..search.names import HISTORY, RESULT
from ..search.page import read_search
from ..weights.json_file import read_json

__all__ = ['learned', 'model_answer', 'search_answer']

CONFIG_FILE, WEIGHTS_FILE = 'config.json', 'model.safetensors'
MAX_PATH = 4096


def search_answer(folder: str, epoch: int | None = None) -> dict[str, Any]:
    """A search after an epoch (from 0; None: the last one that is finished).

    Raises:
        UsageError: as `read_search`, or there is no such epoch.
    """
    run = _search(folder)
    at = _epoch(run, epoch)
    row, channels = run.history[at], run.settings.get('in_chans')
    string = row.get('most_probable') or row.get('best')
    shown = [
        card('epoch', f'{at + 1} of {run.epochs}', str(row.get('phase', run.strategy))),
        *(card(name, _number(row[key]), unit) for name, key, unit in (
            ('entropy', 'entropy', 'nats'), ('K', 'k', 'architectures per step'),
            ('mean of the samples' if 'marginals' in row else 'mean of the round', 'cost', 'multiply-adds'),
            ('most probable', 'most_probable_cost', 'multiply-adds'),
            ('best so far', 'best_cost', 'multiply-adds'), ('training loss', 'train_loss', 'nats per image'),
        ) if finite(row.get(key))),
    ]
    html = cards(shown)
    if 'marginals' in row:
        title = f'average of the distribution after epoch {at + 1}'
        html += f'<div class="scroll" tabindex="0" role="region" aria-label="{title}">' \
                f'{figures_svg([average_figure(run.space, row["marginals"], title)], prefix="s")[0]}</div>'
        html += heat_table(run.space, row['marginals'], None)
    return {
        'folder': folder, 'space': json.dumps(run.space.to_dict()), 'name': run.space.name, 'progress': run.progress,
        'epochs': len(run.history), 'epoch': at, 'arch': string if isinstance(string, str) else '',
        'result': (run.result or {}).get('arch', ''), 'html': html, 'learned': 'marginals' in row,
        'classes': run.num_classes or 1000, 'channels': channels if type(channels) is int else 3,
    }


def learned(folder: str, epoch: int | None) -> str:
    """The probabilities of a search after an epoch, as `find.decode_answer` takes them.

    Raises:
        UsageError: as `search_answer`, or the search learns no distribution.
    """
    run = _search(folder)
    row = run.history[_epoch(run, epoch)]
    if 'marginals' not in row:
        raise UsageError(f'{folder}: this search learns no distribution (strategy {run.strategy})')
    return json.dumps(row['marginals'])


def _epoch(run: Searched, epoch: int | None) -> int:
    at = len(run.history) - 1 if epoch is None else epoch
    if not 0 <= at < len(run.history):
        raise UsageError(f'epoch {at + 1}: the search has finished {len(run.history)}')
    return at


def _number(value: float) -> str:
    return f'{value:,.0f}' if abs(value) >= 1000 else f'{value:.4g}'


def _folder(given: str) -> Path:
    text = given.strip()
    if not text or len(text) > MAX_PATH or '\0' in text:
        raise UsageError('expected the path of a folder on this machine')
    return Path(os.path.expanduser(text))


def _search(given: str) -> Searched:
    folder = _folder(given)
    stamps = tuple(
        (folder / name).stat().st_mtime_ns if (folder / name).is_file() else 0 for name in (HISTORY, RESULT)
    )
    return _read(folder, stamps)


@lru_cache(maxsize=2)
def _read(folder: Path, _stamps: tuple[int, ...]) -> Searched:
    return read_search(folder)


def model_answer(given: str) -> dict[str, Any]:
    """What a folder says of its trained model, before it is loaded.

    Raises:
        UsageError: there is no model.
    """
    root = _folder(given)
    for folder in (root, root / 'export', root / 'extract'):
        if (folder / CONFIG_FILE).is_file() and (folder / WEIGHTS_FILE).is_file():
            break
    else:
        raise UsageError(
            f'{root}: no model there: expected the folder of a training run (export/), of a search (extract/), or one '
            f'with {CONFIG_FILE} and {WEIGHTS_FILE}'
        )
    config = read_json(folder / CONFIG_FILE)
    config = config if isinstance(config, dict) else {}
    args, classes = config.get('model_args'), config.get('num_classes')
    arch = args.get('arch') if isinstance(args, Mapping) else None
    return {
        'folder': str(folder), 'classes': classes if type(classes) is int else None,
        'model': str(config.get('architecture', ''))[:80], 'arch': arch if isinstance(arch, str) else '',
    }
