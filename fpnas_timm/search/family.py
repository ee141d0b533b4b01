"""A family of networks for many budgets, decoded from what one search has learned. Not in the paper.

For each target: the most probable networks within the budget (exact), scored as the finalists of a search are; the best
one with its inherited weights is a folder for timm's `local-dir:`. Members that are written are not made again.
"""
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from torch.utils.data import Dataset

from ..arch import Arch
from ..arch.cost import Cost
from ..device.latency_table import LatencyTable
from ..draw.family import draw_family
from ..errors import UsageError
from ..runs.files import write_text
from ..runs.parser import pythons_words
from ..runs.progress import one_area
from ..spaces.budgets import milliseconds, quantity
from ..spaces.costs import AdditiveCost, network_costs
from ..spaces.decode import InfeasibleError
from ..spaces.ranked import Ranked, decode_ranked
from ..weights.folder import export_model
from .family_members import PICTURE, STRING, Family, Member, compared, label, read_members, write_members
from .family_scores import Scorer
from .finalists import Finalist
from .image_evaluator import fingerprint
from .latency import digest, latency_figures
from .learned import Learned, read_learned
from .names import DEFAULT_FINALISTS
from .options import build_parser

__all__ = ['Family', 'Member', 'decode_family', 'run_family']

AnyCost: TypeAlias = str | AdditiveCost | LatencyTable


def decode_family(
        folder: str | Path,
        targets: Sequence[float | str],
        cost: AnyCost = 'macs',
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
        targets: budgets, numbers in the unit of `cost` or texts such as '2M', of milliseconds '5ms'; a member has 98 to
            100 % of its target, see `tolerance`.
        cost: what the budgets are of: 'macs', 'params', a latency table (milliseconds), or an additive cost; of the
            search's space.
        tolerance: a member costs between target * (1 - tolerance) and target.
        finalists: number of most probable networks that are scored for each target; None: as many as in the search.
        output: folder to write to (default: `family` in `folder`).
        scores: score the networks and extract the best; else the most probable ones, without weights.
        dataset: images of a search that was given a dataset in Python; see `search`.
        alpha_dataset: as `dataset`.
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
        targets: Sequence[float | str],
        cost: AnyCost = 'macs',
        tolerance: float = 0.02,
        finalists: int | None = None,
        output: str | Path | None = None,
        scores: bool = True,
        given: Mapping[str, Any] | None = None,
) -> Family:
    """As `decode_family`; `given` are its images and workers. Errors name options as the command line does."""
    learned = read_learned(folder)
    own, table = _cost_of(learned, cost)
    asked = _numbers(targets, own.unit)
    _check_targets(asked, tolerance)
    if finalists is not None and not scores:
        raise UsageError(
            f'--finalists {finalists}: without scores, the most probable network of each target is the result: leave '
            'it out'
        )
    count = (finalists or learned.searched.settings.get('finalists') or DEFAULT_FINALISTS) if scores else 1
    place = Path(output) if output is not None else learned.folder / 'family'
    about = {
        'search': fingerprint(learned.distribution.alpha), 'space': learned.searched.space.name, 'cost': own.name,
        'unit': own.unit, 'tolerance': tolerance, 'finalists': count, 'scored': scores,
        **({} if table is None else {'table': digest(table)}),
    }
    members = read_members(place, about)
    wanted = [(label(t, own.unit), t) for t in asked]
    decoded = {
        name: _decode(learned, own, target, tolerance, count) for name, target in wanted if name not in members
    }
    notes = [learned.about_budget, *_unsampled(learned, own, asked, tolerance)]

    def write() -> Family:
        every = sorted(members.values(), key=lambda m: m.target)
        write_members(place, about, notes, compared(every))
        known = compared([members[name] for name, _ in wanted if name in members])
        return Family(place, known, own.unit, notes, learned.num_classes)

    if decoded and scores:
        with one_area() as area, Scorer(learned, given or {}) as scorer:
            write()  # first of all: a folder without `family.json` would be refused after an interruption
            for name, target in wanted:
                if name in decoded:
                    final = scorer.final(decoded[name])
                    training = {'family': {**about, 'target': target}, **scorer.training}
                    export_model(final.model().cpu(), place / name, scorer.data_config, scorer.class_names, training)
                    members[name] = _member(name, target, own, table, decoded[name], final.finalists())
                    write_text(place / name / STRING, f'{members[name].arch}\n')
                    write()
                    area.line(f'{name}: {members[name].top1:.2f} % with inherited weights', last=True)
    for name, target in wanted:
        if name not in members:
            write()
            member = _member(name, target, own, table, decoded[name])
            (place / name).mkdir(parents=True, exist_ok=True)
            write_text(place / name / STRING, f'{member.arch}\n')
            members[name] = member
    if table is not None and (unmeasured := [m for m in members.values() if m.measured is None]):
        why = latency_figures(table, Arch.parse(unmeasured[0].arch), None).get('not_measured')
        notes += [f'times are predicted, not measured here: {why}'] if why else []
    family = write()
    if scores:
        rows = [asdict(m) for m in family.members]
        try:
            draw_family(rows, place / PICTURE, own.unit, _result(learned, own))
        except ImportError:
            notes.append("no picture: pip install 'fpnas-timm[draw]'")
    return family


def _numbers(targets: Sequence[float | str], unit: str) -> list[float]:
    """The budgets as numbers in their unit, the smallest first."""
    parse, example = (milliseconds, "[2, '5ms']") if unit == 'ms' else (quantity, "[1e6, '2M']")
    if isinstance(targets, str) or not isinstance(targets, Iterable):
        raise UsageError(f'targets {targets!r}: expected a list, such as {example}')
    found = []
    for target in targets:
        try:
            found.append(parse(target) if isinstance(target, str) else float(target))
        except (TypeError, ValueError) as e:
            reason = e if isinstance(target, str) else f'expected a number or a text, as in {example}'
            raise UsageError(f'target {target!r}: {reason}') from None
    return sorted(found)


def _check_targets(targets: Sequence[float], tolerance: float) -> None:
    if not targets:
        raise UsageError('targets: expected at least one budget')
    if not 0 < tolerance < 1:
        raise UsageError(f'tolerance {tolerance:g}: expected more than 0 and less than 1')
    names: set[str] = set()
    for target in targets:
        if not 0 < target < float('inf'):
            raise UsageError(f'target {target:g}: expected a number above 0')
        if label(target) in names:  # equal as text: one folder
            raise UsageError(f'target {label(target)}: is given twice')
        names.add(label(target))


def _cost_of(learned: Learned, cost: AnyCost) -> tuple[AdditiveCost, LatencyTable | None]:
    """The cost that the targets are of, and the latency table that it is from, if any."""
    space = learned.searched.space
    if isinstance(cost, LatencyTable):
        cost.check_space(space, learned.num_classes, learned.in_chans, 'the latency table')
        return cost.cost(), cost
    known = {c.name: c for c in network_costs(space, learned.num_classes, learned.in_chans)}
    if isinstance(cost, AdditiveCost):
        if cost.name in known and not _same(cost, known[cost.name]):
            raise UsageError(
                f'cost {cost.name!r}: is not that of the search, which counts {learned.num_classes} classes and '
                f'{learned.in_chans} image channels: expected cost={cost.name!r}, or an AdditiveCost of another name'
            )
        return cost, None
    if cost not in known:
        raise UsageError(f'cost {cost!r}: expected one of {", ".join(known)}, a LatencyTable or an AdditiveCost')
    return known[cost], None


def _same(one: AdditiveCost, other: AdditiveCost) -> bool:
    """Whether two costs of a space have the same tables."""
    first, second = ([*map(np.asarray, (*c.tables, c.tail, c.constant))] for c in (one, other))
    same = len(first) == len(second) and all(np.array_equal(a, b) for a, b in zip(first, second))
    return same and one.link == other.link


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
        name: str, target: float, cost: AdditiveCost, table: LatencyTable | None, decoded: Sequence[Ranked],
        finalists: Sequence[Finalist] = (),
) -> Member:
    """The best finalist, or without a final the most probable network; its time is measured, if that is possible."""
    figures: dict[str, Any] = {}
    best = decoded[0]
    if finalists:
        first = finalists[0]
        best = next(network for network in decoded if network.arch == first.arch)
        figures = {'top1': round(first.top1, 6), 'top1_se': round(first.top1_se, 6), 'images': first.images}
    measured = latency_figures(table, best.arch, target).get('measured_latency')
    return Member(
        name, target, round(cost(best.choices), 6), str(best.arch), best.cost.macs, best.cost.params,
        round(best.log_prob, 6), measured=measured, **figures, finalists=tuple(f.to_dict() for f in finalists),
    )


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


