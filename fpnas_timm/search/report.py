"""What a search logs and writes while it runs and when it is done."""
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..arch import Arch
from ..arch.cost import Cost
from ..draw.search import draw_search
from ..runs.checkpoints import save_checkpoint
from ..runs.files import write_jsonl, write_text
from ..runs.tracking import Trackers
from ..spaces import Choices, MBConvSpace
from ..weights.folder import export_model
from .evaluator import SuperNetEvaluator
from .folder import CHECKPOINT, EXTRACT
from .loop import Search

__all__ = ['Report', 'write_result']

_logger = logging.getLogger('search')


class Report:
    """What a user sees and keeps while the search runs; in the first process."""

    def __init__(self, folder: Path, trackers: Trackers, steps_per_epoch: int, interval: int) -> None:
        """
        Args:
            folder: where checkpoints and history go.
            trackers: where else the history goes.
            steps_per_epoch: of the search.
            interval: steps between lines of the log, where there is no progress bar.
        """
        self.folder = folder
        self.trackers = trackers
        self.steps = steps_per_epoch
        self.interval = interval
        self.shows_bar = sys.stderr.isatty()
        self.bar: tqdm | None = None

    def step(self, search: Search, figures: dict[str, float]) -> None:
        """After every step: the progress bar or, every `interval` steps, a line."""
        text = {
            'loss': f'{figures["train_loss"]:.3f}',
            'K': str(int(figures['k'])),
            'H': f'{figures["entropy"]:.1f}',
            'MACs': f'{figures["cost"] / 1e6:.2f}M',
        }
        if self.shows_bar:
            if self.bar is None:
                name = f'epoch {search.epoch + 1}/{search.config.epochs}'
                self.bar = tqdm(total=self.steps, initial=search.step - 1, desc=name, leave=False)
            self.bar.set_postfix(text)
            self.bar.update()
        elif search.step % self.interval == 0:
            _logger.info(
                'epoch %d step %d/%d  %s', search.epoch + 1, search.step, self.steps,
                '  '.join(f'{k} {v}' for k, v in text.items()),
            )

    def epoch(self, search: Search) -> None:
        """After every epoch: a line, and the checkpoint before the files that can be written again from it."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
        row = search.history[-1]
        save_checkpoint(self.folder / CHECKPOINT, search.state_dict())
        write_jsonl(self.folder / 'history.jsonl', search.history)
        search.distribution.save(self.folder / 'distribution.safetensors')
        self.trackers.log(row)
        _logger.info(
            'epoch %d/%d (%s)  loss %.3f  K %.1f  entropy %.2f nats  %.2fM multiply-adds expected  %.0f s',
            row['epoch'] + 1, search.config.epochs, row['phase'], row['train_loss'], row['k'], row['entropy'],
            row['cost'] / 1e6, row['seconds'],
        )

    def close(self) -> None:
        """Flush and close."""
        if self.bar is not None:
            self.bar.close()
        self.trackers.close()


def write_result(
        folder: Path,
        search: Search,
        choices: Choices,
        space: MBConvSpace,
        evaluator: SuperNetEvaluator,
        class_names: Sequence[str],
        data_config: dict[str, Any],
        calibration_batches: int,
) -> tuple[Arch, Cost]:
    """Write the result of a finished search: `arch.txt`, `result.json`, the extracted model and the pictures.

    Args:
        folder: where to.
        search: finished.
        choices: its result.
        space: of the search.
        evaluator: of the search.
        class_names: of the model's classes; empty if unknown.
        data_config: what timm needs to know about the model's images.
        calibration_batches: batches whose statistics the batch norms of the extracted model get.

    Returns:
        The architecture and its cost.

    Raises:
        RunError: it cannot be written.
    """
    target = search.config.target
    arch = space.to_arch(choices)
    mode = search.distribution.most_probable()
    write_jsonl(folder / 'history.jsonl', search.history)
    search.distribution.save(folder / 'distribution.safetensors')
    spent = evaluator.full_cost(arch)
    figures = {
        'macs': spent.macs,
        'params': spent.params,
        'target_macs': target,
        'log_prob': float(search.distribution.log_prob([choices]).detach()),
        'entropy': float(search.distribution.entropy().detach()),
        'most_probable': space.describe(mode),
        'most_probable_macs': evaluator.cost(mode),
        'samples': search.num_samples,
        'seconds': sum(row['seconds'] for row in search.history),
    }
    write_text(folder / 'result.json', json.dumps({'arch': str(arch), **figures}, indent=1) + '\n')
    write_text(folder / 'arch.txt', f'{arch}\n')
    model = evaluator.net.extract(arch, evaluator.calibration_batches(calibration_batches))
    note = {'weights': 'inherited from the supernet, not trained on their own', 'space': space.name, **figures}
    export_model(model.cpu(), folder / EXTRACT, data_config, class_names, {'search': note})
    try:
        draw_search(search.history, arch, folder, space.groups, target)
    except ImportError:
        _logger.info("no pictures: pip install 'fpnas-timm[draw]'")
    _logger.info(
        '%s multiply-adds, %s parameters; %s architectures sampled for alpha in %.0f s; model: local-dir:%s',
        f'{spent.macs:,}', f'{spent.params:,}', f'{search.num_samples:,}', figures['seconds'], folder / EXTRACT,
    )
    return arch, spent
