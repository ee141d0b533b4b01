"""Accuracy of networks that run anywhere, such as exported files, on labelled images: matched and counted alike."""
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from timm.task.evaluator import ClassificationEvaluator
from torch.utils.data import DataLoader

from ..runs.datasets import StrictImages, open_dataset
from ..runs.processes import explain_lost_workers, log_on_primary, shield_workers
from ..runs.progress import progress
from .classes import classes_of, match_for_validation

__all__ = ['Runner', 'accuracy']

_logger = logging.getLogger('validate')

# images (B, ..) -> logits (B, num_classes); how a PIL image becomes one of them; how many are taken at once
Runner = tuple[Callable[[torch.Tensor], torch.Tensor], Callable[[Any], torch.Tensor], int]


@explain_lost_workers('start again')
def accuracy(
        runners: Mapping[str, Runner], data_dir: str, split: str, img_mode: str, label_names: Sequence[str],
        num_classes: int, source: str, workers: int,
) -> dict[str, dict[str, float]]:
    """Top-1 and top-5 of networks with the same outputs, on the same images.

    Args:
        runners: label -> network.
        data_dir: image folder (docs/data.md).
        split: name of the split.
        img_mode: PIL mode of the images.
        label_names: class names of the outputs; empty if unknown.
        num_classes: number of outputs.
        source: the network, for messages.
        workers: number of DataLoader workers.

    Returns:
        label -> `top1`, `top5` (%), `images`.

    Raises:
        UsageError: no such images, or classes that the network does not know.
    """
    dataset: Any = open_dataset('', data_dir, split, input_img_mode=img_mode)
    if isinstance(dataset, StrictImages):
        dataset.again = 'start again'
    match = match_for_validation(label_names, num_classes, classes_of(dataset), source, data_dir)
    for note in match.notes:
        log_on_primary(_logger, note, logging.WARNING)
    found = {}
    for label, (run, transform, batch_size) in runners.items():
        dataset.transform = transform
        loader: Any = DataLoader(cast(Any, dataset), batch_size, num_workers=workers)
        if workers:
            shield_workers(loader)
        evaluator = ClassificationEvaluator(torch.device('cpu'))
        for images, target in progress(loader, f'accuracy, {label}', primary=True):
            evaluator.update(run(images)[:, match.order], target)
        metrics = evaluator.compute(distributed=False)
        found[label] = {name: round(metrics[name], 4) for name in ('top1', 'top5')} | {'images': len(dataset)}
    return found
