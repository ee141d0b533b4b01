"""The baselines on a table: they find the best, keep to a budget, and end the same after any interruption."""
import itertools
import logging
import math

import pytest
import torch

from fpnas_timm.errors import NonFiniteError, RunError, UsageError
from fpnas_timm.search.candidates import CandidateConfig, CandidateSearch, RandomDraws, draw_within
from fpnas_timm.search.evolution import Evolution, EvolutionConfig
from fpnas_timm.spaces import SearchSpace
from fpnas_timm.spaces.decode import InfeasibleError
from tests.search.test_loop import Table

SPACE = SearchSpace('table', tuple({'a': (0, 1, 2), 'b': (0, 1)} for _ in range(4)))
ALL = list(itertools.product(itertools.product(range(3), range(2)), repeat=4))


def make(name: str, table: Table, seed: int = 0, population: int = 20, **settings) -> CandidateSearch:
    config = CandidateConfig(**{'epochs': 2, 'evaluations': 120, **settings})
    draw = draw_within(SPACE, table.cost, config)
    strategy = RandomDraws(draw) if name == 'random' else Evolution(
        SPACE, lambda arch: config.allows(table.cost(arch)), draw, EvolutionConfig(population, 5)
    )
    return CandidateSearch(SPACE, table, config, strategy, draw, seed)


class Stop:
    """True once, after so many steps."""

    def __init__(self, after: int) -> None:
        self.after, self.count = after, 0

    def __bool__(self) -> bool:
        self.count += 1
        return self.count == self.after


@pytest.mark.parametrize('name', ['random', 'evolution'])
def test_everything_is_found_once_where_all_is_scored(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """More evaluations than architectures within the budget: all of them are scored, none twice, the best is found."""
    search = make(name, Table(noise=0), evaluations=80, target=120, tolerance=0.06)
    with caplog.at_level(logging.INFO):
        assert search.run()
    inside = {arch for arch in ALL if 112.8 <= search.evaluator.cost(arch) <= 120}
    assert {arch for arch, _ in search.scored} == inside and len(search.scored) == len(inside) < 80
    assert (
        f'no architecture other than the {len(inside)} scored was found within the budget: 1,000 times each, {name} '
        'and draws of all that are within it gave known ones'
    ) in caplog.messages
    assert search.best[1] == max(float(search.evaluator.log_likelihoods([arch])) for arch in inside)
    assert search.run() and len(search.scored) == len(inside)  # it stays finished


def test_evolution_finds_the_best_in_fewer_evaluations_than_random() -> None:
    """Of 1,296 architectures, in 300 evaluations: always, where random search does in a quarter of the cases."""
    best = ((2, 1),) * 4
    found = {}
    for name in ('random', 'evolution'):
        searches = [make(name, Table(noise=0), seed, epochs=0, evaluations=300) for seed in range(8)]
        found[name] = sum(search.run() and search.result() == best for search in searches)
    assert found['evolution'] == 8 > found['random']


@pytest.mark.parametrize('name', ['random', 'evolution'])
def test_history_and_training(name: str) -> None:
    table = Table()
    search = make(name, table, weight_samples=3, target=160, tolerance=0.05)
    drawn = []
    train_step = table.train_step
    table.train_step = lambda archs: drawn.extend(archs) or train_step(archs)
    ended, steps = [], []
    assert search.run(on_step=lambda s, figures: steps.append(figures), on_epoch=lambda s: ended.append(s.epoch))
    assert table.starts == [(0, 0), (1, 0)] and table.trained == [3] * 20
    assert len({sum(map(sum, arch)) for arch in drawn}) > 6  # from the whole space, whatever the budget
    assert [row['phase'] for row in search.history] == ['weights'] * 2 + [name] * 3
    assert ended == [1, 2, 3, 4, 5] and len(steps) == 20 + 120
    assert [row['num_samples'] for row in search.history] == [0, 0, 50, 100, 120]
    assert search.num_samples == len({arch for arch, _ in search.scored}) == 120
    assert all(152 <= table.cost(arch) <= 160 for arch, _ in search.scored)
    last, first = search.history[-1], search.history[2]
    assert last['best_score'] == max(score for _, score in search.scored) == search.best[1]
    assert last['best'] == SPACE.describe(search.result()) and last['best_cost'] == table.cost(search.result())
    assert first['score'] == pytest.approx(sum(score for _, score in search.scored[:50]) / 50)
    assert search.history[0]['train_loss'] == 0.5 and 'best' not in search.history[0]


def test_repeats() -> None:
    """With noisy scores, what is proposed again is scored again."""
    search = make('evolution', Table(noise=5.0), epochs=0, evaluations=600, repeats=True)
    search.run()
    assert search.num_samples == 600 > len({arch for arch, _ in search.scored})
    finalists = search.finalists(1000)
    assert len(finalists) == len(set(finalists)) == len({arch for arch, _ in search.scored})
    scores = [max(score for arch, score in search.scored if arch == finalist) for finalist in finalists]
    assert scores == sorted(scores, reverse=True) and finalists[0] == search.result()
    assert search.finalists(3) == finalists[:3]


@pytest.mark.parametrize(('name', 'children'), [('random', 1), ('evolution', 1), ('evolution', 4)])
def test_several_at_once(name: str, children: int) -> None:
    """In one call are those that do not depend on each other: the same candidates as one by one."""
    sizes: dict[int, list[int]] = {}
    found = {}
    for together in (1, 7):
        table = Table(noise=0)
        search = make(name, table, evaluations=90, together=together, target=160, tolerance=0.1)
        if name == 'evolution':
            search.strategy.config = EvolutionConfig(20, 5, children=children)
        score, sizes[together] = search.score, []

        def counted(archs, score=score, sizes=sizes[together]):
            sizes.append(len(archs))
            return score(archs)

        search.score = counted
        assert search.run()
        found[together] = search
    assert sizes[1] == [1] * 90
    rounds = {'random': [7] * 7 + [1] + [7] * 5 + [5]}.get(name, [7, 7, 6])
    assert sizes[7][: len(rounds)] == rounds and sum(sizes[7]) == 90
    if name == 'evolution':
        assert set(sizes[7][3:]) == ({4, 2} if children == 4 else {1})
    if children == 1:
        assert found[7].scored == found[1].scored
        for first, second in zip(found[7].history, found[1].history):
            first.pop('seconds'), second.pop('seconds')
            assert first == pytest.approx(second)
    assert len({arch for arch, _ in found[7].scored}) == 90


@pytest.mark.parametrize('name', ['random', 'evolution'])
@pytest.mark.parametrize('stop_at', [1, 10, 20, 21, 35, 70, 71, 139])
def test_interrupted_and_resumed_ends_the_same(name: str, stop_at: int) -> None:
    whole = make(name, Table(), seed=3, target=160, tolerance=0.1)
    whole.run()
    first = make(name, Table(), seed=3, target=160, tolerance=0.1)
    assert not first.run(Stop(stop_at))
    state = first.state_dict()
    second = make(name, Table(), seed=99, target=160, tolerance=0.1)
    second.load_state_dict(state)
    assert second.run()
    assert second.scored == whole.scored
    for row in (*second.history, *whole.history):
        row.pop('seconds')
    assert second.history == whole.history
    assert second.evaluator.trained == whole.evaluator.trained[first.epoch * 10 + first.step if stop_at < 20 else 20 :]


def test_a_state_of_another_strategy() -> None:
    with pytest.raises(UsageError, match='the checkpoint is of strategy random, not evolution'):
        make('evolution', Table()).load_state_dict(make('random', Table()).state_dict())


def test_no_architecture_within_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('fpnas_timm.search.candidates.MAX_DRAWS', 50)
    with pytest.raises(InfeasibleError, match=r"^none of 50 architectures drawn from space 'table' costs 49 to 50$"):
        make('random', Table(), target=50).run()


def test_a_loss_or_score_that_is_not_finite() -> None:
    table = Table()
    table.bad_at = 12
    with pytest.raises(RunError, match=r'^the training loss is nan at epoch 2, step 2, for \(\(.*lower learning rate'):
        make('random', table, weight_samples=2).run()
    table = Table()
    table.log_likelihoods = lambda archs: torch.tensor([math.inf], dtype=torch.float64)
    search = make('evolution', table)
    with pytest.raises(RunError, match=r'^the score is inf at epoch 3, step 1, for \(\('):
        search.run()
    assert not search.scored
    table.log_likelihoods = lambda archs: torch.zeros(2)
    with pytest.raises(ValueError, match=r'scores has shape \(2,\): expected \(1,\), one per architecture'):
        make('evolution', table).run()
    assert issubclass(NonFiniteError, RunError)


@pytest.mark.parametrize(('settings', 'message'), [
    ({'evaluations': 0}, 'evaluations 0: expected at least 1'), ({'epochs': -1}, 'epochs -1: expected 0 or more'),
    ({'weight_samples': 0}, 'weight_samples 0: expected'), ({'target': 0}, 'target 0: expected'),
    ({'tolerance': 1.0}, r'tolerance 1\.0: expected a fraction'),
])
def test_wrong_settings(settings: dict, message: str) -> None:
    with pytest.raises(UsageError, match=f'^{message}'):
        CandidateConfig(**{'epochs': 1, **settings})
