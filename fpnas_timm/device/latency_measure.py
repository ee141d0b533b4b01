"""Measures the networks of a space on this machine, and makes a latency table of their times."""
import math
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..arch import Arch
from ..errors import RunError, UsageError, one_line
from ..runs.files import read_jsonl, write_jsonl
from ..spaces import Choices, MBConvSpace, get_space
from .latency_fit import GOOD, Worth, fit_rates, worth
from .latency_rounds import COMPANY, TOGETHER, Ratio, Turns, TurnsTaker, spread_of, take_turns
from .latency_table import LatencyTable, Rates, network_work
from .runtimes import Machine, own_setting, why_not_here

__all__ = [
    'Checked', 'Measured', 'check_table', 'measure_latency', 'measure_network', 'partial_file', 'random_networks',
]

NETWORKS, LEAST = 400, 48  # the default, and the fewest that a table can be fitted to and checked with
HELD_OUT = 5  # every so many-th network is not fitted
BIAS = 3.0  # nats, see `random_networks`
NOISY, SOON = 0.10, 24  # largest spread of a measurement, and after how many networks it is looked at first


@dataclass(frozen=True)
class Measured:
    """The time of one network.

    Attributes:
        milliseconds: at the speed that the machine had when the table was measured.
        now: milliseconds by the clock.
        spread: see `latency_rounds.spread_of`.
    """

    milliseconds: float
    now: float
    spread: float


@dataclass(frozen=True)
class Checked:
    """A table against networks that were measured.

    Attributes:
        worth: how good it is.
        slower: how many times as long the machine takes now as when the table was measured.
        spread: see `latency_rounds.spread_of`.
        predicted, measured: milliseconds of each network, those that were measured as `Measured.milliseconds`.
    """

    worth: Worth
    slower: float
    spread: float
    predicted: list[float]
    measured: list[float]


def measure_latency(
        space: MBConvSpace | str,
        runtime: str = 'onnxruntime',
        device: str = 'cpu',
        threads: int = 1,
        batch_size: int = 1,
        num_classes: int = 1000,
        in_chans: int = 3,
        output: str | Path | None = None,
        minutes: float = 10.0,
        networks: int = NETWORKS,
        seed: int = 0,
        machine: TurnsTaker | None = None,
        say: Callable[[str], None] = lambda text: None,
) -> LatencyTable:
    """Measure networks of a space on this machine, and fit a latency table to their times.

    Half of the networks are drawn uniformly, half with a bias towards small or large choices. A fifth of them is not
    fitted, and says what the table is worth.

    Args:
        space: the space with its input size, or its name or file.
        runtime: 'torch', 'compile', 'onnxruntime' or 'openvino'.
        device: 'cpu' or 'cuda'.
        threads: threads of the runtime.
        batch_size: images per call.
        num_classes: number of outputs of the classifier.
        in_chans: number of image channels.
        output: the file to write; what has been measured is kept beside it until then, and a second call goes on there.
        minutes: time after which no further networks are measured.
        networks: number of networks, unless the time is over before.
        seed: of the draws.
        machine: what runs the networks; this machine if None.
        say: gets lines for people.

    Raises:
        UsageError: a package or a device is missing, or `output` belongs to another measurement.
        RunError: the machine is too noisy, or the table would be worth nothing; nothing is written.
        KeyboardInterrupt: what has been measured is kept.
    """
    space = get_space(space) if isinstance(space, str) else space
    if networks < LEAST:
        raise UsageError(f'--networks {networks}: expected at least {LEAST}, to fit a table and to check it')
    setting = own_setting(runtime, device, threads, batch_size, num_classes, in_chans) if machine is None else \
        machine.setting
    machine = Machine(setting) if machine is None else machine
    header = {'setting': asdict(setting), 'space': space.to_dict(), 'seed': seed, 'folded': True}  # once it was not
    rows = _measured_rows(space, machine, header, output, minutes, networks, seed, say)
    spread, partial = spread_of([Ratio(*row['ratio']) for row in rows]), partial_file(output)
    try:
        _check_spread(spread)
        table = _fitted(space, machine, rows, seed, spread)
    except RunError:
        if partial is not None:
            partial.unlink(missing_ok=True)
        raise
    if output is not None and partial is not None:
        table.save(output)
        partial.unlink(missing_ok=True)
    return table


def partial_file(output: str | Path | None) -> Path | None:
    """Where the networks that have been measured are kept until the table is written."""
    return None if output is None else Path(f'{output}.partial')


def random_networks(space: MBConvSpace, seed: int, start: int, count: int) -> list[Choices]:
    """Networks number `start` and on of an endless list: even ones are drawn uniformly, odd ones with a bias.

    A biased network takes the i-th of n choices of a variable with a probability in proportion to
    exp(b * i / (n - 1)), with the same b for all of its variables but the non-linearity, uniform between -3 and 3. So
    small and large networks are among them, which there are hardly any of among uniform ones.
    """
    out = []
    for number in range(start, start + count):
        rng = random.Random(f'{seed}/{number}')
        bias = rng.uniform(-BIAS, BIAS) if number % 2 else 0.0
        out.append(tuple(
            tuple(
                rng.choices(range(len(c)), [math.exp((bias if v != 'act' else 0) * i / max(1, len(c) - 1))
                                            for i in range(len(c))])[0]
                for v, c in group.items()
            )
            for group in space.groups
        ))
    return out


def reference_network(space: MBConvSpace) -> Arch:
    """The network of the middle choice of every variable, without bypasses where there is a choice."""
    return space.to_arch(tuple(
        tuple((len(c) - 1 if v == 'kernel' else len(c) - 1 - (len(c) - 1) // 2) if len(c) > 1 else 0
              for v, c in group.items())
        for group in space.groups
    ))


def _measured_rows(
        space: MBConvSpace, machine: TurnsTaker, header: Mapping[str, Any], output: str | Path | None, minutes: float,
        networks: int, seed: int, say: Callable[[str], None],
) -> list[dict[str, Any]]:
    """A row per network: its ratio to the reference, and the reference's milliseconds beside it."""
    partial = partial_file(output)
    rows = _earlier_rows(partial, header)
    if rows:
        say(f'{len(rows)} networks have been measured before: going on')
    started, before = time.monotonic(), len(rows)
    with machine.ready(), tqdm(
        total=networks, initial=len(rows), desc='networks', disable=not sys.stderr.isatty()
    ) as bar:
        reference = machine.open(reference_network(space))
        while len(rows) < networks:
            spent = (time.monotonic() - started) / 60
            if spent >= minutes and len(rows) >= LEAST:
                break
            rows += _some_rows(space, machine, reference, seed, len(rows), min(TOGETHER, networks - len(rows)))
            if partial is not None:
                write_jsonl(partial, [header, *rows])
            spent, new = (time.monotonic() - started) / 60, len(rows) - before
            bar.total = min(networks, max(LEAST, before + math.ceil(new * minutes / max(spent, 1e-9))))
            bar.update(len(rows) - bar.n)
            if SOON <= len(rows) < SOON + TOGETHER:
                try:
                    _check_spread(spread_of([Ratio(*row['ratio']) for row in rows]))
                except RunError:
                    if partial is not None:
                        partial.unlink(missing_ok=True)
                    raise
    return rows


def _some_rows(
        space: MBConvSpace, machine: TurnsTaker, reference: Callable[[], object], seed: int, start: int, count: int
) -> list[dict[str, Any]]:
    archs = random_networks(space, seed, start, count)
    turns = _in_company(space, machine, reference, [space.to_arch(arch) for arch in archs])
    return [
        {'choices': arch, 'ratio': list(ratio), 'reference': turns.reference}
        for arch, ratio in zip(archs, turns.ratios)
    ]


def _in_company(
        space: MBConvSpace, machine: TurnsTaker, reference: Callable[[], object], archs: Sequence[Arch]
) -> Turns:
    """Time networks; others of the space join, so that all companies are as large."""
    others = random_networks(space, 0, 0, -len(archs) % COMPANY)
    runs = [machine.open(arch) for arch in (*archs, *map(space.to_arch, others))]
    turns = take_turns(reference, runs, machine.clock)
    return Turns(turns.ratios[: len(archs)], turns.reference)


def _earlier_rows(partial: Path | None, header: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of an interrupted measurement of the same thing."""
    if partial is None or not partial.exists():
        return []
    try:
        first, *rows = read_jsonl(partial)
        same = {k: _plain(v) for k, v in first.items()} == {k: _plain(v) for k, v in header.items()}
        for row in rows:
            Ratio(*map(float, row['ratio'])), float(row['reference'])
            row['choices'] = tuple(map(tuple, row['choices']))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as e:
        raise UsageError(f'{partial}: is damaged ({one_line(e)}): delete it to measure from the start') from None
    if not same:
        raise UsageError(
            f'{partial}: is an interrupted measurement of another space, machine or setting: delete it, or write to '
            'another --output'
        )
    return rows


def _plain(value: Any) -> Any:
    """As it comes back from a JSON file."""
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def _check_spread(spread: float) -> None:
    if spread > NOISY:
        raise RunError(
            f'this machine is too noisy to measure on: the same network takes {100 * spread:.0f} % more or less in '
            f'one half of its runs than in the other (median of the networks; at most {100 * NOISY:.0f} % is '
            'accepted): end other programs and measure again'
        )


def _fitted(
        space: MBConvSpace, machine: TurnsTaker, rows: Sequence[Mapping[str, Any]], seed: int, spread: float
) -> LatencyTable:
    """The table of these rows.

    Raises:
        RunError: it is worth nothing.
    """
    references = [row['reference'] for row in rows]
    scale = statistics.median(references)
    works = [network_work(space.to_arch(row['choices'])) for row in rows]
    times = [row['ratio'][0] * scale for row in rows]
    held = [i % HELD_OUT == HELD_OUT - 1 for i in range(len(rows))]
    fit = fit_rates([w for w, h in zip(works, held) if not h], [t for t, h in zip(times, held) if not h])
    *groups, head = [_rounded(rates) for rates in fit.parts]
    table = LatencyTable(
        space, machine.setting, groups, head, float(f'{fit.constant:.6g}'),
        (str(reference_network(space)), float(f'{scale:.6g}')), None, f'{date.today()}',
    )
    found = worth(
        [table.time_of(w) for w, h in zip(works, held) if h], [t for t, h in zip(times, held) if h]
    )
    if not found.is_good:
        raise RunError(
            f'no table is written, since it would be worth too little: on {found} (expected a mean error of at most '
            f'{100 * GOOD[0]:.0f} % and a tau of at least {GOOD[1]}): measure for longer (--minutes), on a machine '
            'that does nothing else'
        )
    drift = statistics.median(abs(r / scale - 1) for r in references)
    figures = {**found._asdict(), 'fitted': sum(not h for h in held), 'spread': spread, 'drift': drift}
    return table.with_worth({k: v if isinstance(v, int) else float(f'{v:.4g}') for k, v in figures.items()})


def _rounded(rates: Rates) -> dict[str, float]:
    return {kind: float(f'{rate:.6g}') for kind, rate in rates.items() if rate}


def check_table(
        table: LatencyTable, networks: int = 24, seed: int = 1, machine: TurnsTaker | None = None
) -> Checked:
    """Measure networks that the table was not made from: even ones uniform, odd ones biased, see `random_networks`.

    Raises:
        UsageError: the table is of another machine, or its runtime is not there.
        RunError: the machine is too noisy.
    """
    machine = _machine_of(table) if machine is None else machine
    references, ratios = [], []
    archs = random_networks(table.space, seed, 0, networks)
    with machine.ready():
        reference = machine.open(Arch.parse(table.reference[0]))
        for i in tqdm(range(0, networks, TOGETHER), desc='networks', unit_scale=TOGETHER,
                      disable=not sys.stderr.isatty()):
            some = [table.space.to_arch(arch) for arch in archs[i : i + TOGETHER]]
            turns = _in_company(table.space, machine, reference, some)
            ratios += turns.ratios
            references.append(turns.reference)
    spread = spread_of(ratios)
    _check_spread(spread)
    measured = [ratio.all * table.reference[1] for ratio in ratios]
    predicted = [table.time_of(network_work(table.space.to_arch(arch))) for arch in archs]
    slower = statistics.median(references) / table.reference[1]
    return Checked(worth(predicted, measured), slower, spread, predicted, measured)


def measure_network(table: LatencyTable, arch: Arch, machine: TurnsTaker | None = None) -> Measured:
    """The time of one network, which need not be of the table's space, in the table's setting.

    It takes turns with as many networks as those that the table was made from did.

    Raises:
        UsageError: the table is of another machine, or its runtime is not there.
        RunError: the machine is too noisy.
    """
    machine = _machine_of(table) if machine is None else machine
    with machine.ready():
        turns = _in_company(table.space, machine, machine.open(Arch.parse(table.reference[0])), [arch])
    spread = spread_of(turns.ratios)
    _check_spread(spread)
    ratio = turns.ratios[0].all
    return Measured(ratio * table.reference[1], ratio * turns.reference, spread)


def _machine_of(table: LatencyTable) -> Machine:
    reason = why_not_here(table.setting)
    if reason is not None:
        raise UsageError(f'cannot be measured here: {reason}')
    return Machine(table.setting)


