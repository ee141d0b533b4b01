"""Data with rare classes: weights of the classes, their cross-entropy, and balanced sampling."""
import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from torch import nn

from ..arch.checks import load_json, show
from ..errors import UsageError, did_you_mean, one_line

__all__ = ['BALANCED', 'WeightedCrossEntropy', 'class_weights', 'count_classes', 'draw_balanced', 'read_class_weights']

BALANCED = 'balanced'


class WeightedCrossEntropy(nn.Module):
    """Cross-entropy with weights of the classes: -1/B sum_i sum_c w_c q_ic log p_ic for the targets q of B images.

    For targets as probabilities (mixup) that is torch's `CrossEntropyLoss(weight)`. For class indices torch divides by
    the weights of the B images instead of by B: the same over all images, if the mean weight of an image is 1
    (`class_weights`). A division by B gives the same gradient however the images of an update are divided between
    batches and processes.
    """

    weight: torch.Tensor

    def __init__(self, weight: Sequence[float], smoothing: float = 0.0) -> None:
        """
        Args:
            weight: one per class.
            smoothing: label smoothing of class indices; targets as probabilities are taken as they are.
        """
        super().__init__()
        self.register_buffer('weight', torch.tensor(weight, dtype=torch.float32))
        self.smoothing = smoothing

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Logits (B, C) of any float type, and class indices (B,) or probabilities (B, C) -> the loss."""
        logits = logits.float()
        if target.ndim == 2:
            return F.cross_entropy(logits, target.float(), self.weight)
        total = F.cross_entropy(logits, target, self.weight, reduction='sum', label_smoothing=self.smoothing)
        return total / len(target)


def class_weights(
        source: str, counts: Sequence[int], names: Sequence[str] = (), others: Iterable[str] = ()
) -> list[float]:
    """The weights of the classes, scaled so that their mean over the images is 1.

    The scale has no effect on what is learned except through the learning rate and the weight decay, which keep their
    meaning in this way.

    Args:
        source: 'balanced', or a file of class names and their weights (`read_class_weights`). 'balanced' is
            N / (C n_c) for n_c of N images in class c, as scikit-learn's; C counts the classes that have images.
        counts: number of images per class. A class without images gets weight 1 from 'balanced'.
        names: class names in the same order; empty if unknown.
        others: names of further classes, which the file may have too.

    Raises:
        UsageError: the file cannot be read, has a name that no class has, or lacks a class with images.

    >>> class_weights('balanced', [6, 2])
    [0.6666666666666666, 2.0]
    """
    total = sum(counts)
    if source == BALANCED:
        present = sum(count > 0 for count in counts)
        return [total / (present * count) if count else 1.0 for count in counts]
    if not names:
        raise UsageError(
            f'--class-weights {source}: the data has no class names, by which the file is read: use '
            f"--class-weights {BALANCED}, or give the dataset `classes`"
        )
    given = read_class_weights(source)
    known = [*names, *others]
    unknown = [name for name in given if name not in known]
    if unknown:
        raise UsageError(f'--class-weights {source}: the data has no class {unknown[0]!r}{_rest(unknown)}'
                         f'{did_you_mean(unknown[0], known)}')
    missing = [name for name, count in zip(names, counts) if count and name not in given]
    if missing:
        raise UsageError(f'--class-weights {source}: has no weight for class {missing[0]!r}{_rest(missing)}: expected '
                         f'one for each class with images, {sum(count > 0 for count in counts)} in all')
    raw = [given.get(name, 1.0) for name in names] + [1.0] * (len(counts) - len(names))  # 1: no image has this class
    mean = sum(count * weight for count, weight in zip(counts, raw)) / total
    return [weight / mean for weight in raw]


def _rest(names: Sequence[str]) -> str:
    return f' (nor {len(names) - 1} more)' if len(names) > 1 else ''


def read_class_weights(path: str | Path) -> dict[str, float]:
    """Class name -> weight, from a .json, .yaml or .csv file.

    JSON and YAML hold one mapping. Each line of a CSV file holds a name and a weight; its first line may be a header.
    Names are text, also those like `1` and `no`.

    Raises:
        UsageError: the file cannot be read, a name occurs twice, or a weight is not a finite number above 0.
    """
    where, suffix = f'--class-weights {path}', Path(path).suffix.lower()
    readers = {'.json': _json_items, '.yaml': _yaml_items, '.yml': _yaml_items, '.csv': _csv_items}
    if suffix not in readers:
        raise UsageError(f'{where}: expected {BALANCED!r}, or a file that ends in .json, .yaml, .yml or .csv')
    try:
        items = readers[suffix](Path(path).read_text(encoding='utf-8-sig'))
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f'{where}: cannot be read ({getattr(e, "strerror", None) or "not text"})') from None
    except (ValueError, csv.Error, yaml.YAMLError, RecursionError) as e:
        raise UsageError(f'{where}: expected class names with one weight each: {one_line(e)}') from None
    weights: dict[str, float] = {}
    for name, value in items:
        if name in weights:
            raise UsageError(f'{where}: class {name!r} appears twice: expected each class once')
        try:
            weights[name] = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            weights[name] = math.nan
        if not 0 < weights[name] < math.inf:
            raise UsageError(f'{where}: class {name!r} has weight {show(value)}: expected a number above 0')
    if not weights:
        raise UsageError(f'{where}: is empty: expected class names with one weight each')
    return weights


def _json_items(text: str) -> list[tuple[str, Any]]:
    data = load_json(text)
    if not isinstance(data, dict):
        raise ValueError('the file is not a JSON object')
    return list(data.items())


def _yaml_items(text: str) -> list[tuple[str, Any]]:
    node = yaml.compose(text, Loader=yaml.SafeLoader)  # nodes: loading would turn the names `no` and `1` into values
    if node is None:
        return []
    if not isinstance(node, yaml.MappingNode) or not all(isinstance(n, yaml.ScalarNode) for p in node.value for n in p):
        raise ValueError('the file is not a mapping of names to numbers')
    return [(key.value, value.value) for key, value in node.value]


def _csv_items(text: str) -> list[tuple[str, Any]]:
    rows = [row for row in csv.reader(io.StringIO(text), strict=True) if row]
    for number, row in enumerate(rows, 1):
        if len(row) != 2:
            raise ValueError(f'row {number} has {len(row)} columns, not 2')
    items = [(name.strip(), value.strip()) for name, value in rows]
    if items and items[0][1].lower() in ('weight', 'weights', 'class_weight'):
        items = items[1:]
    return items


def count_classes(targets: Iterable[int], num_classes: int) -> list[int]:
    """Number of images per class, from the class of every image."""
    counts = [0] * num_classes
    for target in targets:
        counts[target] += 1
    return counts


def draw_balanced(targets: Sequence[int], size: int, rng: np.random.Generator) -> list[int]:
    """Draw image indices with replacement: first a class, all equally probable, then one of its images.

    Args:
        targets: the class of every image.
        size: number of draws.
        rng: source of the random numbers.
    """
    order = np.argsort(targets, kind='stable')
    _, starts, counts = np.unique(np.asarray(targets)[order], return_index=True, return_counts=True)
    chosen = rng.integers(len(counts), size=size)
    return [int(i) for i in order[starts[chosen] + rng.integers(counts[chosen])]]
