"""The members of a family of networks, its table, and what is written of it."""
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..runs.files import write_text
from ..weights.folder import CONFIG_FILE, WEIGHTS_FILE
from .saved import read_object

__all__ = ['FAMILY', 'PICTURE', 'STRING', 'Family', 'Member', 'compared', 'label', 'read_members', 'write_members']

FAMILY, PICTURE, STRING = 'family.json', 'family.png', 'arch.txt'


@dataclass(frozen=True)
class Member:
    """A network of the family.

    Attributes:
        name: its target as text, such as '1M': the name of its folder.
        target: the largest cost that it may have.
        cost: its cost, in the unit of the target.
        arch: its string.
        macs, params: its multiply-adds and parameters.
        log_prob: its log-probability (nats) under the distribution that it was decoded from.
        top1: its accuracy (%) with inherited weights on the images that train alpha; None if it was not scored.
        top1_se: the standard error of `top1` over the images, in points.
        images: number of these images.
        measured: milliseconds measured on this machine, with a latency table of it; else None.
        beaten_by: name of a member that costs no more and has a higher accuracy; None if there is none.
        finalists: all networks that were scored for this target, best first, as in `result.json`.
    """

    name: str
    target: float
    cost: float
    arch: str
    macs: int
    params: int
    log_prob: float
    top1: float | None = None
    top1_se: float | None = None
    images: int | None = None
    measured: float | None = None
    beaten_by: str | None = None
    finalists: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Family:
    """A family.

    Attributes:
        folder: where its files are.
        members: the networks, by their targets.
        unit: what `Member.cost` counts.
        notes: what the reader must know: the share of the search's budget, and targets that nothing was sampled near.
        num_classes: of the images that were searched on.
    """

    folder: Path
    members: list[Member]
    unit: str
    notes: list[str]
    num_classes: int

    def __str__(self) -> str:
        """A table of the members, and the notes."""
        counted = self.unit in ('multiply-adds', 'parameters')
        own = [] if counted else [self.unit]
        timed = any(m.measured is not None for m in self.members)
        own += ['measured'] * timed
        rows = [['target', *own, 'multiply-adds', 'parameters', 'log-probability', 'accuracy, %']]
        for m in self.members:
            score = '-' if m.top1 is None else f'{m.top1:.2f} ± {m.top1_se:.2f}'
            score += f' (below {m.beaten_by})' if m.beaten_by else ''
            own = [] if counted else [f'{m.cost:.4g}']
            own += ['-' if m.measured is None else f'{m.measured:.4g}'] * timed
            rows.append([m.name, *own, f'{m.macs:,}', f'{m.params:,}', f'{m.log_prob:.2f}', score])
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines = ['  '.join(cell.rjust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
        return '\n'.join([*lines, *self.notes])


def label(target: float, unit: str = 'multiply-adds') -> str:
    """A target as text, as it is written in an option.

    >>> label(1.5e6), label(300_000), label(12_345), label(2.5, 'ms')
    ('1.5M', '300K', '12345', '2.5ms')
    """
    if unit == 'ms':
        return f'{target:.15g}ms'
    for factor, suffix in ((1e9, 'G'), (1e6, 'M'), (1e3, 'K')):
        if target >= factor and float(f'{target / factor:.4g}') * factor == target:
            return f'{target / factor:.4g}{suffix}'
    return f'{target:.15g}'


def compared(members: Sequence[Member]) -> list[Member]:
    """The same members, each with the name of the best one that costs no more and is better, if there is one."""
    out: list[Member] = []
    for m in members:
        better = [o for o in members if m.top1 is not None and (o.top1 or 0) > m.top1 and o.cost <= m.cost]
        best = max(better, key=lambda o: o.top1 or 0, default=None)
        out.append(replace(m, beaten_by=best.name if best else None))
    return out


def write_members(place: Path, about: Mapping[str, Any], notes: Sequence[str], members: Sequence[Member]) -> None:
    """Write `family.json`."""
    content = {**about, 'notes': list(notes), 'members': [asdict(m) for m in members]}
    place.mkdir(parents=True, exist_ok=True)
    write_text(place / FAMILY, json.dumps(content, indent=1) + '\n')


def read_members(place: Path, about: Mapping[str, Any]) -> dict[str, Member]:
    """The members that an earlier call with the same settings has written, by name.

    Raises:
        UsageError: the folder has a family of other settings, or something else.
    """
    path = place / FAMILY
    if not path.exists():
        if place.exists() and (not place.is_dir() or any(p for p in place.iterdir() if not p.name.startswith('.'))):
            raise UsageError(f'{place}: is there, but no family ({FAMILY} does not exist): choose another folder')
        return {}
    found = read_object(path, f'delete {place}, or choose another folder')
    changed = [f'{k} was {found.get(k)!r}, is {v!r}' for k, v in about.items() if found.get(k) != v]
    if changed:
        raise UsageError(
            f'{place}: has a family with other settings ({"; ".join(changed)}): delete it, or choose another folder'
        )
    files = (STRING, CONFIG_FILE, WEIGHTS_FILE) if about['scored'] else (STRING,)
    members = [_read_member(row, path) for row in found.get('members') or []]
    return {m.name: m for m in members if all((place / m.name / file).exists() for file in files)}


def _read_member(row: Any, path: Path) -> Member:
    try:
        member = Member(**{**row, 'finalists': tuple(row['finalists'])})
        float(member.target), str(member.name)
    except (KeyError, TypeError, ValueError):
        raise UsageError(f'{path}: is damaged: delete {path.parent}, or choose another folder') from None
    return member
