"""Log lines, checkpoints and history during a search, and the files of its result."""
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..arch import Arch
from ..draw.search import draw_search
from ..runs.checkpoints import save_checkpoint
from ..runs.files import write_jsonl, write_text
from ..runs.tracking import Trackers
from ..spaces import Choices, MBConvSpace
from ..weights.folder import CONFIG_FILE, WEIGHTS_FILE, export_model
from .evaluator import Accuracy, SuperNetEvaluator
from .folder import CHECKPOINT, EXTRACT
from .loop import Search

__all__ = ['Report', 'saved_accuracy', 'write_result']

RESULT = 'result.json'

_logger = logging.getLogger('search')


class Report:
    """Progress, log lines, checkpoints and history while the search runs; rank 0 only."""

    def __init__(
            self, folder: Path, trackers: Trackers, steps_per_epoch: int, interval: int, stamp: Mapping[str, Any]
    ) -> None:
        """
        Args:
            folder: output folder for checkpoints and history.
            trackers: TensorBoard and Weights & Biases, which also receive the history.
            steps_per_epoch: number of steps per epoch.
            interval: steps between log lines, if there is no progress bar.
            stamp: what each checkpoint says about its search, see `folder.stamp`.
        """
        self.folder = folder
        self.trackers = trackers
        self.steps = steps_per_epoch
        self.interval = interval
        self.stamp = dict(stamp)
        self.shows_bar = sys.stderr.isatty()
        self.bar: tqdm | None = None

    def step(self, search: Search, figures: dict[str, float]) -> None:
        """After every step: update the progress bar or, every `interval` steps, log a line."""
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

    def save(self, search: Search) -> None:
        """Save the state of the search in its checkpoint."""
        save_checkpoint(self.folder / CHECKPOINT, {**search.state_dict(), **self.stamp})

    def epoch(self, search: Search) -> None:
        """After every epoch: log a line, save the checkpoint, then write the files that can be restored from it."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
        row = search.history[-1]
        self.save(search)
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
        init_from: Mapping[str, str] | None = None,
) -> Accuracy:
    """Write the result of a finished search: `arch.txt`, `result.json`, the extracted model and the pictures.

    Args:
        folder: output folder.
        search: the finished search.
        choices: the resulting architecture.
        space: the search space.
        evaluator: the evaluator of the search.
        class_names: names of the model's classes; empty if unknown.
        data_config: timm's data config of the model (input size, mean, ..).
        calibration_batches: number of batches for the batch-norm statistics of the extracted model.
        init_from: name and license of the network that the supernet started from, if any.

    Returns:
        The accuracy of the extracted model, with its inherited weights, on the half that trains alpha.

    Raises:
        RunError: the files cannot be written.
    """
    target = search.config.target
    arch = space.to_arch(choices)
    mode = search.distribution.most_probable()
    write_jsonl(folder / 'history.jsonl', search.history)
    search.distribution.save(folder / 'distribution.safetensors')
    spent = evaluator.full_cost(arch)
    model = evaluator.scored.extract(arch, evaluator.calibration_batches(calibration_batches))
    accuracy = evaluator.accuracy(model)
    figures = {
        'macs': spent.macs,
        'params': spent.params,
        'target_macs': target,
        'log_prob': float(search.distribution.log_prob([choices]).detach()),
        'entropy': float(search.distribution.entropy().detach()),
        'most_probable': space.describe(mode),
        'most_probable_macs': evaluator.cost(mode),
        'supernet_top1': round(accuracy.top1, 4),
        'supernet_top1_images': accuracy.images,
        'samples': search.num_samples,
        'seconds': sum(row['seconds'] for row in search.history),
        'date': f'{date.today()}',
    }
    write_text(folder / 'arch.txt', f'{arch}\n')
    note = {'weights': 'inherited from the supernet, not trained on their own', 'space': space.name, **figures}
    training = {'search': note, **({'init_from': dict(init_from)} if init_from else {})}
    export_model(model.cpu(), folder / EXTRACT, data_config, class_names, training)
    try:
        draw_search(search.history, arch, folder, space.groups, target)
    except ImportError:
        _logger.info("no pictures: pip install 'fpnas-timm[draw]'")
    result = {'arch': str(arch), 'space': space.name, **figures}
    write_text(folder / RESULT, json.dumps(result, indent=1) + '\n')  # last: see saved_accuracy
    _logger.info(
        '%s multiply-adds, %s parameters; %s architectures sampled for alpha in %.0f s; model: local-dir:%s',
        f'{spent.macs:,}', f'{spent.params:,}', f'{search.num_samples:,}', figures['seconds'], folder / EXTRACT,
    )
    _logger.info(
        'accuracy with the inherited weights on the %s images that train alpha: %.2f %%', f'{accuracy.images:,}',
        accuracy.top1,
    )
    return accuracy


def saved_accuracy(folder: Path, arch: Arch) -> Accuracy | None:
    """What `write_result` returned, if all files that it wrote for this architecture are there; else None."""
    model = folder / EXTRACT
    files = [folder / 'history.jsonl', folder / 'distribution.safetensors', model / CONFIG_FILE, model / WEIGHTS_FILE]
    if not all(file.exists() for file in files):
        return None
    try:
        result = json.loads((folder / RESULT).read_text(encoding='utf-8'))
        same = result['arch'] == str(arch) == (folder / 'arch.txt').read_text(encoding='utf-8').strip()
        return Accuracy(float(result['supernet_top1']), int(result['supernet_top1_images'])) if same else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
