"""The loop on a table of scores: it finds the best, keeps to a budget, and ends the same after any interruption."""

import math

import pytest
import torch

from fpnas_timm.errors import NonFiniteError, RunError, UsageError
from fpnas_timm.search.distribution import Factorized, Joint
from fpnas_timm.search.loop import Search, SearchConfig
from fpnas_timm.spaces import SearchSpace
from fpnas_timm.spaces.decode import InfeasibleError

SPACE = SearchSpace('table', tuple({'a': (0, 1, 2), 'b': (0, 1)} for _ in range(4)))


class Table:
    """Larger indices are better and dearer; the noise is the evaluator's own state."""

    steps_per_epoch = 10

    def __init__(self, noise: float = 1.0) -> None:
        self.noise = noise
        self.generator = torch.Generator().manual_seed(7)
        self.trained: list[int] = []
        self.starts: list[tuple[int, int]] = []
        self.bad_at: int | None = None

    def start_epoch(self, epoch: int, step: int) -> None:
        self.starts.append((epoch, step))

    def train_step(self, archs) -> float:
        self.trained.append(len(archs))
        if self.bad_at == len(self.trained):
            raise NonFiniteError('the training loss', [1.0, math.nan][: len(archs)])
        return 0.5

    def log_likelihoods(self, archs) -> torch.Tensor:
        noise = torch.randn(len(archs), generator=self.generator, dtype=torch.float64)
        return torch.tensor([float(sum(map(sum, a))) for a in archs], dtype=torch.float64) * 2 + self.noise * noise

    def cost(self, arch) -> float:
        return 100 + 10 * sum(map(sum, arch))

    def state_dict(self) -> dict:
        return {'generator': self.generator.get_state()}

    def load_state_dict(self, state: dict) -> None:
        self.generator.set_state(state['generator'])


BEST = ((2, 1),) * 4


def test_finds_the_best() -> None:
    search = Search(SPACE, Table(), SearchConfig(epochs=30, joint_epoch=15, lam=1.0, alpha_lr=0.1))
    assert search.run()
    assert search.result() == search.distribution.most_probable() == BEST
    assert isinstance(search.distribution, Joint)
    phases = [row['phase'] for row in search.history]
    assert phases == ['factorized'] * 15 + ['joint'] * 15
    assert search.history[-1]['entropy'] < 0.5 * search.history[0]['entropy']
    assert search.history[-1]['k'] < search.history[0]['k']  # K follows the entropy
    assert search.num_samples == pytest.approx(sum(row['k'] * 10 for row in search.history))


def test_warmup_samples_uniformly_and_leaves_alpha() -> None:
    table = Table()
    search = Search(SPACE, table, SearchConfig(epochs=3, warmup_epochs=2, lam=0.5, alpha_lr=0.1))
    stopped_at = []
    search.run(on_epoch=lambda s: stopped_at.append(s.distribution.alpha.abs().max().item()))
    assert stopped_at[:2] == [0, 0]
    assert stopped_at[2] > 0
    assert table.trained[:20] == [3] * 20  # lambda * H, H = 4 log 6 nats
    assert 'log_likelihood' not in search.history[0]


def test_joint_from_the_start_fixed_k_and_weight_samples() -> None:
    table = Table()
    search = Search(SPACE, table, SearchConfig(epochs=2, joint_epoch=0, num_samples=5, weight_samples=2))
    search.run()
    assert {row['k'] for row in search.history} == {5}
    assert set(table.trained) == {2}
    assert search.num_samples == 100
    assert isinstance(search.distribution, Joint)


@pytest.mark.parametrize('form', ['relative', 'absolute', 'expected', 'two-sided'])
def test_budget(form: str) -> None:
    config = SearchConfig(
        epochs=40, lam=1.0, alpha_lr=0.1, beta=20.0, target=160, tolerance=0.05, cost_form=form, temperature=3.0
    )
    search = Search(SPACE, Table(), config)
    search.run()
    result = search.result()
    assert 152 <= search.evaluator.cost(result) <= 160
    assert result == next(a for a, _ in search.distribution.ranked() if 152 <= search.evaluator.cost(a) <= 160)
    if form in ('expected', 'two-sided'):  # lands on the budget by itself
        assert search.history[-1]['cost'] == pytest.approx(160, rel=0.05)
    else:
        assert search.history[-1]['cost'] < 180  # the best has 220


def test_a_budget_out_of_reach() -> None:
    search = Search(SPACE, Table(), SearchConfig(epochs=1, target=50))
    search.run()
    with pytest.raises(InfeasibleError, match='none of the 1,296 most probable architectures costs 49 to 50'):
        search.result()


@pytest.mark.parametrize('stop_at', [1, 10, 29, 35, 41])
def test_interrupted_and_resumed_ends_the_same(stop_at: int) -> None:
    config = SearchConfig(epochs=5, warmup_epochs=1, joint_epoch=3, lam=0.7, alpha_lr=0.1, beta=0.3, target=160)
    whole = Search(SPACE, Table(), config, seed=3)
    whole.run()

    class Stop:
        count = 0

        def __bool__(self) -> bool:
            self.count += 1
            return self.count == stop_at

    first = Search(SPACE, Table(), config, seed=3)
    assert not first.run(stop=Stop())
    state = first.state_dict()
    first.run()  # what goes on from here must not reach into the state
    second = Search(SPACE, Table(), config, seed=99)
    second.load_state_dict(state)
    assert (second.epoch * 10 + second.step) == stop_at
    assert second.run()
    epoch, step = second.evaluator.starts[0]
    assert 10 * epoch + step == stop_at
    assert torch.equal(second.distribution.alpha, whole.distribution.alpha)
    assert second.result() == whole.result()

    def without_time(history):
        return [{k: v for k, v in row.items() if k != 'seconds'} for row in history]

    assert without_time(second.history) == without_time(whole.history)


def test_state_survives_torch_save(tmp_path) -> None:
    search = Search(SPACE, Table(), SearchConfig(epochs=1, alpha_lr=0.1))
    search.run()
    torch.save(search.state_dict(), tmp_path / 's.pt')
    again = Search(SPACE, Table(), search.config)
    again.load_state_dict(torch.load(tmp_path / 's.pt', weights_only=True))
    assert torch.equal(again.distribution.alpha, search.distribution.alpha)


def test_values_that_are_not_numbers_stop_the_run() -> None:
    table = Table()
    table.bad_at = 13
    search = Search(SPACE, table, SearchConfig(epochs=5, num_samples=2))
    with pytest.raises(RunError, match=r'training loss is nan at epoch 2, step 3, for .*lower learning rate .lr.,'):
        search.run()
    assert search.distribution.alpha.isfinite().all()
    table = Table(noise=math.inf)
    search = Search(SPACE, table, SearchConfig(epochs=1))
    with pytest.raises(RunError, match='log-likelihood is'):
        search.run()
    assert (search.distribution.alpha == 0).all()


def test_another_space_is_refused() -> None:
    state = Search(SPACE, Table(), SearchConfig(epochs=1)).state_dict()
    other = SearchSpace('other', ({'a': (0, 1)},))
    with pytest.raises(UsageError, match='it is of another space'):
        Search(other, Table(), SearchConfig(epochs=1)).load_state_dict(state)


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        ({'epochs': 0}, 'epochs 0'),
        ({'epochs': 3, 'warmup_epochs': 3}, r'fewer than epochs \(3\)'),
        ({'epochs': 3, 'num_samples': 1}, 'at least 2'),
        ({'epochs': 3, 'joint_epoch': 3}, 'joint_epoch 3'),
        ({'epochs': 3, 'lam': 0}, 'lam 0'),
        ({'epochs': 3, 'target': -1}, 'target -1'),
        ({'epochs': 3, 'cost_form': 'x'}, "cost_form 'x'"),
        ({'epochs': 3, 'weight_samples': 0}, 'weight_samples 0'),
    ],
)
def test_settings_out_of_range(kwargs: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SearchConfig(**kwargs)


def test_never_fewer_than_two_samples() -> None:
    table = Table(noise=0)
    search = Search(SPACE, table, SearchConfig(epochs=60, lam=0.3, alpha_lr=0.3))
    search.run()
    assert isinstance(search.distribution, Factorized)
    assert min(table.trained) == 2
    assert search.history[-1]['entropy'] < 1


def test_one_log_likelihood_per_architecture() -> None:
    """A single value would be broadcast to all of them, and nothing learned."""

    class One(Table):
        def log_likelihoods(self, archs) -> torch.Tensor:
            return super().log_likelihoods(archs)[:1]

    with pytest.raises(ValueError, match=r'log_likelihoods of 2 architectures has shape \(1,\): expected \(2,\)'):
        Search(SPACE, One(), SearchConfig(epochs=1, num_samples=2)).run()


@pytest.mark.parametrize('target', [None, 160])
def test_finalists_are_the_most_probable_ones(target: float | None) -> None:
    search = Search(SPACE, Table(), SearchConfig(epochs=5, lam=1.0, alpha_lr=0.1, target=target, tolerance=0.1))
    search.run()
    low, high = (144, 160) if target else (0, 1000)
    ordered = [a for a, _ in search.distribution.ranked() if low <= search.evaluator.cost(a) <= high]
    assert len(ordered) == (sum(144 <= search.evaluator.cost(a) <= 160 for a in ordered) if target else 6**4)
    assert search.finalists(5) == ordered[:5]
    assert search.finalists(10_000) == ordered
    assert search.finalists(1) == [search.result()]
    search.decode = lambda distribution, windows, count: [(distribution, windows, count)]
    assert search.finalists(3) == [(search.distribution, {'cost': (144, 160)} if target else {}, 3)]


def test_finalists_are_different() -> None:
    """Architectures with the same description are one."""

    class Pairs(SearchSpace):
        def describe(self, choices) -> str:
            return str(sum(map(sum, choices)))

    search = Search(Pairs('pairs', SPACE.groups), Table(), SearchConfig(epochs=1))
    assert sorted(sum(map(sum, a)) for a in search.finalists(100)) == list(range(13))
