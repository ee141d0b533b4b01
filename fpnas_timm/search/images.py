"""The images of a search, from its options: the dataset, its two halves, and their loaders."""
from argparse import Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch.distributed as dist
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, create_transform
from torch.utils.data import Dataset

from ..arch.sizes import ImgSize, hw
from ..errors import UsageError
from ..runs.content import UNREADABLE
from ..runs.datasets import StrictImages, class_indices, class_names, open_dataset
from ..runs.image_options import USUAL
from ..runs.imbalance import class_weights, count_classes
from ..runs.processes import on_primary
from ..spaces import MBConvSpace
from .dataset import GivenImages
from .folder import saved_class_weights, saved_halves
from .halves import Half, HalfLoader, Halves, StepBatches, joined_halves, pick_classes, stratified_halves
from .joined import JoinedImages, check_copies, join_images
from .work_split import WorkSplit

__all__ = ['create_half_loader', 'data_config_of', 'half_class_weights', 'open_halves', 'open_images', 'work_split']


def open_images(args: Namespace) -> Dataset:
    """The dataset that the options name; with `--alpha-split`, a `JoinedImages` of two."""
    if args.resume and not args.dataset and not args.data_dir:
        raise UsageError(
            f'{args.resume}: that search was given a dataset in Python: give it again, as in search(resume=.., '
            'dataset=..) or decode_family(.., dataset=..)'
        )
    if args.dataset_download and args.world_size > 1 and args.rank:
        dist.barrier()  # rank 0 downloads first
    dataset = _open_split(args, args.train_split)
    alpha = _open_split(args, args.alpha_split) if args.alpha_split else None
    if args.dataset_download and args.world_size > 1 and not args.rank:
        dist.barrier()
    return dataset if alpha is None else join_images(dataset, alpha, f'--alpha-split {args.alpha_split}')


def _open_split(args: Namespace, split: str) -> Dataset:
    return open_dataset(
        args.dataset, args.data_dir, split, args.img_extensions, download=args.dataset_download,
        class_map=args.class_map, input_img_mode=image_mode(args),
    )


def open_halves(args: Namespace, dataset: Dataset | None = None) -> tuple[Dataset, Halves, list[str]]:
    """The dataset, its two halves, and the names of the classes searched on.

    A resumed search uses the halves recorded in its folder, since a newer version might split the data differently.

    Raises:
        UsageError: the data cannot be opened, has too few classes or images, or does not have `--num-classes` classes.
    """
    if dataset is not None and args.alpha_split:
        raise UsageError('--alpha-split names a split of --data-dir: search() takes a dataset as alpha_dataset')
    dataset = open_images(args) if dataset is None else dataset
    if isinstance(dataset, JoinedImages) and not args.resume:
        name = f'--alpha-split {args.alpha_split}' if args.alpha_split else 'alpha_dataset'
        on_primary(partial(check_copies, dataset, name), args.rank, args.world_size)
    parts = dataset.parts if isinstance(dataset, JoinedImages) else (dataset,)
    for part, name in zip(parts, (UNREADABLE, f'alpha-{UNREADABLE}')):
        if isinstance(part, (StrictImages, GivenImages)):
            part.notes = Path(args.output) / name
    targets, names = class_indices(dataset), class_names(dataset)
    found = len(set(targets))
    if min(targets, default=0) < 0:
        raise UsageError(
            f'{args.data_dir or args.dataset or "dataset"}: an image is of class {min(targets)}: expected classes from '
            '0 on: leave out images without a class'
        )
    if args.num_classes not in (None, found):
        raise UsageError(f'--num-classes {args.num_classes}: the data has {found} classes')
    if found < 2:
        raise UsageError(f'{args.data_dir or "dataset"}: all images are of one class: expected one folder per class')
    classes = pick_classes(targets, args.search_classes, args.class_seed)
    if isinstance(dataset, JoinedImages):
        halves = joined_halves(targets, dataset.count, classes)
    else:
        saved = saved_halves(Path(args.output), targets, classes) if args.resume else None
        halves = saved or stratified_halves(targets, classes, args.seed, names)
    step = args.batch_size * args.grad_accum_steps * work_split(args).data_parts
    if min(len(halves.train), len(halves.val)) < step:
        raise UsageError(
            f'halves of {len(halves.train)} and {len(halves.val)} images are smaller than the {step} of one step: '
            'use a smaller --batch-size'
        )
    return dataset, halves, [names[c] for c in classes] if len(names) > max(classes) else []


def half_class_weights(args: Namespace, dataset: Dataset, halves: Halves) -> list[list[float]] | None:
    """The weights of the classes in the half that trains the weights, and in the half that trains alpha.

    Both losses have them, since both are to say the same about an architecture. Each half has its own, with a mean of 1
    over its images. A resumed search uses those recorded in its folder, since the file may have changed.

    Raises:
        UsageError: the file of weights cannot be read or does not have the classes of the search.
    """
    if not args.class_weights:
        return None
    saved = saved_class_weights(Path(args.output), len(halves.classes)) if args.resume else None
    if saved is not None:
        return saved
    targets, names = class_indices(dataset), class_names(dataset)
    own = [names[c] for c in halves.classes] if len(names) > max(halves.classes) else []
    others = [name for name in names if name not in own]
    return [
        class_weights(args.class_weights, [counts[c] for c in halves.classes], own, others)
        for half in (halves.train, halves.val)
        for counts in [count_classes((targets[i] for i in half), max(halves.classes) + 1)]
    ]


def create_half_loader(
        args: Namespace,
        img_size: ImgSize,
        dataset: Dataset,
        indices: Sequence[int],
        classes: Sequence[int],
        is_training: bool,
        steps: int | None = None,
) -> HalfLoader:
    """The loader of one half, with augmentation for the weights and without for alpha; `steps` as in `StepBatches`.

    Transforms and options are timm's, but not the loader: with timm's `create_loader`, shuffling and worker seeds
    would depend on earlier random draws.
    """
    mean, std = pixel_statistics(args)
    transform = create_transform(
        (args.in_chans, *hw(img_size)),
        is_training=is_training,
        no_aug=args.no_aug,
        scale=args.scale,
        ratio=args.ratio,
        hflip=args.hflip,
        vflip=args.vflip,
        color_jitter=args.color_jitter if args.in_chans == 3 else 0.0,  # of RGB images only
        auto_augment=args.aa,
        interpolation=args.train_interpolation if is_training and not args.no_aug else args.interpolation,
        mean=mean,
        std=std,
        crop_pct=args.crop_pct,
        **({'re_prob': args.reprob, 're_mode': args.remode} if is_training and not args.no_aug else {}),
    )
    half = Half(dataset, indices, classes, transform, image_mode(args), args.seed)
    targets = class_indices(dataset) if args.balanced_sampling else None
    split = work_split(args)
    batches = StepBatches(
        len(half), args.batch_size, (args.seed, int(is_training)), args.grad_accum_steps, split.data_part,
        split.data_parts, None if targets is None else [targets[i] for i in indices], steps,
    )
    return HalfLoader(half, batches, args.workers, args.pin_mem)


def work_split(args: Namespace) -> WorkSplit:
    """What this process does of a step's work."""
    return WorkSplit(args.split, args.rank, args.world_size)


def image_mode(args: Namespace) -> str:
    """The PIL mode of the images."""
    return str(args.input_img_mode or USUAL[args.in_chans])


def pixel_statistics(args: Namespace) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the pixels, one per channel."""
    mean, std = (  # for another number of channels their average, as in timm's loader, without its warning each time
        tuple(x) if len(x) == args.in_chans else (float(np.mean(x)),) * args.in_chans
        for x in (args.mean or IMAGENET_DEFAULT_MEAN, args.std or IMAGENET_DEFAULT_STD)
    )
    return mean, std


def data_config_of(args: Namespace, space: MBConvSpace) -> dict[str, Any]:
    """timm's data config of the extracted model."""
    mean, std = pixel_statistics(args)
    return {
        'input_size': (args.in_chans, *hw(space.img_size)),
        'input_img_mode': image_mode(args),
        'interpolation': args.interpolation,
        'mean': mean,
        'std': std,
        'crop_pct': args.crop_pct,
    }
