"""What a report shows: everything that is known about one search, as plain data."""
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..arch import Arch, ArchError
from ..spaces import MBConvSpace
from .svg import finite

__all__ = ['Searched', 'standard_error']


@dataclass(frozen=True)
class Searched:
    """A search, running or finished.

    Attributes:
        folder: its output folder, as it was given.
        settings: its options.
        defaults: the defaults of these options.
        space: its search space.
        record: number of processes, classes, halves and images (`halves.json`).
        history: one row per finished epoch, at least one.
        result: the content of `result.json`; None if it is not finished.
        candidates: multiply-adds and score (nats per image) of what was scored, in order, by a strategy without a
            distribution.
    """

    folder: str
    settings: Mapping[str, Any]
    defaults: Mapping[str, Any]
    space: MBConvSpace
    record: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    result: Mapping[str, Any] | None
    candidates: Sequence[tuple[float, float]] = ()

    @cached_property
    def arch(self) -> Arch | None:
        """The result, or the most probable or best architecture so far; None if neither is known."""
        last = self.history[-1]
        string = (self.result or {}).get('arch') or last.get('most_probable') or last.get('best')
        try:
            return Arch.parse(string) if isinstance(string, str) else None
        except ArchError:
            return None

    @property
    def macs(self) -> Any:
        """The multiply-adds of `arch`, if they are known."""
        last = self.history[-1]
        return (self.result or {}).get('macs', last.get('most_probable_cost', last.get('best_cost')))

    @property
    def strategy(self) -> str:
        """Its `--strategy`."""
        return str(self.settings.get('strategy') or 'fp-nas')

    @property
    def progress(self) -> str:
        """How far it is, in words."""
        if self.result is not None:
            return 'finished'
        done = len(self.history)
        return f'epoch {done} of {self.epochs}, not finished' if self.has_marginals else f'{done} rounds, not finished'

    @property
    def target(self) -> float | None:
        """The budget of multiply-adds, if there is one."""
        return self._budget('target_macs')

    @property
    def target_params(self) -> float | None:
        """The budget of parameters, if there is one."""
        return self._budget('target_params')

    @property
    def target_latency(self) -> float | None:
        """The budget of time for a call in milliseconds, if there is one."""
        return self._budget('target_latency')

    def _budget(self, name: str) -> float | None:
        target = self.settings.get(name)
        return float(target) if finite(target) and target > 0 else None

    @property
    def epochs(self) -> int:
        """The number of epochs of the whole search; of a strategy that scores candidates, the rounds so far too."""
        planned = self.settings.get('epochs')
        return max(planned if type(planned) is int else 0, len(self.history))

    @property
    def images_per_step(self) -> int:
        """The number of images that a step's log-likelihoods are summed over."""
        parts = (self.settings.get('batch_size'), self.settings.get('grad_accum_steps'), self.record.get('processes'))
        return math.prod(p for p in parts if type(p) is int and p > 0)

    @property
    def classes(self) -> list[Any]:
        """The classes that were searched on."""
        classes = self.record.get('classes')
        return classes if isinstance(classes, list) else []

    @property
    def num_classes(self) -> int | None:
        """The number of classes that multiply-adds are counted for; None if it is not known."""
        counted = self.settings.get('target_num_classes')
        return counted if type(counted) is int else len(self.classes) or None

    @property
    def finalists(self) -> list[Mapping[str, Any]]:
        """The architectures that were compared at the end, if any."""
        found = (self.result or {}).get('finalists')
        return [f for f in found if isinstance(f, dict)] if isinstance(found, list) else []

    @property
    def has_marginals(self) -> bool:
        """Whether the history has the probabilities of the choices: not every strategy learns a distribution."""
        return all('marginals' in row for row in self.history)

    def column(self, name: str, scale: float = 1.0) -> list[tuple[float, float]]:
        """(epoch, value / scale) of every epoch that has a number of this name; epochs from 1."""
        return [(row['epoch'] + 1, row[name] / scale) for row in self.history if finite(row.get(name))]


def standard_error(top1: float, images: int) -> float:
    """The standard error of an accuracy in %, on this many images, in points.

    >>> standard_error(80.0, 400)
    2.0
    """
    share = min(max(top1 / 100, 0.0), 1.0)
    return 100 * math.sqrt(share * (1 - share) / images) if images > 0 else 0.0
