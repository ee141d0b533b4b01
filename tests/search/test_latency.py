"""Time as a budget: with the method and a baseline, together with multiply-adds, resumed, measured, and refused."""
import json
import logging
import random
from dataclasses import replace

import pytest

from fpnas_timm.arch.cost import cost
from fpnas_timm.device import LatencyTable, latency_measure
from fpnas_timm.device import latency_rounds as rounds
from fpnas_timm.device.runtimes import machine_name
from fpnas_timm.draw.report import report_page
from fpnas_timm.errors import UsageError
from fpnas_timm.search import search
from fpnas_timm.search.options import parse_search_args
from fpnas_timm.search.page import read_search
from fpnas_timm.spaces.budgets import milliseconds
from tests.device.tables import SETTING, made_up_table
from tests.search.test_api import SETTINGS, SPACE, Colours
from tests.spaces.cases import everything

HERE = replace(SETTING, machine=machine_name(), num_classes=3)


@pytest.fixture
def table(tmp_path):
    """Of this machine, so that the result is measured; the predicted times are made up."""
    table = made_up_table(SPACE, setting=HERE)
    table.save(tmp_path / 'table.json')
    return LatencyTable.load(tmp_path / 'table.json')


def middle(table):
    times = sorted(map(table.cost(), everything(SPACE)))
    return times[len(times) // 2]


def test_the_result_is_within_the_time(table, tmp_path, caplog, monkeypatch) -> None:
    monkeypatch.setattr(rounds, 'ROUNDS', (3, 3))
    monkeypatch.setattr(latency_measure, 'NOISY', 1e9)
    caplog.set_level(logging.INFO, 'search')
    target, out = middle(table), tmp_path / 'out'
    result = search(
        SPACE, Colours(), target_latency=f'{target}ms', latency_table=str(tmp_path / 'table.json'), tolerance=0.15,
        output=out, **SETTINGS,
    )
    assert result.latency == pytest.approx(table.predict(result.arch)) and 0.85 * target <= result.latency <= target
    assert all(0.85 * target <= f.latency <= target for f in result.finalists)
    written = json.loads((out / 'result.json').read_text())
    assert written['target_latency'] == target and written['latency'] == pytest.approx(result.latency, abs=1e-5)
    assert written['measured_latency'] > 0 and written['measured_now'] > 0 and 'not_measured' not in written
    assert result.history[-1]['expected_latency'] > 0 and 'multiplier_latency' in result.history[-1]
    assert result.distribution is not None
    mode = table.cost()(result.distribution.most_probable())
    assert 0.85 * target <= mode <= target
    line = next(m for m in caplog.messages if m.startswith('time of a call: '))
    assert 'target ' in line and 'predicted ' in line and 'measured ' in line and machine_name() in line
    assert any(m.startswith('epoch ') and f'and {result.history[-1]["expected_latency"]:.4g} ms' in m
               for m in caplog.messages)
    page = report_page(read_search(out))
    assert 'time of a call, measured' in page and 'expected time of a call' in page and 'time, predicted, ms' in page
    assert LatencyTable.load(out / 'latency.json').to_text() == table.to_text()
    (tmp_path / 'table.json').unlink()  # the folder has its own
    assert str(search(resume=out, dataset=Colours()).arch) == str(result.arch)
    (out / 'latency.json').write_text(replace(table, constant=table.constant * 1.001).to_text())
    with pytest.raises(UsageError, match='latency table changed since it started'):
        search(resume=out, dataset=Colours())


def test_with_multiply_adds_on_another_machine_by_evolution(tmp_path) -> None:
    """Both windows hold; the table is of another machine, which is said."""
    table = made_up_table(SPACE, setting=replace(SETTING, num_classes=3))
    table.save(tmp_path / 'table.json')
    some = SPACE.to_arch(next(a for a in everything(SPACE) if table.cost()(a) >= middle(table)))
    target, macs = table.predict(some) * 1.05, cost(some, num_classes=3).macs * 1.05
    settings = {k: v for k, v in SETTINGS.items() if k not in ('warmup_epochs',)}
    result = search(
        SPACE, Colours(), target_latency=target, target_macs=macs, latency_table=tmp_path / 'table.json',
        tolerance=0.3, output=tmp_path / 'out', strategy='evolution', evaluations=12, population=4, tournament=2,
        score_batches=1, **settings,
    )
    for finalist in result.finalists:
        assert 0.7 * target <= finalist.latency <= target and 0.7 * macs <= finalist.macs <= macs
    written = json.loads((tmp_path / 'out' / 'result.json').read_text())
    assert 'the table is of a machine, this machine is' in written['not_measured'] and 'measured_now' not in written
    assert 'not measured: ' in report_page(read_search(tmp_path / 'out'))


def test_refused_before_the_search(table, tmp_path) -> None:
    path, out = tmp_path / 'table.json', tmp_path / 'out'
    low, high = table.cost().range()
    fastest = f"the fastest network of space 'tiny' takes {low:.4g} ms, the slowest {high:.4g}"
    for given, said in [
        (dict(target_latency=low / 2), fastest),
        (dict(target_latency=high * 2), 'no architecture of space'),
        (dict(target_latency=1, latency_table=None), 'expected latency_table=FILE'),
        (dict(target_latency=1, latency_table=str(tmp_path / 'no.json')), 'No such file'),
        (dict(target_latency=1, img_size=32), 'is of images of 16 pixels, not 32'),
        (dict(target_latency=1, target_num_classes=1000), 'is of networks with 3 classes, not 1000'),
        (dict(target_latency='5 minutes'), 'such as 5ms, 0.8ms or 750us'),
        (dict(target_latency='-1ms'), 'expected more than 0'),
        (dict(target_latency=middle(table), target_macs=10), 'target_macs'),
    ]:
        with pytest.raises(UsageError) as e:
            search(SPACE, Colours(), output=out, **{'latency_table': str(path), **SETTINGS, **given})
        assert said in str(e.value) and '\n' not in str(e.value), str(e.value)
        assert not out.exists()


def test_options() -> None:
    args = parse_search_args('--target-latency 750us --latency-table a.json --output x'.split())
    assert args.target_latency == 0.75 and args.latency_table == 'a.json'
    with pytest.raises(UsageError, match='--target-latency 5 ms: expected --latency-table FILE'):
        parse_search_args('--target-latency 5ms --output x'.split())


@pytest.mark.parametrize('text', ['', 'ms', '5 min', '5m', 'nanms', '1e3e3ms', '5 ms s'])
def test_a_time_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match='such as 5ms'):
        milliseconds(text)


def test_times_as_people_write_them() -> None:
    rng = random.Random(0)
    for value in (rng.uniform(0.001, 1e4) for _ in range(50)):
        assert milliseconds(f'{value}ms') == milliseconds(f' {value} MS ') == value
        assert milliseconds(f'{value}us') == pytest.approx(value / 1e3) and milliseconds(f'{value}s') == value * 1e3
