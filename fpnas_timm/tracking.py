"""What a user watches while a run goes on: the progress bar, and TensorBoard or Weights & Biases when asked for."""
import argparse
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .errors import UsageError

__all__ = ['Trackers', 'progress']


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
