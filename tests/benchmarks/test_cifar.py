"""`benchmarks/search/cifar.py` on a few random images: its parts fit the package, and their numbers are right."""
import inspect
import itertools
import json
import statistics
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / 'benchmarks' / 'search'))

from cifar_parts import data, driver, problem, ranking, report, searches, supernets, training

from fpnas_timm.arch import Arch
from fpnas_timm.search.options import parse_search_args
from fpnas_timm.search.setup import weight_window


@pytest.fixture
def images() -> dict[str, data.Images]:
    rng = np.random.default_rng(0)

    def some(count: int) -> data.Images:
        pixels = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        return data.Images(torch.from_numpy(pixels), torch.arange(count) % 10)

    return {'train': some(40), 'held': some(10), 'test': some(10)}


def test_the_thorough_preset_is_what_was_measured() -> None:
    args = parse_search_args(['--preset', 'thorough', '--target-macs', str(problem.TARGET), '--output', 'y'])
    settings, weights = searches.SEARCHES['refined']
    weights = {**searches.WEIGHTS, **weights}
    for name in ('weight_samples', 'refine', 'finalist_epochs'):
        assert getattr(args, name) == settings[name]
    assert (args.lam, args.cost_form) == (searches.COMMON['lam'], searches.COMMON['cost_form'])
    for name in ('lr', 'weight_ema', 'weight_draws'):
        assert getattr(args, name) == weights[name]
    assert weight_window(args) == weights['weight_window']
    defaults = inspect.signature(supernets.create_evaluator).parameters
    assert (args.weight_decay, args.batch_size) == tuple(defaults[n].default for n in ('weight_decay', 'batch'))
    assert args.smoothing == defaults['smoothing'].default


def test_crops_are_shifted_and_flipped_images(images) -> None:
    padded = images['train'].padded().pixels
    plan = torch.tensor([[3, 0, 7], [4, 0, 8], [4, 5, 1], [0, 1, 1]])  # image, top, left, flip
    got = data.Normalise(torch.device('cpu')).crops(padded, plan)
    for crop, (index, top, left, flip) in zip(got, plan.T.tolist()):
        wide = np.full((40, 40, 3), data.FILL, np.uint8)
        wide[4:36, 4:36] = images['train'].pixels[index]
        part = wide[top : top + 32, left : left + 32]
        part = part[:, ::-1] if flip else part
        expected = (part / 255 - np.array(data.MEAN)) / np.array(data.STD)
        np.testing.assert_allclose(crop.permute(1, 2, 0), expected, atol=1e-5)


def test_an_epoch_has_every_image_once() -> None:
    plan = data.crop_plan(size=40, steps=9, batch=10, seed=(0,))
    for epoch in (plan[:4], plan[4:8]):
        assert sorted(epoch[:, 0].reshape(-1)) == list(range(40))
    assert plan[:, 1:3].min() >= 0 and plan[:, 1:3].max() <= 8


def test_held_out_images_are_a_tenth_of_every_class() -> None:
    labels = torch.arange(200) % 10
    held, rest = data.stratified(labels, 0.1, seed=0)
    assert torch.bincount(labels[held]).tolist() == [2] * 10
    assert sorted([*held.tolist(), *rest.tolist()]) == list(range(200))


def test_learning_rates_rise_and_fall() -> None:
    rates = training.learning_rates(problem.Recipe(lr=2.0, warmup=0.25), 100)
    assert rates.argmax() == 24 and rates[24] == pytest.approx(2.0)
    assert rates[0] == pytest.approx(2 / 25) and rates[-1] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize('count', [1, 2, 4])
def test_expected_best(count: int) -> None:
    values = [3.0, 1.0, 4.0, 1.5, 5.0]
    expected = statistics.mean(max(drawn) for drawn in itertools.combinations(values, count))
    assert report.expected_best(values, count) == pytest.approx(expected)


def test_results_keep_the_last_of_equal_lines_and_leave_out_one_cut_short(tmp_path: Path) -> None:
    for value in (1, 2):
        problem.add_result(tmp_path, kind='search', name='a', seed=0, value=value)
    with open(tmp_path / problem.RESULTS, 'a') as f:
        f.write('{"kind": "search", "na')
    assert [row['value'] for row in problem.results(tmp_path)] == [2]


def add_trained(out: Path, name: str, test: float) -> None:
    problem.add_result(out, kind='trained', name=name, group='random', seed=0, macs=4_000_000, params=50_000, test=test,
                       held=test + 1, arch=problem.random_archs(1)[0])


def test_a_report_keeps_rows_that_it_has_no_results_for(tmp_path: Path, capsys) -> None:
    for out, values in (('a', {'random-0': 70.0, 'random-1': 72.0}), ('b', {'random-1': 71.0, 'random-2': 75.0})):
        (tmp_path / out).mkdir()
        for name, value in values.items():
            add_trained(tmp_path / out, name, value)
        report.report(tmp_path / out, tmp_path, tmp_path / 'picture.png')
    rows = json.loads((tmp_path / 'cifar_networks.json').read_text())
    assert [(row['name'], row['mean']) for row in rows] == [('random-2', 75.0), ('random-1', 71.0), ('random-0', 70.0)]
    printed = capsys.readouterr().out
    assert f'kept, not in {tmp_path / "b"}: random-0\n' in printed
    assert '3 random architectures: best 75.00, mean 72.00' in printed


def test_only_the_networks_that_are_named_are_trained(tmp_path: Path, capsys) -> None:
    archs = problem.random_archs(2)
    for seed, arch in enumerate(archs):
        problem.add_result(tmp_path, kind='search', name='refined', seed=seed, arch=arch)
    common = SimpleNamespace(output=tmp_path, cache=tmp_path, benchmark=False)
    args = SimpleNamespace(names=['refined-s1', 'random-3'], **vars(common))
    problem.add_result(tmp_path, kind='trained', name='refined-s1', seed=1)
    wanted = [(job['name'], job['seed']) for job in driver.jobs(args) if job]
    assert wanted == [('random-3', 0), ('refined-s1', 0)]
    assert driver.train(SimpleNamespace(names=['refined-s2'], **vars(common)), {}) == 2
    assert 'unknown: refined-s2; expected random-0 to random-29' in capsys.readouterr().out


def test_random_architectures_are_within_the_budget() -> None:
    archs = problem.random_archs(5)
    assert len(set(archs)) == 5
    assert all(abs(problem.macs_of(a) / problem.TARGET - 1) <= problem.TOLERANCE for a in archs)


def test_peers_have_the_multiply_adds_that_they_are_said_to_have() -> None:
    name, (multiplier, macs) = next(iter(problem.PEERS.items()))
    assert problem.network_macs(problem.create_peer(name, multiplier)) == macs


def test_search_ranking_training_and_report(images, tmp_path: Path, monkeypatch, capsys) -> None:
    for name in ('FINALISTS', 'REFINED', 'CALIBRATION'):
        monkeypatch.setattr(searches, name, 2)
    settings, weights = searches.SEARCHES['refined']
    monkeypatch.setitem(searches.SEARCHES, 'refined', ({**settings, 'refine': 4}, weights))
    archs = problem.random_archs(5)
    monkeypatch.setattr(ranking, 'random_archs', lambda: archs)
    searches.search(tmp_path, 'refined', images, scale=0.004, batch=4)
    ranking.rank(tmp_path, 'sandwich-distilled', images, scale=0.002, batch=4, calibration=8)
    found = problem.results(tmp_path, 'search')[0]
    jobs = [{'name': f'random-{i}', 'group': 'random', 'arch': a} for i, a in enumerate(archs)]
    jobs.append({'name': 'refined-s0', 'group': 'search', 'arch': found['arch']})
    recipe = problem.Recipe(batch=4)
    training.train_all(
        iter([{**job, 'seed': 0, 'macs': problem.macs_of(job['arch'])} for job in jobs]), images, tmp_path,
        lambda job: recipe, streams=1, steps=2,
    )
    assert [f['rounds'] for f in found['finalists']] == [1, 1]
    assert found['likeliest'] in [f['arch'] for f in found['finalists']]
    assert found['finished'] and 0.98 <= problem.macs_of(Arch.parse(found['arch'])) / problem.TARGET <= 1
    assert len(problem.results(tmp_path, 'trained')) == 6
    report.report(tmp_path, tmp_path / 'tables', tmp_path / 'picture.png')
    assert 'random search for that price' in capsys.readouterr().out
    rows = json.loads((tmp_path / 'tables' / 'cifar_ranking.json').read_text())
    assert all(set(row['tau']) <= {'1/3', '2/3', '3/3'} and row['networks'] == 5 for row in rows)
    assert (tmp_path / 'picture.png').stat().st_size > 1000
