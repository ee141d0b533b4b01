"""Builds the parts of a search from its options: space, data, supernet, settings.

Only this module of the package reads the options (`args`); all others take plain arguments.
"""
import math
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, create_transform
from timm.data.loader import adapt_to_chs
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import random_seed
from torch import nn
from torch.utils.data import Dataset

from ..errors import UsageError, one_line
from ..model.supernet import SuperNet
from ..runs.datasets import class_indices, class_names, open_dataset
from ..runs.device import low_precision, start_device
from ..runs.tracking import Trackers
from ..spaces import MBConvSpace, get_space
from ..spaces.decode import InfeasibleError, decode
from .distribution import Factorized
from .evaluator import SuperNetEvaluator
from .folder import RECORD, fingerprint_of, saved_halves
from .halves import Half, HalfLoader, Halves, StepBatches, pick_classes, stratified_halves
from .loop import Search, SearchConfig

__all__ = ['Setup', 'set_up']


@dataclass(frozen=True)
class Setup:
    """A search that is ready to start, and its output settings.

    Attributes:
        space: the search space.
        evaluator: the evaluator, with the supernet.
        search: the search, in its initial state.
        folder: output folder.
        resume: whether to continue the search in that folder.
        settings: the options, as saved in `args.yaml`.
        record: number of processes, search space, data and halves; must be the same on resume.
        class_names: names of the classes searched on; empty if unknown.
        data_config: timm's data config of the extracted model (input size, mean, ..).
        calibration_batches: number of batches for the batch-norm statistics of the extracted model.
        log_interval: steps between log lines.
        open_trackers: opens TensorBoard and Weights & Biases; call it on rank 0.
        device: device of this process.
        rank: rank of this process.
        world_size: number of processes.
    """

    space: MBConvSpace
    evaluator: SuperNetEvaluator
    search: Search
    folder: Path
    resume: bool
    settings: dict[str, Any]
    record: dict[str, Any]
    class_names: list[str]
    data_config: dict[str, Any]
    calibration_batches: int
    log_interval: int
    open_trackers: Callable[[], Trackers]
    device: torch.device
    rank: int
    world_size: int


def set_up(args: Namespace, space: MBConvSpace | None = None, dataset: Dataset | None = None) -> Setup:
    """Build everything that a search needs from its options. Writes no files.

    Args:
        args: from `parse_search_args`.
        space: used instead of `args.space`, which names the file from which a resumed search reads the space.
        dataset: items (PIL image, class), used instead of the dataset that the options name.

    Raises:
        UsageError: invalid options, data or budget.
    """
    settings = {k: v for k, v in vars(args).items() if k not in ('resume', 'config')}
    process = start_device(args.device)
    device = process.device
    vars(args).update(rank=process.rank, world_size=process.world_size)
    torch.backends.cudnn.benchmark = False  # shapes change with every architecture: it would tune all the time
    random_seed(args.seed, 0)  # the same on every process: all start from the same weights
    space, config = open_space(args, space), search_config(args)
    dataset, halves, names = open_halves(args, dataset)
    check_target(space, config, args.target_num_classes or len(halves.classes), args.in_chans)
    try:
        evaluator = create_evaluator(args, space, dataset, halves, device)
    except (AssertionError, KeyError, RuntimeError, TypeError, ValueError) as e:  # e.g. unknown names
        raise UsageError(f'timm does not accept an option: {one_line(e)}') from None
    several = args.world_size > 1
    return Setup(
        space=space,
        evaluator=evaluator,
        search=Search(
            space, evaluator, config, args.seed, evaluator.decode, evaluator.check_in_sync if several else None
        ),
        folder=Path(args.output),
        resume=bool(args.resume),
        settings=settings,
        record={
            'processes': args.world_size, 'space': space.to_dict(), 'images': fingerprint_of(dataset), **vars(halves)
        },
        class_names=names,
        data_config=data_config_of(args, space),
        calibration_batches=args.calibration_batches,
        log_interval=args.log_interval,
        open_trackers=lambda: open_trackers(args, settings),
        device=device,
        rank=args.rank,
        world_size=args.world_size,
    )


def open_trackers(args: Namespace, settings: Mapping[str, Any]) -> Trackers:
    """TensorBoard and Weights & Biases, if enabled by the options."""
    wandb = dict(
        project=args.wandb_project, tags=args.wandb_tags, resume_id=args.wandb_resume_id, config=settings
    )
    return Trackers(Path(args.output), args.log_tensorboard, wandb if args.log_wandb else None)


def open_space(args: Namespace, space: MBConvSpace | None = None) -> MBConvSpace:
    """The space at the input size of the search; `UsageError` if it does not exist or the images are too small."""
    try:
        space = _named_space(args) if space is None else space
        if args.img_size is not None:
            space = space.with_img_size(args.img_size)
            space.to_arch(tuple((0,) * len(group) for group in space.groups))
    except (OSError, ValueError) as e:
        raise UsageError(f'--space {args.space}: {e}') from None
    return space


def _named_space(args: Namespace) -> MBConvSpace:
    """The space that the options name; a resumed search has it in its folder too, if that file has moved."""
    try:
        return get_space(args.space)
    except OSError:
        own = Path(args.resume) / 'space.json' if args.resume else None
        if own is None or not own.exists():
            raise
        return get_space(str(own))


def search_config(args: Namespace) -> SearchConfig:
    """The settings of the loop; `UsageError` if one is out of range."""
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


def check_target(space: MBConvSpace, config: SearchConfig, num_classes: int, in_chans: int) -> None:
    """Raise UsageError if no architecture of the space is within the budget of multiply-adds."""
    if config.target is None:
        return
    window = (math.ceil(config.target * (1 - config.tolerance)), math.floor(config.target))
    if window[0] > window[1]:
        raise UsageError(
            f'--target-macs {config.target:g} with --tolerance {config.tolerance:g}: no whole number lies between '
            'them; write 66M for 66 million'
        )
    try:
        decode(space, Factorized(space).log_probs(), macs=window, num_classes=num_classes, in_chans=in_chans)
    except InfeasibleError as e:
        raise UsageError(f'--target-macs {config.target:,.0f}: {e}') from None


def open_images(args: Namespace) -> Dataset:
    """The dataset that the options name."""
    if args.resume and not args.dataset and not args.data_dir:
        raise UsageError(
            f'--resume {args.resume}: that search was given a dataset in Python: continue with search(resume=.., '
            'dataset=..)'
        )
    if args.dataset_download and args.world_size > 1 and args.rank:
        dist.barrier()  # rank 0 downloads first
    dataset = open_dataset(
        args.dataset, args.data_dir, args.train_split, download=args.dataset_download, class_map=args.class_map,
        input_img_mode='RGB' if args.in_chans == 3 else 'L',
    )
    if args.dataset_download and args.world_size > 1 and not args.rank:
        dist.barrier()
    return dataset


def open_halves(args: Namespace, dataset: Dataset | None = None) -> tuple[Dataset, Halves, list[str]]:
    """The dataset, its two halves, and the names of the classes searched on.

    A resumed search uses the halves recorded in its folder, since a newer version might split the data differently.

    Raises:
        UsageError: the data cannot be opened, has too few classes or images, or does not have `--num-classes` classes.
    """
    dataset = open_images(args) if dataset is None else dataset
    targets = class_indices(dataset)
    found = len(set(targets))
    if args.num_classes not in (None, found):
        raise UsageError(f'--num-classes {args.num_classes}: the data has {found} classes')
    if found < 2:
        raise UsageError(f'{args.data_dir or "dataset"}: all images are of one class: expected one folder per class')
    classes = pick_classes(targets, args.search_classes, args.class_seed)
    halves = saved_halves(Path(args.output) / RECORD, targets, classes) if args.resume else None
    halves = halves or stratified_halves(targets, classes, args.seed)
    step = args.batch_size * args.grad_accum_steps * args.world_size
    if min(len(halves.train), len(halves.val)) < step:
        raise UsageError(
            f'halves of {len(halves.train)} and {len(halves.val)} images are smaller than the {step} of one step: '
            'use a smaller --batch-size'
        )
    names = class_names(dataset)
    return dataset, halves, [names[c] for c in classes] if len(names) > max(classes) else []


def create_evaluator(
        args: Namespace, space: MBConvSpace, dataset: Dataset, halves: Halves, device: torch.device
) -> SuperNetEvaluator:
    """The evaluator: supernet, loaders, and timm's optimizer and learning-rate schedule."""
    net = SuperNet(space, len(halves.classes), args.in_chans).to(device)
    if args.channels_last:
        net = net.to(memory_format=torch.channels_last)
    train_loader = create_half_loader(args, space.img_size, dataset, halves.train, halves.classes, is_training=True)
    val_loader = create_half_loader(args, space.img_size, dataset, halves.val, halves.classes, is_training=False)
    optimizer = create_optimizer_v2(
        net, opt=args.opt, lr=args.lr, weight_decay=args.weight_decay, momentum=args.momentum
    )
    scheduler, _ = create_scheduler_v2(
        optimizer, sched=args.sched, num_epochs=args.epochs, warmup_epochs=args.warmup_lr_epochs,
        warmup_lr=args.warmup_lr, min_lr=args.min_lr, step_on_epochs=False,
        updates_per_epoch=min(train_loader.steps, val_loader.steps),
    )
    autocast, _ = low_precision(args.amp, args.amp_dtype, device)
    return SuperNetEvaluator(
        net=net,
        train_loader=train_loader,
        val_loader=val_loader,
        optimizer=optimizer,
        scheduler=scheduler,
        loss_fn=LabelSmoothingCrossEntropy(args.smoothing) if args.smoothing else nn.CrossEntropyLoss(),
        autocast=autocast,
        scaler=torch.amp.GradScaler(device.type, enabled=args.amp and args.amp_dtype == 'float16'),
        clip_grad=args.clip_grad or None,
        accum_steps=args.grad_accum_steps,
        cost_classes=args.target_num_classes,
        world_size=args.world_size,
        memory_format=torch.channels_last if args.channels_last else torch.contiguous_format,
    )


def create_half_loader(
        args: Namespace,
        img_size: int,
        dataset: Dataset,
        indices: Sequence[int],
        classes: Sequence[int],
        is_training: bool,
) -> HalfLoader:
    """The loader of one half, with augmentation for the weights and without for alpha.

    Transforms and options are timm's, but not the loader: with timm's `create_loader`, shuffling and worker seeds
    would depend on earlier random draws.
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
    return HalfLoader(half, batches, args.workers, args.pin_mem)


def pixel_statistics(args: Namespace) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the pixels, one per channel."""
    mean, std = (
        tuple(adapt_to_chs(x if len(x) > 1 else x[0], args.in_chans))
        for x in (args.mean or IMAGENET_DEFAULT_MEAN, args.std or IMAGENET_DEFAULT_STD)
    )
    return mean, std


def data_config_of(args: Namespace, space: MBConvSpace) -> dict[str, Any]:
    """timm's data config of the extracted model."""
    mean, std = pixel_statistics(args)
    return {
        'input_size': (args.in_chans, space.img_size, space.img_size),
        'interpolation': args.interpolation,
        'mean': mean,
        'std': std,
        'crop_pct': args.crop_pct,
    }
