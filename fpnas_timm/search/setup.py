"""From the options of a search to its parts: space, data, supernet, settings."""
import math
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, create_transform
from timm.data.loader import adapt_to_chs
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from torch import nn
from torch.utils.data import DataLoader, Dataset

from ..errors import UsageError
from ..model.supernet import SuperNet
from ..runs.datasets import class_indices, class_names, open_dataset
from ..runs.device import low_precision
from ..spaces import MBConvSpace, get_space
from ..spaces.decode import InfeasibleError, decode
from .distribution import Factorized
from .evaluator import SuperNetEvaluator
from .halves import Half, Halves, StepBatches, own_session, pick_classes, stratified_halves
from .loop import SearchConfig

__all__ = ['check_target', 'create_evaluator', 'data_config_of', 'open_halves', 'open_space', 'search_config']


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
    autocast, _ = low_precision(args.amp, args.amp_dtype, device)
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
