"""A table as a file, as an additive cost, and against the wrong space."""
import json
import random

import pytest

from fpnas_timm.device import LatencyTable
from fpnas_timm.device.latency_table import network_work
from fpnas_timm.errors import UsageError
from fpnas_timm.search.distribution import Factorized
from fpnas_timm.spaces import get_space
from fpnas_timm.spaces.decode import InfeasibleError, decode
from tests.device.tables import made_up_table
from tests.spaces.cases import everything, tiny_space


def test_file_round_trip(tmp_path) -> None:
    table = made_up_table(get_space('fpnas_s1pp'))
    table.save(tmp_path / 'a.json')
    again = LatencyTable.load(tmp_path / 'a.json')
    assert again.space == table.space and again.setting == table.setting and again.reference == table.reference
    arch = table.space.sample_arch(random.Random(0))
    assert again.predict(arch) == pytest.approx(table.predict(arch), rel=1e-5)  # six digits
    again.save(tmp_path / 'b.json')
    assert (tmp_path / 'a.json').read_bytes() == (tmp_path / 'b.json').read_bytes()
    text = (tmp_path / 'a.json').read_text()
    assert len(text) < 30_000 and max(map(len, text.splitlines())) < 1500


def test_the_cost_is_the_sum_over_the_groups() -> None:
    table = made_up_table(tiny_space())
    cost = table.cost()
    some = tuple((0,) * len(group) for group in table.space.groups)
    assert table.predict(table.space.to_arch(some)) == pytest.approx(cost(some), rel=1e-12)
    for arch in everything(table.space):
        works = network_work(table.space.to_arch(arch))
        true = table.constant + sum(
            rate * work.get(kind, 0)
            for rates, work in zip([*table.groups, table.head], works) for kind, rate in rates.items()
        )
        assert cost(arch) == pytest.approx(true, rel=1e-12)


def test_decode_within_a_time_is_exact() -> None:
    """Against all architectures of the space, together with a window of multiply-adds."""
    space = tiny_space()
    table, rng = made_up_table(space), random.Random(1)
    cost, uniform = table.cost(), Factorized(space).log_probs()
    weights = [{v: [p + rng.random() for p in ps] for v, ps in group.items()} for group in uniform]
    low, high = cost.range()
    for share in (0.1, 0.4, 0.8):
        budget, macs = low + share * (high - low), 200_000
        found = decode(space, weights, macs=macs, num_classes=10, others=[(cost, budget)])
        assert cost(found.choices) <= budget
        best = max(
            sum(ps[k] for g, chosen in zip(weights, arch) for ps, k in zip(g.values(), chosen))
            for arch in everything(space)
            if cost(arch) <= budget and decode_macs(space, arch) <= macs
        )
        assert found.log_prob == pytest.approx(best, abs=1e-6) and found.bound >= best - 1e-6
    with pytest.raises(InfeasibleError, match=r'the nearest has .* ms \(the space reaches'):
        decode(space, uniform, others=[(cost, low / 2)])


def decode_macs(space, arch):
    from fpnas_timm.arch.cost import cost

    return cost(space.to_arch(arch), num_classes=10).macs


def test_networks_of_other_spaces_are_refused() -> None:
    table = made_up_table(tiny_space())
    with pytest.raises(UsageError, match="not in space 'tiny'"):
        table.predict(get_space('fpnas_s1pp').sample_arch(random.Random(0)))
    table.check_space(tiny_space(), 10)
    for space, classes, chans, said in [
        (get_space('fpnas_s1pp'), 10, 3, "of space 'tiny', which has other groups or choices than space 'fpnas_s1pp'"),
        (tiny_space().with_img_size(64), 10, 3, 'images of 32 pixels, not 64'),
        (tiny_space(), 1000, 3, 'with 10 classes, not 1000'),
        (tiny_space(), 10, 1, '3 channels, not 1'),
    ]:
        with pytest.raises(UsageError, match=said):
            table.check_space(space, classes, chans)


@pytest.mark.parametrize('change, said', [
    (lambda data: '[', 'line 1'),
    (lambda data: {'a': 1}, 'is not a latency table'),
    (lambda data: {**data, 'latency table': 7}, 'is of format 7'),
    (lambda data: {k: v for k, v in data.items() if k != 'groups'}, "has no 'groups'"),
    (lambda data: {**data, 'groups': data['groups'][:1]}, 'has 2 groups, the table 1'),
    (lambda data: {**data, 'head': {'weights': 'much'}}, 'finite numbers'),
    (lambda data: {**data, 'threads': 'one'}, 'threads'),
    (lambda data: {**data, 'space': {'name': 'x'}}, 'missing'),
])
def test_damaged_files(tmp_path, change, said) -> None:
    path = tmp_path / 'table.json'
    made_up_table(tiny_space()).save(path)
    changed = change(json.loads(path.read_text()))
    path.write_text(changed if isinstance(changed, str) else json.dumps(changed))
    with pytest.raises(UsageError, match=said) as e:
        LatencyTable.load(path)
    assert str(path) in str(e.value) and '\n' not in str(e.value)
    with pytest.raises(UsageError, match='No such file'):
        LatencyTable.load(tmp_path / 'no.json')
