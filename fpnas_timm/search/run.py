"""A search on images, from its options to its output files: for the command line and for Python."""
import contextlib
import logging
import signal
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch.distributed as dist
import yaml
from torch.utils.data import Dataset

from ..errors import RunError, UsageError
from ..runs.files import write_text
from ..runs.parser import pythons_words
from ..runs.processes import SharedStop, explain_lost_workers, from_primary, on_primary, stop_on_signal
from ..runs.progress import one_area
from ..spaces import MBConvSpace
from .dataset import check_images
from .folder import HALVES, WORDS, check_same, check_stamp, lock_folder, stamp, write_start
from .joined import join_images
from .names import ARGS_FILE, LATENCY_FILE, SPACE_FILE
from .options import build_parser, search_options
from .report import Report
from .result import SearchResult, finish
from .saved import changed_settings, has_checkpoint
from .setup import Setup, set_up
from .state import load_state, read_checkpoint

__all__ = ['SearchResult', 'given_images', 'run_search', 'search']

_logger = logging.getLogger('search')


def search(
        space: str | Path | MBConvSpace | None = None,
        dataset: Dataset | Sequence[Any] | str | None = None,
        *,
        alpha_dataset: Dataset | Sequence[Any] | None = None,
        data_dir: str | Path | None = None,
        target_macs: float | str | None = None,
        epochs: int | None = None,
        output: str | Path | None = None,
        resume: str | Path | None = None,
        preset: str | None = None,
        device: str | None = None,
        **options: Any,
) -> SearchResult:
    """Search a network for your images and your budget of multiply-adds.

    Every option of `fpnas search` is a keyword argument with underscores: `batch_size=32` is `--batch-size 32`. A
    parameter that is None takes the preset's value if there is one, else the option's default.

    Ctrl-C finishes the current step, saves and raises KeyboardInterrupt; `search(resume=output)` continues. Seeds the
    global random generators. Logs to the logger 'search' (to see it: `timm.utils.setup_default_logging()`).

    Args:
        space: name of one of the paper's spaces ('fpnas_s1pp', ..), path of a .json file, or an `MBConvSpace`.
        dataset: a torch dataset (class names: its `classes`) or list of (PIL image, class); or timm's TYPE/NAME.
        alpha_dataset: images that train alpha, for a torch dataset or list, all of which then trains the weights.
            The classes are matched by name, or by number if one of the two has no class names.
        data_dir: folder with `train/<class>/*.png`, instead of a dataset.
        target_macs: budget of multiply-adds: 3e6 or '3M' (default: none).
        epochs: total number of epochs.
        output: folder to write to; must not contain a search yet, unless you resume.
        resume: folder of a search to continue (a torch dataset must be passed again); 'auto': that of `output`, if any.
        preset: name of a space whose settings in the paper are used.
        device: 'auto' (a GPU if there is one), 'cpu' or 'cuda'.
        options: all others, such as `target_params`, `target_latency` (with `latency_table`), `warmup_epochs`,
            `joint_epoch`, `lam`, `img_size`, `seed`.

    Returns:
        The architecture found, the model with inherited weights, the learned distribution and the history.

    Raises:
        UsageError: an unknown option (the message suggests a similar one), or invalid options, data or budget; the
            search has not started.
        RunError: an unreadable image, a loss that is not finite or a full disk; the last checkpoint is kept.
        KeyboardInterrupt: interrupted; the state is saved.

    Example: sixteen images of two colours, a space of one group, at most 25,000 multiply-adds.

    >>> from PIL import Image
    >>> from fpnas_timm.arch import Conv
    >>> from fpnas_timm.spaces import MBConvSpace, Row
    >>> images = [(Image.new('RGB', (16, 16), color), label) for label, color in enumerate(['red', 'blue'])] * 8
    >>> row = Row(expansion=(1, 2), channels=(4, 8), repeat=1, stride=2, kernel=(0, 3), act=('re', 'sw'), splits=(0, 2))
    >>> space = MBConvSpace.from_rows('tiny', Conv(3, 2, 8, 'sw'), [row], Conv(1, 1, 32, 'sw'), img_size=16)
    >>> result = search(space, images, target_macs=25e3, tolerance=0.5, epochs=2, warmup_epochs=1, warmup_lr_epochs=0,
    ...                 batch_size=4, workers=0, output='out')
    >>> 12_500 <= result.macs <= 25_000, len(result.history), result.model().num_classes
    (True, 2, 2)
    """
    named = dict(
        data_dir=data_dir, target_macs=target_macs, epochs=epochs, output=output,
        resume=resume, preset=preset, device=device, space=None if isinstance(space, MBConvSpace) else space,
        dataset=dataset if isinstance(dataset, str) else None,
    )
    if dataset is not None and data_dir is not None and not isinstance(dataset, str):
        raise UsageError('search(): give either a dataset or data_dir, not both')
    with pythons_words(build_parser()):
        args = search_options({**{k: v for k, v in named.items() if v is not None}, **options})
        own_space = space if isinstance(space, MBConvSpace) else None
        if own_space is not None and not args.resume:
            args.space = str((Path(args.output) / SPACE_FILE).resolve())  # where `resume` finds it
        images = given_images(dataset, alpha_dataset)
        setup = set_up(args, own_space, images)
        result, stopped = _run(setup)
    if result is not None:
        return result
    again = f'search(resume={str(setup.folder)!r}{"" if images is None else ", dataset=.."})'
    message = f'stopped {_place(setup)}; continue with {again}'
    raise KeyboardInterrupt(message) if stopped == signal.SIGINT else RunError(message)


def given_images(dataset: Any, alpha_dataset: Any) -> Dataset | None:
    """The images that a Python caller passes; None if the options name them."""
    images = None if dataset is None or isinstance(dataset, str) else check_images(dataset)
    if alpha_dataset is None:
        return images
    if images is None:
        raise UsageError('search(): alpha_dataset goes with a dataset; a split of data_dir is alpha_split=NAME')
    return join_images(images, check_images(alpha_dataset), 'alpha_dataset')


def run_search(args: Namespace) -> int:
    """Run a search from the command line; the last line printed is the architecture string.

    Args:
        args: from `parse_search_args`.

    Returns:
        Exit status: 0, or 128 + n if signal n stopped it.

    Raises:
        UsageError: invalid options, data or budget; the search has not started.
        RunError: an unreadable image, a loss that is not finite or a full disk; the last checkpoint is kept.
    """
    setup = set_up(args)
    result, stopped = _run(setup)
    if result is None:
        return 128 + int(stopped or signal.SIGTERM)
    if setup.rank == 0:
        print(result.arch, flush=True)
    return 0


def _run(setup: Setup) -> tuple[SearchResult | None, signal.Signals | None]:
    """Start or resume the search, run it to the end and write the result.

    Returns:
        The result, or None if a signal stopped the search; and the signal that reached this process, if any.
    """
    search, folder = setup.search, setup.folder
    _check_processes(setup)
    with contextlib.ExitStack() as stack:
        request, area = stack.enter_context(stop_on_signal()), stack.enter_context(one_area())
        report = on_primary(lambda: _begin(setup, stack), setup.rank, setup.world_size)
        if setup.resume:
            _restore(setup)
        stack.callback(setup.evaluator.close)
        stack.enter_context(explain_lost_workers(f'continue with --resume {folder}'))
        try:
            stop = SharedStop(request, setup.device) if setup.world_size > 1 else request
            finished = search.run(stop, report.step if report else None, report.epoch if report else None)
        finally:
            if report is not None:
                report.close()
        result = finish(setup, stop) if finished else None
        if result is not None:
            area.line(f'finished: {result.macs:,} multiply-adds, {result.supernet_top1:.2f} % of '
                      f'{result.supernet_top1_images:,} images with inherited weights', last=True)
        if report is not None and result is None:
            if not finished:
                report.save(search)
            _logger.warning('stopped %s; continue with --resume %s', _place(setup), folder)
    if setup.world_size > 1:
        dist.barrier()
        dist.destroy_process_group()
    return result, request.signal


def _place(setup: Setup) -> str:
    """Where a search is that was stopped."""
    search = setup.search
    return f'in epoch {search.epoch + 1}' if search.epoch < search.num_epochs else 'in the final'


def _begin(setup: Setup, stack: contextlib.ExitStack) -> Report:
    """On rank 0: lock the folder, check that its search is this one, or write the files of a new one."""
    folder = setup.folder
    stack.enter_context(lock_folder(folder, setup.resume, setup.anew))
    if setup.resume:
        check_same(folder, setup.record, setup.settings)
    else:
        if setup.latency is not None:
            setup.latency.save(folder / LATENCY_FILE)
        write_start(folder, setup.record, setup.settings)
    return Report(folder, setup.open_trackers(), setup.log_interval, stamp(setup.record, setup.settings))


def _restore(setup: Setup) -> None:
    """Restore the last checkpoint, if there is one, from rank 0, and note where the images are now."""
    search, folder = setup.search, setup.folder

    def load() -> dict[str, Any] | None:
        state = None
        if has_checkpoint(folder):
            state = read_checkpoint(folder)
            check_stamp(folder, state, setup.record, setup.settings)
        write_text(folder / ARGS_FILE, yaml.safe_dump(setup.settings))  # with the places as they are now
        return state

    state = from_primary(load, setup.rank, setup.world_size)
    if state is not None:
        load_state(search, state, folder)
    if setup.rank == 0 and search.epoch < search.num_epochs:
        _logger.info('continuing at epoch %d, step %d', search.epoch + 1, search.step + 1)


def _check_processes(setup: Setup) -> None:
    """Raise UsageError on all processes unless they have read the same settings, space and images."""
    if setup.world_size == 1:
        return
    own = {
        'folder': 'a search to continue' if setup.resume else 'no search to continue',
        **stamp(setup.record, setup.settings),
    }
    everyone: list[dict[str, Any]] = [{} for _ in range(setup.world_size)]
    dist.all_gather_object(everyone, own)
    first = everyone[0]
    for rank, other in enumerate(everyone):
        if other['folder'] != first['folder']:
            raise UsageError(
                f'--output {setup.folder}: the first process sees {first["folder"]} there, process {rank} '
                f'{other["folder"]}: put the folder where all machines see it, or copy it to each of them'
            )
        changed = changed_settings(first['settings'], other['settings'], {})
        changed += [f'its {WORDS.get(k, HALVES)} are others' for k in first['record'] if
                    first['record'][k] != other['record'].get(k)]
        if changed:
            raise UsageError(
                f'process {rank} does not have the settings and data of the first process ({"; ".join(changed)}): use '
                'the same on all machines'
            )
