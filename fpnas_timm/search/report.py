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
from ..draw.candidates import draw_candidates
from ..draw.search import draw_search
from ..runs.checkpoints import save_checkpoint
from ..runs.files import write_text
from ..runs.tracking import Trackers
from ..spaces import Choices, MBConvSpace
from ..weights.folder import CONFIG_FILE, WEIGHTS_FILE, export_model
from .candidates import CandidateSearch
from .evaluator import Accuracy, SuperNetEvaluator
from .folder import CHECKPOINT, EXTRACT
from .lines import epoch_text, result_figures, state_files, step_texts, write_state
from .names import RESULT
from .page import write_page
from .strategies import AnySearch

__all__ = ['Report', 'saved_accuracy', 'write_result']

_logger = logging.getLogger('search')


class Report:
    """Progress, log lines, checkpoints and history while the search runs; rank 0 only."""

    def __init__(self, folder: Path, trackers: Trackers, interval: int, stamp: Mapping[str, Any]) -> None:
        """
        Args:
            folder: output folder for checkpoints and history.
            trackers: TensorBoard and Weights & Biases, which also receive the history.
            interval: steps between log lines, if there is no progress bar.
            stamp: what each checkpoint says about its search, see `folder.stamp`.
        """
        self.folder = folder
        self.trackers = trackers
        self.interval = interval
        self.stamp = dict(stamp)
        self.shows_bar = sys.stderr.isatty()
        self.bar: tqdm | None = None
        self.seen: dict[int, int] = {}  # epoch -> step

    def step(self, search: AnySearch, figures: dict[str, float]) -> None:
        """After every step: update the progress bar or, every `interval` steps, log a line."""
        text = step_texts(figures)
        before = self.seen.get(search.epoch, search.step - 1)  # a call may count as several steps
        self.seen = {search.epoch: search.step}
        if self.shows_bar:
            if self.bar is None:
                name = f'epoch {search.epoch + 1}/{search.num_epochs}'
                self.bar = tqdm(total=search.num_steps, initial=before, desc=name, leave=False)
            self.bar.set_postfix(text)
            self.bar.update(search.step - before)
        elif search.step // self.interval > before // self.interval:
            _logger.info(
                'epoch %d step %d/%d  %s', search.epoch + 1, search.step, search.num_steps,
                '  '.join(f'{k} {v}' for k, v in text.items()),
            )

    def save(self, search: AnySearch) -> None:
        """Save the state of the search in its checkpoint."""
        save_checkpoint(self.folder / CHECKPOINT, {**search.state_dict(), **self.stamp})

    def epoch(self, search: AnySearch) -> None:
        """After every epoch: log a line, save the checkpoint, then write the files that can be restored from it."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
        row = search.history[-1]
        self.save(search)
        write_state(self.folder, search)
        write_page(self.folder, search.history)
        self.trackers.log(row)
        _logger.info('epoch %d/%d (%s)  %s', row['epoch'] + 1, search.num_epochs, row['phase'], epoch_text(row))

    def close(self) -> None:
        """Flush and close."""
        if self.bar is not None:
            self.bar.close()
        self.trackers.close()


def write_result(
        folder: Path,
        search: AnySearch,
        choices: Choices,
        space: MBConvSpace,
        evaluator: SuperNetEvaluator,
        class_names: Sequence[str],
        data_config: dict[str, Any],
        calibration_batches: int,
        init_from: Mapping[str, str] | None = None,
) -> Accuracy:
    """Write the result of a finished search: `arch.txt`, `result.json`, the extracted model, pictures and report.

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
    write_state(folder, search)
    spent = evaluator.full_cost(arch)
    model = evaluator.scored.extract(arch, evaluator.calibration_batches(calibration_batches))
    accuracy = evaluator.accuracy(model)
    figures = {
        'macs': spent.macs,
        'params': spent.params,
        'target_macs': target,
        'supernet_top1': round(accuracy.top1, 4),
        'supernet_top1_images': accuracy.images,
        **result_figures(search, choices),
        'seconds': sum(row['seconds'] for row in search.history),
        'date': f'{date.today()}',
    }
    write_text(folder / 'arch.txt', f'{arch}\n')
    note = {'weights': 'inherited from the supernet, not trained on their own', 'space': space.name, **figures}
    training = {'search': note, **({'init_from': dict(init_from)} if init_from else {})}
    export_model(model.cpu(), folder / EXTRACT, data_config, class_names, training)
    try:
        if isinstance(search, CandidateSearch):
            draw_candidates(
                search.history, [(evaluator.cost(a), score) for a, score in search.scored], arch, folder, target
            )
        else:
            draw_search(search.history, arch, folder, space.groups, target)
    except ImportError:
        _logger.info("no pictures: pip install 'fpnas-timm[draw]'")
    result = {'arch': str(arch), 'space': space.name, **figures}
    write_page(folder, search.history, result)
    write_text(folder / RESULT, json.dumps(result, indent=1) + '\n')  # last: see saved_accuracy
    _logger.info(
        '%s multiply-adds, %s parameters; %s architectures %s in %.0f s; model: local-dir:%s',
        f'{spent.macs:,}', f'{spent.params:,}', f'{search.num_samples:,}',
        'sampled for alpha' if search.distribution is not None else 'scored', figures['seconds'], folder / EXTRACT,
    )
    _logger.info(
        'accuracy with the inherited weights on the %s images that %s: %.2f %%', f'{accuracy.images:,}',
        'train alpha' if search.distribution is not None else 'candidates are scored on', accuracy.top1,
    )
    return accuracy


def saved_accuracy(folder: Path, search: AnySearch, arch: Arch) -> Accuracy | None:
    """What `write_result` returned, if all files that it wrote for this architecture are there; else None."""
    model = folder / EXTRACT
    files = [*(folder / name for name in state_files(search)), model / CONFIG_FILE, model / WEIGHTS_FILE]
    if not all(file.exists() for file in files):
        return None
    try:
        result = json.loads((folder / RESULT).read_text(encoding='utf-8'))
        same = result['arch'] == str(arch) == (folder / 'arch.txt').read_text(encoding='utf-8').strip()
        return Accuracy(float(result['supernet_top1']), int(result['supernet_top1_images'])) if same else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
