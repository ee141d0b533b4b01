"""From a machine to a table: on machines whose times are known, and once on this one with torch."""
import math
import random

import pytest

from fpnas_timm.arch import Arch
from fpnas_timm.device import LatencyTable, check_table, measure_latency, measure_network
from fpnas_timm.device import latency_measure as module
from fpnas_timm.device import latency_rounds as rounds
from fpnas_timm.device.latency_measure import partial_file, random_networks, reference_network
from fpnas_timm.device.runtimes import machine_name, why_not_here
from fpnas_timm.errors import RunError, UsageError
from fpnas_timm.spaces import get_space
from tests.device.machines import MadeUpMachine
from tests.device.tables import SETTING, made_up_table
from tests.spaces.cases import tiny_space


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch):
    monkeypatch.setattr(rounds, 'ROUNDS', (6, 6))


def test_a_table_has_the_times_of_the_machine_whatever_its_moods(tmp_path) -> None:
    """30 % and 60 % slower for a while, 2 % of noise in each run: the fit is nearer than that."""
    machine = MadeUpMachine(tiny_space())
    table = measure_latency(tiny_space(), output=tmp_path / 'a.json', networks=160, machine=machine)
    again, worth = LatencyTable.load(tmp_path / 'a.json'), table.worth
    assert again.worth == worth and worth['fitted'] == 128 and worth['networks'] == 32
    assert worth['mean_error'] < 0.01 and worth['tau'] > 0.95 and worth['within_10'] == 1
    scale = table.reference[1] / machine.table.predict(Arch.parse(table.reference[0]))
    assert 1 <= scale <= 1.6  # the mood of the machine
    for arch in random_networks(tiny_space(), 5, 0, 50):
        true = machine.table.cost()(arch) * scale
        assert table.cost()(arch) == pytest.approx(true, rel=0.03)
    assert not partial_file(tmp_path / 'a.json').exists()


def test_an_interrupted_measurement_goes_on(tmp_path) -> None:
    path, machine = tmp_path / 'a.json', MadeUpMachine(tiny_space(), noise=0, swing=0)
    machine.stop_after = 30
    with pytest.raises(KeyboardInterrupt):
        measure_latency(tiny_space(), output=path, networks=64, machine=machine)
    assert partial_file(path).exists() and not path.exists()
    said, machine.stop_after, machine.opened = [], None, 0
    table = measure_latency(tiny_space(), output=path, networks=64, machine=machine, say=said.append)
    assert said == ['16 networks have been measured before: going on'] and machine.opened == 1 + 48
    whole = measure_latency(tiny_space(), networks=64, machine=MadeUpMachine(tiny_space(), noise=0, swing=0))
    assert table.groups == whole.groups and table.constant == whole.constant


def test_the_rest_of_another_measurement_is_not_used(tmp_path) -> None:
    path, machine = tmp_path / 'a.json', MadeUpMachine(tiny_space())
    machine.stop_after = 30
    with pytest.raises(KeyboardInterrupt):
        measure_latency(tiny_space(), output=path, networks=64, machine=machine)
    with pytest.raises(UsageError, match='of another space, machine or setting'):
        measure_latency(tiny_space(), output=path, networks=64, machine=machine, seed=3)
    partial_file(path).write_text('{"a": 1}\n[')
    with pytest.raises(UsageError, match='is damaged'):
        measure_latency(tiny_space(), output=path, networks=64, machine=machine)


def test_time_is_over(tmp_path, monkeypatch) -> None:
    """After the given minutes, but not before there are enough networks for a table."""
    machine = MadeUpMachine(tiny_space())
    monkeypatch.setattr(module.time, 'monotonic', lambda: 60.0 * machine.opened)
    table = measure_latency(tiny_space(), minutes=100, networks=400, machine=machine)
    assert table.worth['fitted'] + table.worth['networks'] == 112
    table = measure_latency(tiny_space(), minutes=1, networks=400, machine=machine)
    assert table.worth['fitted'] + table.worth['networks'] == module.LEAST


def test_a_noisy_machine_is_refused_early(tmp_path) -> None:
    machine = MadeUpMachine(tiny_space(), noise=0.9)
    with pytest.raises(RunError, match=r'too noisy to measure on: the same network takes \d+ % more or less'):
        measure_latency(tiny_space(), output=tmp_path / 'a.json', networks=160, machine=machine)
    assert machine.opened < 40 and not list(tmp_path.iterdir())


def test_a_table_worth_nothing_is_not_written(tmp_path) -> None:
    """Times that have nothing to do with the networks."""
    with pytest.raises(RunError, match=r'no table is written.*mean error of at most 10 % and a tau of at least 0\.8'):
        measure_latency(
            tiny_space(), output=tmp_path / 'a.json', networks=64, machine=MadeUpMachine(tiny_space(), chaos=True)
        )
    assert not list(tmp_path.iterdir())


def test_a_check_sees_a_good_table_and_a_bad_one() -> None:
    space = tiny_space()
    machine = MadeUpMachine(space, swing=0)
    good = check_table(made_up(space, 0, machine), 24, machine=machine)
    assert good.worth.mean_error < 0.02 and good.worth.tau > 0.95
    assert good.slower == pytest.approx(1, abs=0.02) and good.spread < 0.03
    assert good.measured == pytest.approx(good.predicted, rel=0.1) and len(good.measured) == 24
    assert check_table(made_up(space, 4, machine), 24, machine=machine).worth.mean_error > 0.05
    machine.swing, machine.runs = 1.0, 200
    now = check_table(made_up(space, 0, machine), 8, machine=machine)  # the table knows how fast it was
    assert now.slower > 1.5 and now.worth.mean_error < 0.02


def made_up(space, seed, machine):
    """A table with rates of this seed; its reference has the time that it takes on the machine."""
    from dataclasses import replace

    arch = reference_network(space)
    return replace(made_up_table(space, seed), reference=(str(arch), machine.table.predict(arch)))


def test_a_single_network_is_compared_with_the_reference() -> None:
    space = tiny_space()
    machine = MadeUpMachine(space, noise=0.01)
    machine.runs = 200  # a slow mood
    table, arch = made_up(space, 0, machine), space.sample_arch(random.Random(7))
    found = measure_network(table, arch, machine)
    assert machine.opened == 2 + 7  # in company, as for the table
    assert found.milliseconds == pytest.approx(table.predict(arch), rel=0.02) and found.now > found.milliseconds * 1.1


def test_networks_are_drawn_as_said() -> None:
    """Uniform ones and biased ones, the same whatever the start."""
    space = get_space('fpnas_s1pp')
    drawn = random_networks(space, 0, 0, 400)
    assert random_networks(space, 0, 100, 7) == drawn[100:107]
    assert random_networks(space, 1, 0, 5) != drawn[:5]
    cost = made_up_table(space).cost()
    uniform, biased = ([math.log(cost(arch)) for arch in drawn[start::2]] for start in (0, 1))
    assert max(biased) - min(biased) > 1.5 * (max(uniform) - min(uniform))
    assert reference_network(space) in space


def test_torch_on_this_machine(tmp_path, monkeypatch) -> None:
    """What a table is worth depends on the machine; that there is one does not."""
    monkeypatch.setattr(module, 'NOISY', 10.0)
    monkeypatch.setattr(module.Worth, 'is_good', True)
    monkeypatch.setattr(module, 'LEAST', 10)
    monkeypatch.setattr(rounds, 'ROUNDS', (2, 2))
    path = tmp_path / 'a.json'
    table = measure_latency(tiny_space(), 'torch', num_classes=10, output=path, networks=10)
    assert table.setting.machine == machine_name() and table.setting.runtime == 'torch'
    low, high = table.cost().range()
    assert 0 < low < high < 1000
    assert LatencyTable.load(path).cost().range() == (low, high)
    assert measure_network(table, space_arch(), None).milliseconds > 0


def space_arch():
    return tiny_space().sample_arch(random.Random(0))


def test_onnx_runtime_runs_the_network() -> None:
    from fpnas_timm.device.runtimes import Machine, own_setting

    machine = Machine(own_setting('onnxruntime', num_classes=10, batch_size=2))
    with machine.ready():
        [logits] = machine.open(space_arch())()
    assert logits.shape == (2, 10)


@pytest.mark.parametrize('runtime', ['torch', 'compile'])
def test_torch_runs_the_network_with_folded_batch_norms(runtime, monkeypatch) -> None:
    import torch

    from fpnas_timm.device.runtimes import Machine, own_setting

    monkeypatch.setattr(torch, 'compile', lambda network: network)
    run = Machine(own_setting(runtime, num_classes=10)).open(space_arch())
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        run()
    called = {event.key for event in profile.key_averages()}
    assert 'aten::conv2d' in called and not [name for name in called if 'batch_norm' in name]


def test_a_table_of_another_machine_or_without_its_runtime() -> None:
    assert 'the table is of a machine, this machine is' in why_not_here(SETTING)
    with pytest.raises(UsageError, match='cannot be measured here: the table is of a machine'):
        measure_network(made_up_table(tiny_space()), space_arch())
    from dataclasses import replace

    assert why_not_here(replace(SETTING, machine=machine_name())) is None
    assert 'torch finds no CUDA GPU' in (why_not_here(replace(SETTING, device='cuda')) or 'torch finds no CUDA GPU')
    assert 'expected one of' in why_not_here(replace(SETTING, runtime='abacus'))
