"""`search.py`: a search on images, from the options to the search; `outputs.py` writes what it leaves."""
import contextlib
import json
import logging
import math
import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import yaml
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, create_transform
from timm.data.loader import adapt_to_chs
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import is_primary, random_seed, setup_default_logging
from torch import nn
from torch.utils.data import DataLoader, Dataset

from ..data import class_indices, open_dataset
from ..device import low_precision, start_device
from ..errors import RunError, UsageError, exit_status
from ..files import load_checkpoint, previous, save_checkpoint, write_text
from ..interrupt import StopRequest, stop_on_signal
from ..spaces import MBConvSpace, get_space
from ..train_data import class_names
from .data import Half, Halves, StepBatches, own_session, pick_classes, stratified_halves
from .decode import InfeasibleError, decode
from .distribution import Factorized
from .evaluator import SuperNetEvaluator
from .loop import Search, SearchConfig
from .options import ARGS_FILE, parse_search_args
from .outputs import CHECKPOINT, RECORD, Report, check_same, fingerprint_of, hold, write_result
from .supernet import SuperNet

__all__ = ['main', 'run_search']

_logger = logging.getLogger('search')


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0, 1 if the run failed, 2 for a wrong option, 128 + n if signal n stopped it."""
    return exit_status(lambda: run_search(parse_search_args(argv)))


def run_search(args: Namespace) -> int:
    """Search as the options say and write the result into `args.output`.

    Raises:
        UsageError: options, data or budget do not fit; nothing has been started.
        RunError: an image, a loss or the disk went wrong on the way; the last checkpoint is kept.
    """
    setup_default_logging()
    settings = {k: v for k, v in vars(args).items() if k not in ('resume', 'config')}
    device = start_device(args)
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
            stack.enter_context(hold(folder, bool(args.resume)))
            return Report(args, folder, evaluator.steps_per_epoch)

        report: Report | None = together(args, begin)
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


# ---------------------------------------------------------------- what is searched


def open_space(args: Namespace) -> MBConvSpace:
    """The space at the size of the images; `UsageError` where it does not exist or is too deep for them."""
    try:
        space = get_space(args.space)
        if args.img_size is not None:
            space = space.with_img_size(args.img_size)
            space.to_arch(tuple((0,) * len(group) for group in space.groups))
    except (OSError, ValueError) as e:
        raise UsageError(f'--space {args.space}: {e}') from None
    return space


def search_config(args: Namespace) -> SearchConfig:
    """The loop's settings; `UsageError` where one is out of range."""
    return SearchConfig(
        epochs=args.epochs,
        warmup_epochs=args.warmup_epochs,
        joint_epoch=args.joint_epoch,
        lam=args.lam,
        num_samples=args.num_samples,
        weight_samples=args.weight_samples,
        beta=args.beta,
        target=args.target_macs,
        tolerance=args.tolerance,
        cost_form=args.cost_form,
        baseline=not args.no_baseline,
        temperature=args.temperature,
        alpha_lr=args.alpha_lr,
    )


def check_target(space: MBConvSpace, config: SearchConfig, cost_kwargs: dict[str, int]) -> None:
    """Raise UsageError if no architecture of the space has the multiply-adds asked for."""
    if config.target is None:
        return
    window = (math.ceil(config.target * (1 - config.tolerance)), math.floor(config.target))
    if window[0] > window[1]:
        raise UsageError(
            f'--target-macs {config.target:g} with --tolerance {config.tolerance:g}: no whole number lies between; '
            'write 66M for 66 millions'
        )
    try:
        decode(space, Factorized(space).log_probs(), macs=window, **cost_kwargs)
    except InfeasibleError as e:
        raise UsageError(f'--target-macs {config.target:,.0f}: {e}') from None


def open_halves(args: Namespace) -> tuple[Dataset, Halves, list[str]]:
    """The data, its two halves, and the names of the classes that are searched on.

    Raises:
        UsageError: data that cannot be opened, too few classes or images, another number of classes than asked for.
    """
    if args.dataset_download and args.world_size > 1 and args.rank:
        dist.barrier()  # the first process downloads, the others find it there
    dataset = open_dataset(
        args.dataset, args.data_dir, args.train_split, download=args.dataset_download, class_map=args.class_map,
        input_img_mode='RGB' if args.in_chans == 3 else 'L',
    )
    if args.dataset_download and args.world_size > 1 and not args.rank:
        dist.barrier()
    targets = class_indices(dataset)
    found = len(set(targets))
    if args.num_classes not in (None, found):
        raise UsageError(f'--num-classes {args.num_classes}: the data has {found} classes')
    if found < 2:
        raise UsageError(f'{args.data_dir}: all images are of one class: expected a folder for each class')
    classes = pick_classes(targets, args.search_classes, args.class_seed)
    halves = stratified_halves(targets, classes, args.seed)
    step = args.batch_size * args.grad_accum_steps * args.world_size
    if min(len(halves.train), len(halves.val)) < step:
        raise UsageError(
            f'halves of {len(halves.train)} and {len(halves.val)} images are smaller than the {step} of one step: '
            'use a smaller --batch-size'
        )
    names = class_names(dataset)
    return dataset, halves, [names[c] for c in classes] if names else []


def create_evaluator(
        args: Namespace, space: MBConvSpace, dataset: Dataset, halves: Halves, device: torch.device
) -> SuperNetEvaluator:
    """The supernet with its loaders, optimizer and schedule, from timm's parts."""
    net = SuperNet(space, len(halves.classes), args.in_chans).to(device)
    if args.channels_last:
        net = net.to(memory_format=torch.channels_last)
    loaders = [
        create_half_loader(args, space.img_size, dataset, indices, halves.classes, is_training)
        for indices, is_training in ((halves.train, True), (halves.val, False))
    ]
    optimizer = create_optimizer_v2(
        net, opt=args.opt, lr=args.lr, weight_decay=args.weight_decay, momentum=args.momentum
    )
    steps = min(loader.batch_sampler.steps for loader in loaders)
    scheduler, _ = create_scheduler_v2(
        optimizer, sched=args.sched, num_epochs=args.epochs, warmup_epochs=args.warmup_lr_epochs,
        warmup_lr=args.warmup_lr, min_lr=args.min_lr, step_on_epochs=False, updates_per_epoch=steps,
    )
    autocast, _ = low_precision(args, device)
    return SuperNetEvaluator(
        net,
        *loaders,
        optimizer,
        scheduler,
        LabelSmoothingCrossEntropy(args.smoothing) if args.smoothing else nn.CrossEntropyLoss(),
        autocast,
        torch.amp.GradScaler(device.type, enabled=args.amp and args.amp_dtype == 'float16'),
        args.clip_grad or None,
        args.grad_accum_steps,
        args.target_num_classes,
        args.world_size,
        torch.channels_last if args.channels_last else torch.contiguous_format,
    )


def create_half_loader(
        args: Namespace,
        img_size: int,
        dataset: Dataset,
        indices: Sequence[int],
        classes: Sequence[int],
        is_training: bool,
) -> DataLoader:
    """Batches of one half, augmented for the weights and plain for alpha.

    Not by timm's `create_loader`: it shuffles and seeds by what was drawn before. Transforms and options are timm's.
    """
    mean, std = pixel_statistics(args)
    transform = create_transform(
        (args.in_chans, img_size, img_size),
        is_training=is_training,
        no_aug=args.no_aug,
        scale=args.scale,
        ratio=args.ratio,
        hflip=args.hflip,
        vflip=args.vflip,
        color_jitter=args.color_jitter if args.in_chans == 3 else 0.0,
        auto_augment=args.aa,
        interpolation=args.train_interpolation if is_training and not args.no_aug else args.interpolation,
        mean=mean,
        std=std,
        crop_pct=args.crop_pct,
        **({'re_prob': args.reprob, 're_mode': args.remode} if is_training and not args.no_aug else {}),
    )
    half = Half(dataset, indices, classes, transform, 'RGB' if args.in_chans == 3 else 'L', args.seed)
    batches = StepBatches(
        len(half), args.batch_size, (args.seed, int(is_training)), args.grad_accum_steps, args.rank, args.world_size
    )
    return DataLoader(
        half,
        batch_sampler=batches,
        num_workers=args.workers,
        pin_memory=args.pin_mem,
        worker_init_fn=own_session,
        generator=torch.Generator(),  # seeds the workers, which draw nothing: keeps torch's own generator out of it
    )


def pixel_statistics(args: Namespace) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the pixels, one a channel."""
    given = (args.mean or IMAGENET_DEFAULT_MEAN, args.std or IMAGENET_DEFAULT_STD)
    return tuple(tuple(adapt_to_chs(x if len(x) > 1 else x[0], args.in_chans)) for x in given)


def data_config_of(args: Namespace, space: MBConvSpace) -> dict[str, Any]:
    """What timm needs to know about the images of the extracted model."""
    mean, std = pixel_statistics(args)
    return {
        'input_size': (args.in_chans, space.img_size, space.img_size),
        'interpolation': args.interpolation,
        'mean': mean,
        'std': std,
        'crop_pct': args.crop_pct,
    }


# ---------------------------------------------------------------- several processes


def together(args: Namespace, start: Callable[[], Any]) -> Any:
    """What `start` returns in the first process, None in the others; its error for the user ends them all."""
    outcome, found = [None], None
    if is_primary(args):
        try:
            found = start()
        except UsageError as e:
            outcome = [str(e)]
    if args.world_size > 1:
        dist.broadcast_object_list(outcome)
    if outcome[0]:
        raise UsageError(outcome[0])
    return found


class SharedStop:
    """A request to stop that reached any process stops all of them after the same step."""

    def __init__(self, request: StopRequest, device: torch.device) -> None:
        self.request = request
        self.device = device

    def __bool__(self) -> bool:
        flag = torch.tensor([int(bool(self.request))], device=self.device)
        dist.all_reduce(flag, dist.ReduceOp.MAX)
        return bool(flag.item())


if __name__ == '__main__':
    sys.exit(main())
