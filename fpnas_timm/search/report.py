"""What a search shows and writes while it runs and when it is done."""
import json
import logging
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..arch.cost import cost
from ..draw.search import draw_search
from ..errors import RunError
from ..runs.checkpoints import save_checkpoint
from ..runs.files import write_jsonl, write_text
from ..runs.tracking import Trackers
from ..spaces.decode import InfeasibleError
from ..weights.folder import export_model
from .evaluator import SuperNetEvaluator
from .folder import CHECKPOINT
from .loop import Search

__all__ = ['Report', 'write_result']

_logger = logging.getLogger('search')



class Report:
    """What a user sees and keeps while the search goes on; in the first process."""

    def __init__(self, args: Namespace, folder: Path, steps_per_epoch: int) -> None:
        self.folder = folder
        self.interval = args.log_interval
        self.steps = steps_per_epoch
        wandb = dict(
            project=args.wandb_project, tags=args.wandb_tags, resume_id=args.wandb_resume_id, config=vars(args)
        )
        self.trackers = Trackers(folder, args.log_tensorboard, wandb if args.log_wandb else None)
        self.shows_bar = sys.stderr.isatty()
        self.bar: tqdm | None = None

    def step(self, search: Search, figures: dict[str, float]) -> None:
        """After every step: the progress bar, or now and then a line."""
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
        """After every epoch: a line, the checkpoint, and then what can be made again from it."""
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
        """Write what is left."""
        if self.bar is not None:
            self.bar.close()
        self.trackers.close()


def write_result(
        args: Namespace, folder: Path, search: Search, names: Sequence[str], data_config: dict[str, Any]
) -> None:
    """Write the result: `arch.txt`, the extracted model and the pictures. The string is the last line printed.

    Raises:
        RunError: the learned distribution excludes every architecture within the budget, or the disk is full.
    """
    assert isinstance(search.evaluator, SuperNetEvaluator)
    evaluator = search.evaluator
    try:
        choices = search.result()
    except InfeasibleError as e:
        raise RunError(str(e)) from None
    arch = search.space.to_arch(choices)
    mode = search.distribution.most_probable()
    write_jsonl(folder / 'history.jsonl', search.history)
    search.distribution.save(folder / 'distribution.safetensors')
    spent = cost(arch, **evaluator.cost_kwargs)
    figures = {
        'macs': spent.macs,
        'params': spent.params,
        'target_macs': args.target_macs,
        'log_prob': float(search.distribution.log_prob([choices]).detach()),
        'entropy': float(search.distribution.entropy().detach()),
        'most_probable': search.describe(mode),
        'most_probable_macs': evaluator.cost(mode),
        'samples': search.num_samples,
        'seconds': sum(row['seconds'] for row in search.history),
    }
    write_text(folder / 'result.json', json.dumps({'arch': str(arch), **figures}, indent=1) + '\n')
    write_text(folder / 'arch.txt', f'{arch}\n')
    model = evaluator.net.extract(arch, evaluator.calibration_batches(args.calibration_batches))
    note = {'weights': 'inherited from the supernet, not trained on their own', 'space': search.space.name, **figures}
    export_model(model.cpu(), folder / 'extract', data_config, names, {'search': note})
    try:
        draw_search(search.history, arch, folder, search.space.groups, args.target_macs)
    except ImportError:
        _logger.info("no pictures: pip install 'fpnas-timm[draw]'")
    _logger.info(
        '%s multiply-adds, %s parameters; %s architectures sampled for alpha in %.0f s; model: local-dir:%s',
        f'{spent.macs:,}', f'{spent.params:,}', f'{search.num_samples:,}', figures['seconds'], folder / 'extract',
    )
    print(arch, flush=True)
