"""Log lines, checkpoints and history during a search, and the files of its result."""
import json
import logging
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arch import Arch
from ..device.latency_table import COST as LATENCY
from ..draw.candidates import course_of_candidates, draw_candidates
from ..draw.finalists import draw_finalists
from ..draw.search import course, draw_search
from ..model.network import FPNAS
from ..runs.checkpoints import save_checkpoint
from ..runs.files import write_text
from ..runs.progress import current_area, open_bar, shows_progress
from ..runs.tracking import Trackers
from ..weights.folder import CONFIG_FILE, WEIGHTS_FILE, export_model
from .candidates import CandidateSearch
from .finalists import Finals
from .folder import CHECKPOINT, EXTRACT
from .latency import latency_figures, latency_text
from .lines import epoch_text, result_figures, state_files, step_texts, write_state
from .names import RESULT
from .page import write_page
from .strategies import AnySearch

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .setup import Setup

__all__ = ['Report', 'is_written', 'result_without_final', 'write_result']

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
        self.shows_bar = shows_progress()
        self.bar: Any = None
        self.seen: dict[int, int] = {}  # epoch -> step

    def step(self, search: AnySearch, figures: dict[str, float]) -> None:
        """After every step: update the progress bar or, every `interval` steps, log a line."""
        text = step_texts(figures)
        before = self.seen.get(search.epoch, search.step - 1)  # a call may count as several steps
        self.seen = {search.epoch: search.step}
        if self.shows_bar:
            if self.bar is None:
                name = f'epoch {search.epoch + 1}/{search.num_epochs}'
                self.bar = open_bar(name=name, total=search.num_steps, initial=before)
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
        text = f'epoch {row["epoch"] + 1}/{search.num_epochs} ({row["phase"]})  {epoch_text(row)}'
        _logger.info('%s', text)
        last, area = search.epoch == search.num_epochs, current_area()
        area.picture(lambda: _course(search), last)
        area.line(text, last=True)

    def close(self) -> None:
        """Flush and close."""
        if self.bar is not None:
            self.bar.close()
        self.trackers.close()


def _course(search: AnySearch) -> 'Figure':
    """The course of a search so far."""
    target = search.config.target
    if isinstance(search, CandidateSearch):
        costs = [(search.evaluator.cost(arch), score) for arch, score in search.scored]
        return course_of_candidates(search.history, costs, target)
    return course(search.history, target)


def write_result(setup: 'Setup', final: Finals, model: FPNAS) -> None:
    """Write the result of a finished search: `arch.txt`, `result.json`, the extracted model, pictures and report.

    Args:
        setup: the finished search.
        final: its final, at the end.
        model: the network of the best finalist with its weights.

    Raises:
        RunError: the files cannot be written.
    """
    folder, search, space, evaluator = setup.folder, setup.search, setup.space, setup.evaluator
    target, finalists = search.config.target, final.finalists()
    best, rows = finalists[0], [finalist.to_dict() for finalist in finalists]
    write_state(folder, search)
    latency = latency_figures(setup.latency, best.arch, search.config.targets.get(LATENCY))
    figures = {
        'macs': best.macs,
        'params': best.params,
        'target_macs': target,
        'target_params': search.config.targets.get('params'),
        **latency,
        'supernet_top1': round(best.inherited_top1, 4),
        'supernet_top1_images': best.images,
        **result_figures(search, evaluator, final.candidates[final.ranked()[0]].choices),
        'seconds': sum(row['seconds'] for row in search.history),
        'final_seconds': final.seconds,
        'date': f'{date.today()}',
    }
    write_text(folder / 'arch.txt', f'{best.arch}\n')
    weights = 'inherited from the supernet, ' + (
        f'then trained on for {best.rounds * final.epochs} epochs' if best.rounds else 'not trained on their own'
    )
    init_from = setup.record.get('init_from')
    training = {
        'search': {'weights': weights, 'space': space.name, **figures},
        **({'init_from': dict(init_from)} if init_from else {}),
    }
    export_model(model.cpu(), folder / EXTRACT, setup.data_config, setup.class_names, training)
    try:
        if isinstance(search, CandidateSearch):
            costs = [(evaluator.cost(a), score) for a, score in search.scored]
            draw_candidates(search.history, costs, best.arch, folder, target)
        else:
            draw_search(search.history, best.arch, folder, space.groups, target)
        draw_finalists(rows, folder / 'finalists.png', target)
    except ImportError:
        _logger.info("no pictures: pip install 'fpnas-timm[draw]'")
    result = {'arch': str(best.arch), 'space': space.name, **figures, 'finalists': rows}
    write_page(folder, search.history, result)
    write_text(folder / RESULT, json.dumps(result, indent=1) + '\n')  # last: see is_written
    learns = search.distribution is not None
    _logger.info(
        '%s multiply-adds, %s parameters; %s architectures %s in %.0f s, final %.0f s; model: local-dir:%s',
        f'{best.macs:,}', f'{best.params:,}', f'{search.num_samples:,}',
        'sampled for alpha' if learns else 'scored', figures['seconds'], final.seconds, folder / EXTRACT,
    )
    if (text := latency_text(latency)) is not None:
        _logger.info(text)
    trained = f', with the trained weights of {EXTRACT}/ {best.top1:.2f} %' if best.rounds else ''
    _logger.info(
        'accuracy with the inherited weights on the %s images that %s: %.2f %%%s', f'{best.images:,}',
        'train alpha' if learns else 'candidates are scored on', best.inherited_top1, trained,
    )


def is_written(folder: Path, search: AnySearch, arch: Arch) -> bool:
    """Whether all files that `write_result` wrote for this architecture are there."""
    result = _written(folder, search)
    return result is not None and result['arch'] == str(arch)


def result_without_final(folder: Path, search: AnySearch) -> dict[str, Any] | None:
    """The complete result that an earlier version, which held no final, wrote in this folder; None if there is none."""
    result = _written(folder, search)
    return None if result is None or 'finalists' in result else result


def _written(folder: Path, search: AnySearch) -> dict[str, Any] | None:
    model = folder / EXTRACT
    files = [*(folder / name for name in state_files(search)), model / CONFIG_FILE, model / WEIGHTS_FILE]
    try:
        result = json.loads((folder / RESULT).read_text(encoding='utf-8'))
        same = result['arch'] == (folder / 'arch.txt').read_text(encoding='utf-8').strip()
        float(result['supernet_top1']), int(result['supernet_top1_images'])
        return result if same and all(file.exists() for file in files) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
