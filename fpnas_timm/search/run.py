"""A search on images, from its options to the files it leaves."""
import contextlib
import json
import logging
import signal
from argparse import Namespace
from pathlib import Path

import torch
import torch.distributed as dist
import yaml
from timm.utils import is_primary, random_seed, setup_default_logging

from ..errors import RunError, UsageError
from ..runs.checkpoints import load_checkpoint, previous, save_checkpoint
from ..runs.device import start_device
from ..runs.files import write_text
from ..runs.processes import SharedStop, on_primary, stop_on_signal
from .folder import ARGS_FILE, CHECKPOINT, RECORD, check_same, fingerprint_of, lock_folder
from .loop import Search
from .report import Report, write_result
from .setup import check_target, create_evaluator, data_config_of, open_halves, open_space, search_config

__all__ = ['run_search']

_logger = logging.getLogger('search')



def run_search(args: Namespace) -> int:
    """Search as the options say and write the result into `args.output`.

    Raises:
        UsageError: options, data or budget do not fit; nothing has been started.
        RunError: an image, a loss or the disk went wrong on the way; the last checkpoint is kept.
    """
    setup_default_logging()
    settings = {k: v for k, v in vars(args).items() if k not in ('resume', 'config')}
    process = start_device(args.device)
    device = process.device
    vars(args).update(world_size=process.world_size, rank=process.rank, local_rank=process.local_rank)
    torch.backends.cudnn.benchmark = False  # every sampled architecture has other shapes: it would tune for ever
    random_seed(args.seed, 0)  # the same on every process: all start from the same weights
    folder, primary = Path(args.output), is_primary(args)
    space, config = open_space(args), search_config(args)
    dataset, halves, names = open_halves(args)
    cost_kwargs = {'num_classes': args.target_num_classes or len(halves.classes), 'in_chans': args.in_chans}
    check_target(space, config, cost_kwargs)
    try:
        evaluator = create_evaluator(args, space, dataset, halves, device)
    except (AssertionError, KeyError, RuntimeError, TypeError, ValueError) as e:  # names of timm's that do not exist
        raise UsageError(f'an option is not what timm takes: {e or type(e).__name__}') from None
    search = Search(space, evaluator, config, args.seed)
    record = {'processes': args.world_size, 'space': space.to_dict(), 'images': fingerprint_of(dataset), **vars(halves)}
    with contextlib.ExitStack() as stack:
        request = stack.enter_context(stop_on_signal())

        def begin() -> Report:
            stack.enter_context(lock_folder(folder, bool(args.resume)))
            return Report(args, folder, evaluator.steps_per_epoch)

        report: Report | None = on_primary(args, begin)
        if args.resume:
            check_same(folder / RECORD, record)
            if any((folder / name).exists() for name in (CHECKPOINT, previous(CHECKPOINT).name)):
                search.load_state_dict(load_checkpoint(folder / CHECKPOINT))
                if primary:
                    _logger.info('going on at epoch %d, step %d', search.epoch + 1, search.step + 1)
        elif primary:
            write_text(folder / 'space.json', json.dumps(space.to_dict(), indent=1) + '\n')
            write_text(folder / RECORD, json.dumps({**record, 'class_names': names}) + '\n')
            write_text(folder / ARGS_FILE, yaml.safe_dump(settings))  # last: with it the folder is a search
        stop = SharedStop(request, device) if args.world_size > 1 else request
        try:
            finished = search.run(stop, report.step if report else None, report.epoch if report else None)
        except RuntimeError as e:
            if request and 'DataLoader worker' in str(e):  # the signal went to each process on its own
                raise RunError(f'stopped with its workers: --resume {folder} goes on from the last epoch') from None
            raise
        finally:
            if report:
                report.close()
        if not finished and primary:
            save_checkpoint(folder / CHECKPOINT, search.state_dict())
            _logger.warning('stopped in epoch %d; go on with --resume %s', search.epoch + 1, folder)
        if finished and primary:
            write_result(args, folder, search, names, data_config_of(args, space))
    if args.world_size > 1:
        dist.barrier()
        dist.destroy_process_group()
    return 0 if finished else 128 + int(request.signal or signal.SIGTERM)
