"""Records of a run: TensorBoard, Weights & Biases, `history.jsonl` and `summary.csv`."""
import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import RunError, UsageError, one_line
from .files import read_jsonl, write_jsonl, write_text

__all__ = ['Trackers', 'read_history', 'write_history']


class Trackers:
    """Logs the rows of the history to TensorBoard and Weights & Biases.

    Args:
        folder: output folder of the run, for TensorBoard's files; its name is the name of the Weights & Biases run.
        tensorboard: write TensorBoard event files.
        wandb: log to Weights & Biases with these settings, each of them optional: `project`, `tags`, `config` (the
            run's options), and `resume_id`, the ID of the run to continue (default: do not log there).

    Raises:
        UsageError: a requested tracker is not installed.
    """

    def __init__(self, folder: Path, tensorboard: bool = False, wandb: Mapping[str, Any] | None = None) -> None:
        self.writer: Any = None
        self.wandb: Any = None
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                raise UsageError('--log-tensorboard: pip install tensorboard') from None
            self.writer = SummaryWriter(str(folder))
        if wandb is not None:
            try:
                import wandb as client
            except ImportError:
                raise UsageError('--log-wandb: pip install wandb') from None
            self.wandb = client
            resume_id = wandb.get('resume_id') or None
            client.init(
                project=wandb.get('project'),
                name=folder.name,
                config=wandb.get('config'),
                tags=wandb.get('tags'),
                resume='must' if resume_id else None,
                id=resume_id,
            )

    def log(self, row: Mapping[str, Any]) -> None:
        """Log the numbers in one epoch's row of the history."""
        numbers = {k: v for k, v in row.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
        if self.wandb is not None:
            self.wandb.log(numbers)
        if self.writer is not None:
            for name, value in numbers.items():
                if name != 'epoch':
                    self.writer.add_scalar(name, value, row['epoch'])
            self.writer.flush()

    def close(self) -> None:
        """Flush and close."""
        if self.writer is not None:
            self.writer.close()
        if self.wandb is not None:
            self.wandb.finish()


SUMMARY = ('epoch', 'train_loss', 'eval_loss', 'eval_top1', 'eval_top5', 'lr')  # timm's columns


def read_history(folder: Path, before: int) -> list[dict[str, Any]]:
    """The rows of `folder/history.jsonl` whose epoch is less than `before`; none if there is no such file.

    Raises:
        UsageError: a line of the file is not a row.
    """
    path = folder / 'history.jsonl'
    try:
        rows = read_jsonl(path)
    except (ValueError, RecursionError, OSError) as e:
        raise UsageError(f'{path}: cannot be read ({one_line(e)}): mend or remove this file, then resume') from None
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or type(row.get('epoch')) is not int:
            raise UsageError(f'{path}: line {number} is not a row with an epoch: mend or remove this file, then resume')
    return [row for row in rows if row['epoch'] < before]


def write_history(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write `history.jsonl` (one line per epoch) and `summary.csv` (one line per validated epoch), each atomically.

    Raises:
        RunError: one of the files cannot be written.
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
        kept = '; the checkpoints are kept' if any(folder.glob('*.pth.tar')) else ''
        raise RunError(f'{e.filename or folder}: cannot be written ({e.strerror or e}){kept}') from None
