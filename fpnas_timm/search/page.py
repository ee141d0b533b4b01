"""`report.html` of a search: reads its folder and writes the page. Does not import torch.

Bad folders and damaged files are `UsageError`s of one sentence that says which file, and what to do.
"""
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..draw.compare import compare_page
from ..draw.report import report_page
from ..draw.searched import Searched
from ..draw.svg import finite
from ..errors import UsageError, one_line
from ..runs.files import write_text
from ..runs.parser import load_yaml
from ..spaces import MBConvSpace
from .names import ARGS_FILE, CANDIDATES, HISTORY, RECORD, REPORT, RESULT, SPACE_FILE
from .options import build_parser
from .saved import read_object, saved_space

__all__ = ['read_search', 'write_comparison', 'write_page', 'write_report']

RESTORE = 'restore it'
NUMBERS = (  # of a result, if they are there
    'macs', 'params', 'entropy', 'supernet_top1', 'supernet_top1_images', 'latency', 'measured_latency', 'measured_now',
)

_logger = logging.getLogger('search')


def write_page(folder: Path, history: Sequence[Mapping[str, Any]], result: Mapping[str, Any] | None = None) -> None:
    """Write `report.html` in the folder of a search that runs, without ever stopping it: a problem is a warning.

    Args:
        folder: the folder of the search.
        history: the rows so far.
        result: what `result.json` will contain; None while the search runs.

    Raises:
        OSError: the file cannot be written, as on a full disk.
    """
    try:
        text = report_page(_searched(folder, history, result))
    except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as e:
        _logger.warning('%s: not written (%s: %s); the search is not affected', folder / REPORT, type(e).__name__,
                        one_line(e))
        return
    write_text(folder / REPORT, text)
    if result is not None:
        _logger.info('report: %s', folder / REPORT)


def write_report(folder: Path, output: Path | None = None) -> Path:
    """Write the report of the search in a folder; returns its path (default: `report.html` in that folder).

    Raises:
        UsageError: as `read_search`.
        OSError: the file cannot be written.
    """
    path = folder / REPORT if output is None else output
    write_text(path, report_page(read_search(folder)))
    return path


def write_comparison(folders: Sequence[Path], output: Path) -> Path:
    """Write a page that compares the searches in several folders; returns its path.

    Raises:
        UsageError: as `read_search`, or a folder is given twice.
        OSError: the file cannot be written.
    """
    places = [folder.resolve() for folder in folders]
    for i, place in enumerate(places):
        if place in places[:i]:
            raise UsageError(f'{folders[i]}: is given twice: expected different searches to compare')
    write_text(output, compare_page([read_search(folder) for folder in folders]))
    return output


def read_search(folder: Path) -> Searched:
    """What the folder of a search says about it.

    Raises:
        UsageError: the folder is not that of a search, no epoch of it is finished, or a file is damaged.
    """
    if not folder.is_dir():
        raise UsageError(f'{folder}: no such folder: expected the --output folder of fpnas search')
    if not (folder / ARGS_FILE).exists():
        trained = ' (it is that of a training run)' if (folder / 'summary.csv').exists() else ''
        raise UsageError(
            f'{folder}: no search there{trained} ({ARGS_FILE} does not exist): expected the --output folder of fpnas '
            'search'
        )
    if not (folder / SPACE_FILE).exists():
        raise UsageError(f'{folder}: no search there ({SPACE_FILE} does not exist): expected the --output folder of '
                         'fpnas search')
    return _searched(folder, _history(folder), _result(folder))


def _result(folder: Path) -> dict[str, Any] | None:
    """The content of `result.json`; None if the search is not finished."""
    path = folder / RESULT
    if not path.exists():
        return None
    result = read_object(path, RESTORE)
    wrong = None if isinstance(result.get('arch'), str) else 'has no architecture'
    for name in NUMBERS:
        if name in result and not finite(result[name]):
            wrong = f'has no number as its {name!r}'
    finalists = result.get('finalists') or []
    if not isinstance(finalists, list) or not all(
            isinstance(f, dict) and isinstance(f.get('arch'), str) for f in finalists):
        wrong = 'has finalists without architectures'
    if wrong:
        raise UsageError(f'{path}: {wrong}: {RESTORE}, or delete it and write it again with fpnas search --resume '
                         f'{folder}')
    return result


def _searched(folder: Path, history: Sequence[Mapping[str, Any]], result: Mapping[str, Any] | None) -> Searched:
    space = saved_space(folder / SPACE_FILE)
    _check_history(folder / HISTORY, history, space)
    settings = load_yaml(folder / ARGS_FILE)
    record = read_object(folder / RECORD, RESTORE) if (folder / RECORD).exists() else {}
    defaults = vars(build_parser().parse_args([]))
    candidates = _candidates(folder / CANDIDATES)
    return Searched(str(folder), settings, defaults, space, record, history, result, candidates)


def _history(folder: Path) -> list[dict[str, Any]]:
    """The rows of `history.jsonl`."""
    path = folder / HISTORY
    rows = _lines(path)
    if not rows:
        raise UsageError(
            f'{folder}: the search there has not finished an epoch yet ({HISTORY} '
            f'{"is empty" if path.exists() else "does not exist"}): expected at least one'
        )
    return rows


def _candidates(path: Path) -> list[tuple[float, float]]:
    """Multiply-adds and score of each row of `candidates.jsonl`; none if there is no such file."""
    pairs = []
    for number, row in enumerate(_lines(path), 1):
        if not isinstance(row, dict) or not finite(row.get('macs')) or not finite(row.get('score')):
            raise UsageError(f'{path}: line {number} is not a scored architecture: {_again(path)}')
        pairs.append((row['macs'], row['score']))
    return pairs


def _lines(path: Path) -> list[Any]:
    """The values in a file of JSON lines; none if there is no such file."""
    try:
        lines = path.read_text(encoding='utf-8').splitlines() if path.exists() else []
    except (OSError, UnicodeDecodeError) as e:
        reason = e.strerror if isinstance(e, OSError) else 'not text'
        raise UsageError(f'{path}: cannot be read ({reason}): {_again(path)}') from None
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line))
        except (ValueError, RecursionError) as e:
            raise UsageError(f'{path}: line {number} is damaged ({one_line(e)}): {_again(path)}') from None
    return rows


def _again(path: Path) -> str:
    return f'{RESTORE}, or write it again with fpnas search --resume {path.parent}'


def _check_history(path: Path, history: Sequence[Any], space: MBConvSpace) -> None:
    """Raise UsageError unless every row is one of an epoch of a search over this space."""
    for number, row in enumerate(history, 1):
        wrong = None
        if not isinstance(row, dict) or type(row.get('epoch')) is not int:
            wrong = 'is not a row with an epoch'
        elif row['epoch'] != number - 1:
            wrong = f'is of epoch {row["epoch"] + 1}, expected {number}'
        elif 'marginals' in row and not _fits(row['marginals'], space):
            wrong = f'has probabilities that are not those of the space {space.name!r} in {SPACE_FILE}'
        elif 'sampled' in row and not _pairs(row['sampled']):
            wrong = 'has samples that are not pairs of numbers'
        elif not all(finite(row[name]) for name in ('entropy', 'cost', 'seconds', 'train_loss') if name in row):
            wrong = 'has a value that is not a finite number'
        if wrong:
            raise UsageError(f'{path}: line {number} {wrong}: {_again(path)}')


def _pairs(sampled: Any) -> bool:
    """Whether these are costs and log-likelihoods."""
    parts = [sampled.get(name) for name in ('cost', 'log_likelihood')] if isinstance(sampled, dict) else [None]
    return all(isinstance(part, list) and all(map(finite, part)) for part in parts)


def _fits(marginals: Any, space: MBConvSpace) -> bool:
    """Whether these are probabilities of the choices of the space."""
    if not isinstance(marginals, list) or len(marginals) != len(space.groups):
        return False
    return all(
        isinstance(probs, dict) and list(probs) == list(group) and all(
            isinstance(probs[v], list) and len(probs[v]) == len(group[v])
            and all(finite(p) and 0 <= p <= 1 for p in probs[v]) for v in group
        )
        for probs, group in zip(marginals, space.groups)
    )
