"""Scores networks on the whole half that trains alpha, after their batch norms were calibrated on the other half.

Several processes share the images. Their sums are added, and batch-norm statistics averaged, in the same order on all
of them: all end with the same networks and the same scores.
"""
import contextlib
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from ..model.network import FPNAS
from ..model.supernet import Recalibration
from .fitted_evaluator import FittedEvaluator
from .image_evaluator import ImageEvaluator, on_cpu

__all__ = ['Score', 'Tick', 'calibrate', 'num_batches', 'score']

Tick = Callable[[], None]  # called after every batch, by all processes equally often; may raise to stop


class Score(NamedTuple):
    """What a network reaches on the images that train alpha, each of them once.

    Attributes:
        top1: share of the images whose class has the largest logit, in %.
        top1_se: its standard error over the images, in percentage points.
        log_likelihood: mean log-probability of the true class, nats per image. As in the search, images are weighted
            where classes are (`--class-weights`, `--balanced-sampling`).
        log_likelihood_se: its standard error over the images, nats.
        score: the top-1 accuracy, in %, of images weighted as in `log_likelihood`; `top1` without weights.
        images: number of images.
        agreement: in a search from fitted weights, how well the network, fitted as a whole, predicts what the source
            says of the images: mean of sum over the source's classes of p log q, nats per image, weighted as
            `log_likelihood`. Else None.
    """

    top1: float
    top1_se: float
    log_likelihood: float
    log_likelihood_se: float
    score: float
    images: int
    agreement: float | None = None


def num_batches(evaluator: ImageEvaluator, calibration_batches: int) -> int:
    """How often `calibrate` and `score` together call `tick`."""
    if isinstance(evaluator, FittedEvaluator):
        return evaluator.val_loader.rounds(evaluator.split.world_size)
    epoch = evaluator.train_loader.steps * evaluator.accum_steps
    own = math.ceil(calibration_batches / evaluator.split.data_parts)
    return min(own, epoch) + evaluator.val_loader.rounds(evaluator.split.world_size)


@torch.no_grad()
def calibrate(evaluator: ImageEvaluator, models: Sequence[FPNAS], count: int, tick: Tick) -> None:
    """Set the batch-norm statistics of networks from `count` batches of the training half, those of all processes.

    The networks are then in eval mode. The batches are read once for all of them. Networks of a `FittedEvaluator` stay
    as they are: they are fitted to images with these statistics.
    """
    if isinstance(evaluator, FittedEvaluator):
        return
    with contextlib.ExitStack() as stack:
        collecting = [stack.enter_context(Recalibration(model)) for model in models]
        for images in evaluator.calibration_batches(math.ceil(count / evaluator.split.data_parts)):
            for statistics in collecting:
                statistics.add(images)
            tick()
    for model in models:
        norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
        buffers = [b for norm in norms for b in (norm.running_mean, norm.running_var) if b is not None]
        mean = evaluator.split.gathered(torch.cat(buffers)).mean(0)
        for buffer, part in zip(buffers, mean.split([len(b) for b in buffers])):
            buffer.copy_(part)
        for norm in norms:  # says nothing about these statistics, and would differ after an interruption
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked.zero_()


@torch.no_grad()
def score(evaluator: ImageEvaluator, models: Sequence[FPNAS], tick: Tick) -> list[Score]:
    """The scores of networks in eval mode. The images are read once for all of them."""
    weights = _class_weights(evaluator)
    loader, split = evaluator.val_loader, evaluator.split
    batches = loader.once(split.rank, split.world_size)
    source = evaluator.net.source if isinstance(evaluator, FittedEvaluator) else None
    sums = torch.zeros(len(models), 9, dtype=torch.float64, device=evaluator.device)
    for _ in range(loader.rounds(split.world_size)):
        batch = next(batches, None)
        if batch is not None:
            images = batch[0].to(evaluator.device, non_blocking=True, memory_format=evaluator.memory_format)
            target = batch[1].to(evaluator.device, non_blocking=True)
            w = weights[target]
            with evaluator.autocast():
                labels = source(images).float().softmax(1) if source is not None else None
            for model, own in zip(models, sums):
                agreement = torch.zeros_like(w)
                with evaluator.autocast():
                    features = model.forward_head(model.forward_features(images), pre_logits=True)
                    logits = model.get_classifier()(features)
                    if source is not None:
                        theirs = source.classifier(features)
                if labels is not None:
                    agreement = (labels * theirs.float().log_softmax(1)).sum(1).double()
                found = -F.cross_entropy(logits.float(), target, reduction='none').double()
                right = (logits.argmax(1) == target).double()
                columns = (
                    torch.ones_like(w), right, w, w * right, w * found, w**2, w**2 * found, w**2 * found**2,
                    w * agreement,
                )
                own += torch.stack(columns).sum(1)
        tick()
    rows = on_cpu(split.gathered(sums).sum(0)).tolist()
    if source is None:
        return [_score_of(row[:-1]) for row in rows]
    return [_score_of(row[:-1])._replace(agreement=row[-1] / row[2]) for row in rows]


def _score_of(sums: Sequence[float]) -> Score:
    """The score from sums over the images, of weight w and log-likelihood ll: see `score`."""
    count, right, w, w_right, w_ll, w2, w2_ll, w2_ll2 = sums
    top1, mean = right / count, w_ll / w
    return Score(
        top1=100 * top1,
        top1_se=100 * math.sqrt(top1 * (1 - top1) / count),
        log_likelihood=mean,
        log_likelihood_se=math.sqrt(max(0.0, w2_ll2 - 2 * mean * w2_ll + mean**2 * w2)) / w,
        score=100 * w_right / w,
        images=int(count),
    )


def _class_weights(evaluator: ImageEvaluator) -> torch.Tensor:
    """The weight of an image of each class, float64, shape (classes,): as the search weighs its log-likelihoods."""
    half, targets = evaluator.val_loader.half, evaluator.val_loader.batches.targets
    if evaluator.val_class_weights is not None:
        return evaluator.val_class_weights.double()
    if targets is None:
        return torch.ones(evaluator.scored.num_classes, dtype=torch.float64, device=evaluator.device)
    # drawn so that all classes are equally frequent
    classes = torch.tensor([half.class_index[t] for t in targets])
    counts = torch.bincount(classes, minlength=evaluator.scored.num_classes)
    return (1 / counts.double().clamp(min=1)).to(evaluator.device)
