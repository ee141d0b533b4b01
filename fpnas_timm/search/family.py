"""A family of networks for many budgets, decoded from what one search has learned. Not in the paper.

For each target: the most probable networks within the budget (exact), scored as the finalists of a search are; the best
one with its inherited weights is a folder for timm's `local-dir:`. Members that are written are not made again.
"""
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from ..arch.cost import Cost
from ..draw.family import draw_family
from ..errors import UsageError
from ..runs.files import write_text
from ..runs.parser import pythons_words
from ..runs.progress import one_area
from ..spaces.costs import AdditiveCost, network_costs
from ..spaces.decode import InfeasibleError
from ..spaces.ranked import Ranked, decode_ranked
from ..weights.folder import CONFIG_FILE, WEIGHTS_FILE, export_model
from .family_scores import Scorer
from .finalists import Finalist
from .image_evaluator import fingerprint
from .learned import Learned, read_learned
from .names import DEFAULT_FINALISTS
from .options import build_parser
from .saved import read_object

__all__ = ['FAMILY', 'PICTURE', 'Family', 'Member', 'decode_family', 'label', 'run_family']

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
    """

    folder: Path
    members: list[Member]
    unit: str
    notes: list[str]

    def __str__(self) -> str:
        """A table of the members, and the notes."""
        counted = self.unit in ('multiply-adds', 'parameters')
        own = [] if counted else [self.unit]
        rows = [['target', *own, 'multiply-adds', 'parameters', 'log-probability', 'accuracy, %']]
        for m in self.members:
            score = '-' if m.top1 is None else f'{m.top1:.2f} ± {m.top1_se:.2f}'
            score += f' (below {m.beaten_by})' if m.beaten_by else ''
            own = [] if counted else [f'{m.cost:.4g}']
            rows.append([m.name, *own, f'{m.macs:,}', f'{m.params:,}', f'{m.log_prob:.2f}', score])
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines = ['  '.join(cell.rjust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
        return '\n'.join([*lines, *self.notes])


def decode_family(
        folder: str | Path,
        targets: Sequence[float],
        cost: str | AdditiveCost = 'macs',
        *,
        tolerance: float = 0.02,
        finalists: int | None = None,
        output: str | Path | None = None,
        scores: bool = True,
        dataset: Dataset | Sequence[Any] | None = None,
        alpha_dataset: Dataset | Sequence[Any] | None = None,
        data_dir: str | Path | None = None,
        workers: int | None = None,
) -> Family:
    """Decode, score and extract a network for each of several budgets from one finished search.

    Interrupted (KeyboardInterrupt), the members that are written are kept, and the same call goes on after them.

    Args:
        folder: the output folder of the search.
        targets: budgets, in the unit of `cost`; a member has 98 to 100 % of its target, see `tolerance`.
        cost: what the budgets are of: 'macs', 'params', or an additive cost of the search's space.
        tolerance: a member costs between target * (1 - tolerance) and target.
        finalists: number of most probable networks that are scored for each target; None: as many as in the search.
        output: folder to write to (default: `family` in `folder`).
        scores: score the networks and extract the best; else the most probable ones, without weights.
        dataset, alpha_dataset: images of a search that was given a dataset in Python; see `search`.
        data_dir: where the images are now, if not where the search found them.
        workers: number of DataLoader workers; None: as in the search.

    Raises:
        UsageError: the folder is not that of a finished search with a distribution, a target is out of the space's
            range or given twice, the images are not there, or `output` has a family of other settings.
        RunError: a checkpoint or an image cannot be read, or the disk is full.
    """
    with pythons_words(build_parser()):
        given = dict(dataset=dataset, alpha_dataset=alpha_dataset, data_dir=data_dir, workers=workers)
        return run_family(folder, targets, cost, tolerance, finalists, output, scores, given)


def run_family(
        folder: str | Path,
        targets: Sequence[float],
        cost: str | AdditiveCost = 'macs',
        tolerance: float = 0.02,
        finalists: int | None = None,
        output: str | Path | None = None,
        scores: bool = True,
        given: Mapping[str, Any] | None = None,
) -> Family:
    """As `decode_family`; `given` are its images and workers. Errors name options as the command line does."""
    learned = read_learned(folder)
    asked = sorted(targets)
    _check_targets(asked, tolerance)
    own = _cost_of(learned, cost)
    count = (finalists or learned.searched.settings.get('finalists') or DEFAULT_FINALISTS) if scores else 1
    place = Path(output) if output is not None else learned.folder / 'family'
    about = {
        'search': fingerprint(learned.distribution.alpha), 'space': learned.searched.space.name, 'cost': own.name,
        'unit': own.unit, 'tolerance': tolerance, 'finalists': count, 'scored': scores,
    }
    members = _written(place, about)
    wanted = [(label(t, own.unit), t) for t in asked]
    decoded = {
        name: _decode(learned, own, target, tolerance, count) for name, target in wanted if name not in members
    }
    notes = [learned.about_budget, *_unsampled(learned, own, asked, tolerance)]

    def write() -> Family:
        family = Family(place, _beaten([members[name] for name, _ in wanted if name in members]), own.unit, notes)
        kept = sorted(members.values(), key=lambda m: m.target)
        content = {**about, 'notes': notes, 'members': [asdict(m) for m in _beaten(kept)]}
        place.mkdir(parents=True, exist_ok=True)
        write_text(place / FAMILY, json.dumps(content, indent=1) + '\n')
        return family

    if decoded and scores:
        with one_area() as area, Scorer(learned, given or {}) as scorer:
            for name, target in wanted:
                if name in decoded:
                    final = scorer.final(decoded[name])
                    training = {'family': {**about, 'target': target}, **scorer.training}
                    export_model(final.model().cpu(), place / name, scorer.data_config, scorer.class_names, training)
                    members[name] = _member(name, target, own, decoded[name], final.finalists())
                    write_text(place / name / STRING, f'{members[name].arch}\n')
                    write()
                    area.line(f'{name}: {members[name].top1:.2f} % with inherited weights', last=True)
    for name, target in wanted:
        if name not in members:
            members[name] = _member(name, target, own, decoded[name])
            (place / name).mkdir(parents=True, exist_ok=True)
            write_text(place / name / STRING, f'{members[name].arch}\n')
    family = write()
    if scores:
        rows = [asdict(m) for m in family.members]
        try:
            draw_family(rows, place / PICTURE, own.unit, _result(learned, own))
        except ImportError:
            notes.append("no picture: pip install 'fpnas-timm[draw]'")
    return family


def label(target: float, unit: str = 'multiply-adds') -> str:
    """A target as text, as it is written in an option.

    >>> label(1.5e6), label(300_000), label(12_345), label(2.5, 'ms')
    ('1.5M', '300K', '12345', '2.5ms')
    """
    if unit == 'ms':
        return f'{target:g}ms'
    for factor, suffix in ((1e9, 'G'), (1e6, 'M'), (1e3, 'K')):
        if target >= factor and float(f'{target / factor:.4g}') * factor == target:
            return f'{target / factor:.4g}{suffix}'
    return f'{target:.15g}'


def _check_targets(targets: Sequence[float], tolerance: float) -> None:
    if not targets:
        raise UsageError('targets: expected at least one budget')
    if not 0 < tolerance < 1:
        raise UsageError(f'tolerance {tolerance:g}: expected more than 0 and less than 1')
    for before, target in zip([None, *targets], targets):
        if not 0 < target < float('inf'):
            raise UsageError(f'target {target:g}: expected a number above 0')
        if before == target:
            raise UsageError(f'target {label(target)}: is given twice')


def _cost_of(learned: Learned, cost: str | AdditiveCost) -> AdditiveCost:
    """The cost that the targets are of."""
    space = learned.searched.space
    if isinstance(cost, AdditiveCost):
        return cost
    known = {c.name: c for c in network_costs(space, learned.num_classes, learned.in_chans)}
    if cost not in known:
        raise UsageError(f'cost {cost!r}: expected one of {", ".join(known)}, or an AdditiveCost')
    return known[cost]


def _decode(learned: Learned, cost: AdditiveCost, target: float, tolerance: float, count: int) -> list[Ranked]:
    """The most probable networks for a target, most probable first."""
    least, most = cost.range()
    name, space = label(target, cost.unit), learned.searched.space
    if target < least:
        raise UsageError(
            f'target {name}: the smallest network of space {space.name!r} has {least:,.10g} {cost.unit}: expected a '
            'larger target'
        )
    if target * (1 - tolerance) > most:
        raise UsageError(
            f'target {name}: the largest network of space {space.name!r} has {most:,.10g} {cost.unit}: expected a '
            'smaller target'
        )
    window = (target * (1 - tolerance), target)
    named: dict[str, Any] = {cost.name: window} if cost.name in Cost._fields else {'others': [(cost, window)]}
    try:
        return decode_ranked(
            space, learned.distribution.log_probs(), count, num_classes=learned.num_classes, in_chans=learned.in_chans,
            **named,
        )
    except InfeasibleError as e:
        raise UsageError(f'target {name}: {e}') from None


def _member(
        name: str, target: float, cost: AdditiveCost, decoded: Sequence[Ranked], finalists: Sequence[Finalist] = ()
) -> Member:
    """The best finalist, or without a final the most probable network."""
    figures: dict[str, Any] = {}
    best = decoded[0]
    if finalists:
        first = finalists[0]
        best = next(network for network in decoded if network.arch == first.arch)
        figures = {'top1': round(first.top1, 6), 'top1_se': round(first.top1_se, 6), 'images': first.images}
    return Member(
        name, target, cost(best.choices), str(best.arch), best.cost.macs, best.cost.params, round(best.log_prob, 6),
        **figures, finalists=tuple(finalist.to_dict() for finalist in finalists),
    )


def _beaten(members: Sequence[Member]) -> list[Member]:
    """The same members, with the name of a cheaper one that is better."""
    out: list[Member] = []
    for m in members:
        better = [o for o in out if m.top1 is not None and (o.top1 or 0) > m.top1 and o.cost <= m.cost]
        best = max(better, key=lambda o: o.top1 or 0, default=None)
        out.append(Member(**{**vars(m), 'beaten_by': best.name if best else None}))
    return out


def _unsampled(learned: Learned, cost: AdditiveCost, targets: Sequence[float], tolerance: float) -> list[str]:
    """A note about targets that are outside of what the search sampled for alpha."""
    if cost.name != 'macs' or learned.sampled is None:
        return []
    low, high = learned.sampled
    far = [label(t) for t in targets if t < low or t * (1 - tolerance) > high]
    return [] if not far else [
        f'the search sampled networks of {low:,.0f} to {high:,.0f} multiply-adds: what it learned about '
        f'{", ".join(far)} is from others'
    ]


def _result(learned: Learned, cost: AdditiveCost) -> tuple[float, float] | None:
    """Cost and accuracy of the search's own result, for the picture; None if they are not known."""
    found = learned.searched.result or {}
    if cost.name not in Cost._fields or learned.searched.arch is None:
        return None
    return found.get(cost.name, 0), found.get('supernet_top1', 0)


def _written(place: Path, about: Mapping[str, Any]) -> dict[str, Member]:
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
