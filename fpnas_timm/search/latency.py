"""Time as the budget of a search: the latency table in its folder, and the measurement of its result."""
import hashlib
import logging
from argparse import Namespace
from pathlib import Path
from typing import Any

from ..arch import Arch
from ..device.latency_measure import measure_network
from ..device.latency_table import LatencyTable
from ..errors import RunError, UsageError, one_line
from ..spaces import MBConvSpace
from ..spaces.budgets import shown_ms
from .names import LATENCY_FILE

__all__ = ['digest', 'latency_figures', 'latency_text', 'open_latency']

_logger = logging.getLogger('search')


def open_latency(args: Namespace, space: MBConvSpace, num_classes: int) -> LatencyTable | None:
    """The latency table of a search: the one that the options name; of a resumed search, the one in its folder.

    Args:
        args: the options.
        space: the search space, at its input size.
        num_classes: number of classes that budgets are counted for.

    Raises:
        UsageError: it cannot be read, or is of other networks.
    """
    if args.latency_table is None:
        return None
    own = Path(args.resume) / LATENCY_FILE if args.resume else None
    path = own if own is not None and own.exists() else Path(args.latency_table)
    try:
        table = LatencyTable.load(path)
    except UsageError as e:
        raise UsageError(f'--latency-table {e}') from None
    table.check_space(space, num_classes, args.in_chans, f'--latency-table {path}')
    return table


def digest(table: LatencyTable) -> str:
    """Tells tables apart: the same for the same file."""
    return hashlib.blake2b(table.to_text().encode(), digest_size=16).hexdigest()


def latency_figures(table: LatencyTable | None, arch: Arch, target: float | None) -> dict[str, Any]:
    """What `result.json` says of the time of the result: predicted, and measured on this machine if that is possible.

    Args:
        table: the table of the search; without one there are no figures.
        arch: the result.
        target: the budget in milliseconds, if there is one.
    """
    if table is None:
        return {}
    figures: dict[str, Any] = {
        'target_latency': target, 'latency': round(table.predict(arch), 6), 'latency_of': str(table.setting),
    }
    try:
        found = measure_network(table, arch)
    except (UsageError, RunError) as e:
        return {**figures, 'not_measured': one_line(e)}
    except Exception as e:  # of a runtime, any kind: the search is finished, and is not lost for it
        return {**figures, 'not_measured': f'{type(e).__name__}: {one_line(e)}'}
    return {**figures, 'measured_latency': round(found.milliseconds, 6), 'measured_now': round(found.now, 6)}


def latency_text(figures: dict[str, Any]) -> str | None:
    """These figures in a line; None if there are none."""
    if 'latency' not in figures:
        return None
    target, measured, predicted = figures['target_latency'], figures.get('measured_latency'), figures['latency']
    shown = [f'target {shown_ms(target)}'] if target else []
    shown.append(f'predicted {shown_ms(predicted)}')
    if measured is None:
        shown.append(f'not measured ({figures["not_measured"]})')
    else:
        now = figures['measured_now']
        mood = f', {shown_ms(now)} at its present speed' if abs(now / measured - 1) > 0.05 else ''
        shown.append(f'measured {shown_ms(measured)} at the speed that the machine had for the table{mood}')
    return f'time of a call: {", ".join(shown)} ({figures["latency_of"]})'
