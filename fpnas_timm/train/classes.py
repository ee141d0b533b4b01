"""Matches the classes of a dataset with the outputs of a classifier, by name.

The images' class numbers stay as they are; the classifier's outputs are put into their order (`arrange_outputs`). Where
one side does not name its classes, numbers are compared, and the user is told.
"""
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn
from torch.utils.data import Dataset

from ..errors import UsageError
from ..runs.datasets import class_indices

__all__ = [
    'Classifier', 'DataClasses', 'Match', 'arrange_outputs', 'classes_of', 'listed', 'match_for_training',
    'match_for_validation', 'match_teacher',
]


@dataclass(frozen=True)
class DataClasses:
    """The classes of a dataset.

    Attributes:
        names: class number -> its names (several if a class map merges folders); empty if the dataset does not name
            its classes.
        present: class numbers that have images; None if finding out would mean reading all of them.
        mapped: the numbers are those of a class map.
    """

    names: Mapping[int, Sequence[str]] = field(default_factory=dict)
    present: frozenset[int] | None = None
    mapped: bool = False

    @property
    def count(self) -> int:
        """The number of outputs that these classes need: the highest number, plus 1; 0 if it is not known."""
        return max([*self.names, *(self.present or ())], default=-1) + 1

    def name(self, number: int) -> str:
        """The name of a class; that of a merged class lists all."""
        return ', '.join(self.names[number])

    def with_images(self) -> list[int]:
        """The named classes that have images, as far as that is known."""
        return sorted(n for n in self.names if self.present is None or n in self.present)


@dataclass(frozen=True)
class Classifier:
    """The classifier of a network that is to be trained.

    Attributes:
        source: the model, for messages.
        num_outputs: number of outputs.
        loaded: it has been trained before; False: it is new.
        names: class names of the outputs, if it has been trained before; empty if unknown.
        asked_for: `--num-classes` was given.
    """

    source: str
    num_outputs: int
    loaded: bool = False
    names: Sequence[str] = ()
    asked_for: bool = False


@dataclass(frozen=True)
class Match:
    """How the outputs of a classifier are arranged for a dataset.

    Attributes:
        order: for every output, the number that it has in the classifier now.
        names: class names of the outputs; empty if unknown.
        notes: what the user should know.
    """

    order: list[int]
    names: list[str]
    notes: list[str] = field(default_factory=list)


def classes_of(dataset: Dataset, mapped: bool = False) -> DataClasses:
    """The classes of a dataset, as timm or torchvision names them; `mapped`: by a class map."""
    source: Any = dataset
    while hasattr(source, 'dataset') and not hasattr(source, 'reader'):
        source = source.dataset
    reader = getattr(source, 'reader', source)
    to_index = getattr(reader, 'class_to_idx', None) or getattr(reader, 'class_name_to_idx', None) or {}
    names: dict[int, list[str]] = {}
    for name, number in to_index.items():
        if type(number) is int:
            names.setdefault(number, []).append(str(name))
    cheap = any(hasattr(reader, a) for a in ('samples', 'targets', 'iter_targets'))
    return DataClasses(names, frozenset(class_indices(dataset)) if cheap else None, mapped)


def arrange_outputs(model: nn.Module, order: Sequence[int]) -> None:
    """Put the outputs of a timm model's classifier into another order, in place; some may be left out.

    Args:
        model: before an optimizer, DDP or torch.compile have its parameters.
        order: for every new output, its number now.

    Raises:
        UsageError: the classifier is not a linear layer or a convolution.
    """
    num_outputs: Any = model.num_classes
    if list(order) == list(range(num_outputs)):
        return
    heads = model.get_classifier()  # type: ignore[operator]  # of timm's models, not of nn.Module
    for head in heads if isinstance(heads, (tuple, list)) else (heads,):
        if not isinstance(head, (nn.Linear, nn.Conv2d)) or len(head.weight) != num_outputs:
            raise UsageError(
                f'the outputs of a {type(head).__name__} cannot be put into the order of the classes: list the classes '
                "in the model's order in a --class-map"
            )
        for parameter in (head.weight, head.bias):
            if parameter is not None:
                parameter.data = parameter.data[list(order)]
        setattr(head, 'out_features' if isinstance(head, nn.Linear) else 'out_channels', len(order))
    model.num_classes = len(order)  # type: ignore[assignment]


def match_for_validation(
        names: Sequence[str], num_outputs: int, data: DataClasses, source: str, root: str | Path | None
) -> Match:
    """The order of a trained classifier's outputs in which the classes of the data are validated.

    Args:
        names: class names of the outputs; empty if unknown.
        num_outputs: number of outputs.
        data: the classes of the data.
        source: the model, for messages.
        root: the data, for messages.

    Raises:
        UsageError: the data has classes that the model does not know, or the classes cannot be matched.
    """
    as_it_is = list(range(num_outputs))
    if not data.names:
        _check_numbers(data.count, num_outputs, source, root)
        return Match(as_it_is, list(names), [f'{root or "The data"} does not name its classes: matched by number.'])
    if not names:
        if data.count > num_outputs or (not data.mapped and data.count != num_outputs):
            raise UsageError(
                f'{root}: the data has {len(data.names)} classes, {source} {num_outputs}, and it does not name them: '
                "list the model's classes in order in a --class-map file, one per line"
            )
        return Match(as_it_is, [], [f'{source} does not name its classes: matched by number.'])
    found = {number: _find(data.names[number], names) for number in data.with_images()}
    unknown = [data.name(number) for number, name in found.items() if name is None]
    if len(unknown) == len(found) and data.mapped and data.count <= num_outputs:
        return Match(as_it_is, list(names), [
            f'{source} knows none of the names in the class map: its numbers are taken as the outputs of the model.'
        ])
    if unknown:
        raise UsageError(
            f'{root}: {source} does not know the class{"es" if len(unknown) > 1 else ""} {listed(unknown)}; it knows '
            f'{listed(names)}: list the classes to validate in a --class-map file, one per line'
        )
    placed = {number: name for number, name in found.items() if name is not None}
    if max(placed, default=0) >= num_outputs:
        raise UsageError(f'{root}: the class map has number {max(placed)}, {source} has {num_outputs} outputs')
    order = _fill(placed, names)
    notes = []
    lacking = [name for name in names if name not in placed.values()]
    if lacking and data.present is not None:
        notes.append(f'{root}: no images of {len(lacking)} of the {len(names)} classes: {listed(lacking)}.')
    return Match(order, [names[i] for i in order], notes)


def match_for_training(classifier: Classifier, data: DataClasses, root: str | Path | None) -> Match:
    """The order of a classifier's outputs in which it is trained on the classes of the data.

    Args:
        classifier: its outputs, and the classes that they have been trained for.
        data: the classes of the training data.
        root: the data, for messages.

    Raises:
        UsageError: outputs without a class, or classes without an output.
    """
    names, num_outputs, source = classifier.names, classifier.num_outputs, classifier.source
    as_it_is, count = list(range(num_outputs)), data.count
    if not data.names:
        _check_numbers(count, num_outputs, source, root)
        notes = [f'The data does not name its classes: matched with those of {source} by number.'] if names else []
        return Match(as_it_is, [], notes)
    keeps = classifier.loaded and classifier.asked_for and (bool(names) or data.mapped)
    if count > num_outputs or (count < num_outputs and not keeps):
        raise UsageError(_wrong_count(classifier, data, root))
    if not names:
        gaps = [i for i in range(count) if i not in data.names]
        if gaps and not classifier.loaded:
            raise UsageError(f'the class map has no class number {gaps[0]}: expected all from 0 to {count - 1}')
        notes = [f'{source} does not name its classes: matched by number.'] if classifier.loaded else []
        complete = not gaps and count == num_outputs
        return Match(as_it_is, [data.name(i) for i in range(count)] if complete else [], notes + _empty(data, root))
    found = {number: _find(data.names[number], names) for number in data.names}
    placed = {number: name for number, name in found.items() if name is not None}
    new = [data.name(number) for number, name in found.items() if name is None]
    order = _fill(placed, names)
    notes = _empty(data, root)
    if new:
        notes.append(
            f'{source} does not know the class{"es" if len(new) > 1 else ""} {listed(new)}: their outputs start from '
            f'those of {listed([names[order[n]] for n, name in found.items() if name is None])}.'
        )
    elif order != as_it_is:
        notes.append(f"The outputs of {source} are put into the order of the data's classes, by name.")
    return Match(order, [data.name(i) if i in data.names else names[o] for i, o in enumerate(order)], notes)


def match_teacher(
        names: Sequence[str], num_outputs: int, classes: Sequence[str], num_classes: int, teacher: str
) -> Match:
    """The order of a teacher's outputs that is the student's; outputs that the student does not have are left out.

    Args:
        names: class names of the teacher's outputs; empty if unknown.
        num_outputs: number of its outputs.
        classes: class names of the student's outputs; empty if unknown.
        num_classes: number of its outputs.
        teacher: its name, for messages.

    Raises:
        UsageError: the teacher lacks classes, or they cannot be matched.
    """
    if names and classes:
        lacking = [name for name in classes if name not in names]
        if lacking:
            raise UsageError(
                f'teacher {teacher} does not know {listed(lacking)} of the data; '
                f'it knows {listed(names)}: it must have been trained on all classes of the student'
            )
        return Match([names.index(name) for name in classes], list(classes))
    if num_outputs != num_classes:
        raise UsageError(
            f'teacher {teacher} knows {num_outputs} classes, the student {num_classes}: it must have been '
            'trained on the same classes (train it first, then --kd-model-name local-dir:RUN/export)'
        )
    who = 'The data' if names else f'teacher {teacher}'
    return Match(list(range(num_outputs)), list(classes), [f'{who} does not name its classes: matched by number.'])


def listed(names: Iterable[str], most: int = 8) -> str:
    """Quoted names for a message.

    >>> listed(['cat', 'dog']), listed('abcd', most=2)
    ("'cat', 'dog'", "'a', 'b', .. (4 in all)")
    """
    names = list(names)
    shown = ', '.join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f'{shown}, .. ({len(names)} in all)'


def _find(given: Sequence[str], names: Sequence[str]) -> str | None:
    """The model's name of a class of the data; None if it does not know it, or more than one."""
    joined = ', '.join(given)
    if joined in names:
        return joined
    known = [name for name in given if name in names]
    return known[0] if len(known) == 1 else None


def _fill(placed: Mapping[int, str], names: Sequence[str]) -> list[int]:
    """The order with the placed names at their numbers and the others, in their order, in the remaining places."""
    index = {name: i for i, name in enumerate(names)}
    rest = iter([i for i, name in enumerate(names) if name not in placed.values()])
    return [index[placed[n]] if n in placed else next(rest) for n in range(len(names))]


def _check_numbers(count: int, num_outputs: int, source: str, root: str | Path | None) -> None:
    if count > num_outputs:
        raise UsageError(f'{root or "the data"}: has class number {count - 1}, {source} has {num_outputs} outputs')


def _empty(data: DataClasses, root: str | Path | None) -> list[str]:
    empty = [data.name(n) for n in data.names if n not in data.with_images()]
    return [f'{root}: no training images of {listed(empty)}.'] if empty else []


def _wrong_count(classifier: Classifier, data: DataClasses, root: str | Path | None) -> str:
    names, num_outputs = classifier.names, classifier.num_outputs
    said = f'{root}: the data has {len(data.names)} classes, the model {num_outputs}: use --num-classes {data.count}'
    if names and data.count < num_outputs:
        return f'{said} (a new classifier), or --num-classes {num_outputs} (the one it has, for {listed(names)})'
    if classifier.asked_for and data.count < num_outputs:
        return f'{said}; to leave room for classes without images, name them all in a --class-map file'
    return said
