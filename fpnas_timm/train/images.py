"""The images of a run, from its options: datasets, classes and loaders."""
import argparse
import logging
from collections.abc import Mapping, Sized
from pathlib import Path
from typing import Any, cast

import torch
from torch.utils.data import Dataset, IterableDataset

from ..errors import UsageError
from ..runs.content import UNREADABLE
from ..runs.copies import copied_images
from ..runs.datasets import Part, StrictImages, check_readable, class_indices, fingerprint
from ..runs.device import Precision, Process
from ..runs.holdout import VALIDATION_FILE, write_image_list
from ..runs.imbalance import class_weights, count_classes
from ..runs.processes import log_on_primary, on_primary
from .arguments import loader_arguments, mixup_arguments
from .classes import Classifier, Match, classes_of, match_for_training
from .data import ImagesUsed, Loaders, create_loaders, open_splits
from .folder import RunFolder
from .sampling import use_balanced_sampling

__all__ = ['open_data', 'record_images']

_logger = logging.getLogger('train')


def open_data(
        args: argparse.Namespace,
        process: Process,
        precision: Precision,
        data_config: dict[str, Any],
        classifier: Classifier,
        saved_workers: torch.Tensor | None,
        folder: Path,
        resume: str,
        saved: Mapping[str, Any],
) -> tuple[Loaders, Match, list[float] | None]:
    """The loaders, the order of the classifier's outputs, and weights of the classes if the options ask for some.

    Raises:
        UsageError: the data cannot be opened, do not go with the options, or are not those of the run to resume.
    """
    _check_same_choice(args, resume, saved)
    common = dict(
        class_map=args.class_map,
        extensions=args.img_extensions,
        download=args.dataset_download,
        batch_size=args.batch_size,
        input_img_mode=data_config['input_img_mode'],
        input_key=args.input_key,
        target_key=args.target_key,
        trust_remote_code=args.dataset_trust_remote_code,
    )
    train, validation = open_splits(
        args.dataset, args.data_dir, args.train_split, args.val_split,
        dict(seed=args.seed, repeats=args.epoch_repeats, num_samples=args.train_num_samples, **common),
        dict(num_samples=args.val_num_samples, **common),
        args.val_fraction, args.val_seed,
    )
    images = on_primary(
        lambda: _images_used(args, train, validation, folder, resume, saved), process.rank, process.world_size
    )
    _note_unreadable(Path(resume).parent if resume else folder, train, validation)
    match = match_for_training(classifier, classes_of(train, mapped=bool(args.class_map)), args.data_dir)
    classes = match.names
    for note in match.notes:
        log_on_primary(_logger, note, logging.WARNING)
    training, evaluation = loader_arguments(args, process, precision, data_config)
    loaders = create_loaders(
        train, validation, args.data_dir, training, evaluation, mixup_arguments(args), args.aug_splits, saved_workers
    )
    loaders.images = images or loaders.images
    if not (args.class_weights or args.balanced_sampling):
        return loaders, match, None
    if isinstance(train, IterableDataset):
        option = '--class-weights' if args.class_weights else '--balanced-sampling'
        raise UsageError(f'{option}: not for a streaming dataset, whose classes are not known before it is read')
    targets = class_indices(train)
    if args.balanced_sampling:
        use_balanced_sampling(loaders.train, targets, args.seed, process.rank, process.world_size)
        note = f'{len(targets):,} images an epoch, of {len(set(targets))} classes with equal probability'
        log_on_primary(_logger, f'balanced sampling: {note}')
        return loaders, match, None
    weights = class_weights(args.class_weights, count_classes(targets, args.num_classes), classes)
    named = dict(zip(classes or map(str, range(len(weights))), weights))
    args.class_weights = named  # for the checkpoints
    log_on_primary(_logger, f'class weights: {", ".join(f"{name} {weight:.4g}" for name, weight in named.items())}')
    return loaders, match, weights


def record_images(run_folder: RunFolder, images: ImagesUsed, resumed: bool) -> None:
    """Record the images in the run's checkpoints, and those held out in a file; rank 0 only."""
    if not resumed:  # notes of a run that was here before
        for notes in run_folder.path.glob(f'*{UNREADABLE}'):
            notes.unlink()
    run_folder.saver.images = images.fingerprint
    if images.held_out is not None:
        chosen = ', '.join(f'{key} {value}' for key, value in images.notes.items())
        write_image_list(run_folder.path / VALIDATION_FILE, images.held_out, f'held out of training: {chosen}')


def _note_unreadable(folder: Path, train: Dataset, validation: Dataset | None) -> None:
    """Note images that cannot be read in files of `folder`, see `fingerprint`."""
    for dataset, file in ((train, UNREADABLE), (validation, f'validation-{UNREADABLE}')):
        source = dataset.dataset if isinstance(dataset, Part) else dataset
        if isinstance(source, StrictImages) and source.notes is None:
            source.notes = folder / file


def _images_used(
        args: argparse.Namespace,
        train: Dataset,
        validation: Dataset | None,
        folder: Path,
        resume: str,
        saved: Mapping[str, Any],
) -> ImagesUsed:
    """What to record about the images; they are compared with those of the run that is resumed."""
    if isinstance(train, IterableDataset) or isinstance(validation, IterableDataset):
        return ImagesUsed()
    if resume:
        _note_unreadable(Path(resume).parent, train, validation)
    if validation is not None and not resume:
        _check_copies(train, validation, bool(args.val_fraction))
    used = ' '.join(fingerprint(d) for d in (train, validation) if d is not None)
    before = saved.get('images')
    if before and before != used:
        for source in {id(d): d for d in (train, validation) if d is not None}.values():
            check_readable(source)
        what = f'--resume {resume}: the images of {args.data_dir or args.dataset} are not those of that run'
        if Path(resume).parent.resolve() == folder.resolve():
            raise UsageError(
                f'{what}: put them back, or start a new run (another --experiment) with --initial-checkpoint {resume}'
            )
        _logger.warning('%s: going on with the new ones', what)
    if not args.val_fraction:
        return ImagesUsed(used)
    number = len(cast(Sized, validation))
    notes = {'val_fraction': args.val_fraction, 'val_seed': args.val_seed, 'val_images': number}
    return ImagesUsed(used, validation, notes)


def _check_copies(train: Dataset, validation: Dataset, held_out: bool) -> None:
    """Warn of validation images that are copies of training images; UsageError if all of them are."""
    copies = copied_images(train, validation)
    if copies.all:
        raise UsageError(
            f'the validation images are nothing but {copies}: '
            + ('remove the copies' if held_out else 'expected other images, or part of the training images, with '
               "--val-split '' --val-fraction 0.2")
        )
    copies.warn('validation', _logger)


def _check_same_choice(args: argparse.Namespace, resume: str, saved: Mapping[str, Any]) -> None:
    """Raise UsageError if a resumed run would be validated on other images, which it may have been trained on."""
    before = saved.get('args') or {}
    before = before if isinstance(before, Mapping) else vars(before)
    for name in ('val_fraction', 'val_seed'):
        then, now = before.get(name), getattr(args, name)
        new = saved and not then and name == 'val_fraction' and now
        if new or (before.get('val_fraction') and then != now):
            option = f'--{name.replace("_", "-")}'
            raise UsageError(
                f'{option} {now:g}: it is {then or 0:g} in {resume}: with other images held out, the network would be '
                'validated on images that it was trained on'
            )
