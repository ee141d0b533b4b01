"""What a user watches while a run goes on, and the history it leaves: progress bars, TensorBoard, Weights & Biases,
`history.jsonl` and `summary.csv`.
"""
import argparse
import csv
import io
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..errors import RunError, UsageError
from .files import write_jsonl, write_text

__all__ = ['Trackers', 'progress', 'read_history', 'write_history']


def progress(items: Iterable[Any], name: str, primary: bool) -> tqdm:
    """A progress bar in a terminal, and nothing (`disable`) elsewhere or in other processes than the first."""
    return tqdm(items, desc=name, leave=False, disable=not primary or not sys.stderr.isatty())


class Trackers:
    """Where the rows of the history go besides the run's folder."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        """
        Raises:
            UsageError: asked for, but not installed.
        """
        self.writer: Any = None
        self.wandb: Any = None
        if args.log_tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                raise UsageError('--log-tensorboard: pip install tensorboard') from None
            self.writer = SummaryWriter(str(folder))
        if args.log_wandb:
            try:
                import wandb
            except ImportError:
                raise UsageError('--log-wandb: pip install wandb') from None
            self.wandb = wandb
            wandb.init(
                project=args.wandb_project,
                name=folder.name,
                config=vars(args),
                tags=args.wandb_tags,
                resume='must' if args.wandb_resume_id else None,
                id=args.wandb_resume_id or None,
            )

    def log(self, row: Mapping[str, Any]) -> None:
        """One epoch's row; the numbers in it are logged."""
        numbers = {k: v for k, v in row.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
        if self.wandb is not None:
            self.wandb.log(numbers)
        if self.writer is not None:
            for name, value in numbers.items():
                if name != 'epoch':
                    self.writer.add_scalar(name, value, row['epoch'])
            self.writer.flush()

    def close(self) -> None:
        """Write what is left."""
        if self.writer is not None:
            self.writer.close()
        if self.wandb is not None:
            self.wandb.finish()


SUMMARY = ('epoch', 'train_loss', 'eval_loss', 'eval_top1', 'eval_top5', 'lr')  # timm's columns


def read_history(folder: Path, before: int) -> list[dict[str, Any]]:
    """The rows of `folder/history.jsonl` of the epochs before `before`, to go on with them."""
    path = folder / 'history.jsonl'
    if not path.exists():
        return []
    rows = [json.loads(line) for line in path.read_text(encoding='utf-8').splitlines() if line.strip()]
    return [row for row in rows if row['epoch'] < before]


def write_history(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write `history.jsonl`, a line an epoch, and `summary.csv`, a line a validated epoch; each in one step.

    Raises:
        RunError: they cannot be written.
    """
    validated = [row for row in rows if row.get('validated')]
    columns = [c for c in SUMMARY if any(c in row for row in validated)]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction='ignore', lineterminator='\n')
    writer.writeheader()
    writer.writerows(validated)
    try:
        write_jsonl(folder / 'history.jsonl', rows)
        write_text(folder / 'summary.csv', text.getvalue())
    except OSError as e:
        raise RunError(f'{folder}: cannot be written ({e.strerror or e}); the last good checkpoint is kept') from None
