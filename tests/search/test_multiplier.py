"""The cost form 'multiplier': the expectation and the mode are at the target, whatever it is; no option is needed."""
import pytest
import torch

from fpnas_timm.errors import UsageError
from fpnas_timm.search.distribution import Distribution, Factorized, Joint
from fpnas_timm.search.loop import Search, SearchConfig
from fpnas_timm.search.multiplier import Limit, Multiplier, without_budget
from fpnas_timm.spaces import SearchSpace
from fpnas_timm.spaces.costs import network_costs, tabulated
from tests.spaces.cases import everything, tiny_space

from .test_expected import costs, randomised
from .test_loop import SPACE, Table

COST = tabulated(SPACE, Table().cost, 'units')
WEIGHT = tabulated(SPACE, lambda arch: 7 + 3 * arch[0][0] + 5 * arch[1][0] + sum(b for _, b in arch), 'weight')


def searched(target: float | None, seed: int = 0, table: Table | None = None, **given) -> Search:
    config = SearchConfig(
        **{'epochs': 12, 'lam': 1.0, 'alpha_lr': 0.05, 'target': target, 'tolerance': 0.05, 'temperature': 3.0,
           'cost_form': 'multiplier', **given}
    )
    search = Search(SPACE, table or Table(), config, seed=seed, costs=[COST, WEIGHT])
    search.run()
    return search


@pytest.mark.parametrize('target', [120, 130, 145, 160, 175, 190, 200, 210])
@pytest.mark.parametrize('joint_epoch', [None, 3])
def test_the_mode_is_within_the_budget(target: int, joint_epoch: int | None) -> None:
    """At the end of every epoch of the second half, from far below to far above the mean of the space, which is 160."""
    search = searched(target, joint_epoch=joint_epoch)
    rows = search.history[6:]
    assert all(0.95 * target <= row['most_probable_cost'] <= target for row in rows)
    assert all(row['expected_units'] == pytest.approx(0.975 * target, rel=0.03) for row in rows)
    assert search.result() == search.distribution.most_probable()
    assert isinstance(search.distribution, Factorized if joint_epoch is None else Joint)


def test_the_multiplier_pushes_where_it_must() -> None:
    """The better architectures are the dearer ones: the lower the target, the larger beta."""
    betas = [searched(target).history[-1]['multiplier_units'] for target in (130, 160, 190)]
    assert betas[0] > betas[1] > betas[2]
    row = searched(None).history[-1]
    assert not [key for key in row if 'multiplier' in key or 'expected' in key]


def test_two_budgets() -> None:
    search = searched(150, targets={'weight': 17}, tolerance=0.1)
    assert 135 <= COST(search.result()) <= 150
    assert 15.3 <= WEIGHT(search.result()) <= 17
    assert search.result() == search.distribution.most_probable()
    row = search.history[-1]
    assert row['expected_weight'] == pytest.approx(0.95 * 17, rel=0.05)
    assert row['expected_units'] == pytest.approx(0.95 * 150, rel=0.05)
    alone = searched(None, targets={'weight': 17}, tolerance=0.1)
    assert 15.3 <= WEIGHT(alone.distribution.most_probable()) <= 17


@pytest.mark.parametrize('form', ['absolute', 'expected', 'two-sided', 'relative'])
def test_two_budgets_in_the_other_forms(form: str) -> None:
    search = searched(150, targets={'weight': 17}, cost_form=form, beta=3.0, tolerance=0.1, epochs=8)
    assert 135 <= COST(search.result()) <= 150
    assert 15.3 <= WEIGHT(search.result()) <= 17
    free = searched(150, cost_form=form, beta=3.0, tolerance=0.1, epochs=8)

    def weight(s: Search) -> float:
        return sum(WEIGHT(a) for a in s.distribution.sample(300, torch.Generator().manual_seed(0))) / 300

    assert weight(search) < weight(free) + 0.5


@pytest.mark.parametrize('stop_at', [1, 29, 61, 77, 119])
def test_interrupted_and_resumed_ends_the_same(stop_at: int) -> None:
    class Stop:
        count = 0

        def __bool__(self) -> bool:
            self.count += 1
            return self.count == stop_at

    whole = searched(145, seed=3, targets={'weight': 19}, joint_epoch=7)
    first, second = (Search(SPACE, Table(), whole.config, seed=s, costs=[COST, WEIGHT]) for s in (3, 99))
    assert not first.run(stop=Stop())
    state = first.state_dict()
    first.run()  # must not reach into the state
    second.load_state_dict(state)
    assert second.run()
    assert torch.equal(second.distribution.alpha, whole.distribution.alpha)
    assert [{k: v for k, v in row.items() if k != 'seconds'} for row in second.history] == [
        {k: v for k, v in row.items() if k != 'seconds'} for row in whole.history
    ]


@pytest.mark.parametrize('kind', [Factorized, Joint])
@pytest.mark.parametrize('cost', costs(), ids=lambda c: f'{c.name}-{c.space.name}')
def test_the_expectation_is_met_by_the_smallest_change(kind, cost) -> None:
    """By enumeration: the mean is the target, and no other direction of alpha reaches it with less change of P."""
    archs = list(everything(cost.space))
    values = torch.tensor([cost(a) for a in archs], dtype=torch.float64)
    distribution = randomised(kind, cost.space)
    before = distribution.log_prob(archs).detach()
    aim = float((before.exp() * values).sum()) * 0.99
    multiplier = Multiplier([Limit(cost, aim, aim)])
    multiplier._meet(distribution, multiplier.aims)
    after = distribution.log_prob(archs).detach()
    assert float((after.exp() * values).sum()) == pytest.approx(aim, rel=2e-4)
    assert float(multiplier.betas[0]) > 0
    own = float((after.exp() * (after - before)).sum())  # KL divergence
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        other = randomised(kind, cost.space)
        noise = torch.randn(other.alpha.shape, generator=generator, dtype=torch.float64)
        low, high = -50.0, 50.0
        mean = float((before.exp() * values).sum())
        start = other.alpha.detach().clone()

        def at(size: float, other=other, noise=noise, start=start) -> float:
            with torch.no_grad():
                other.alpha.copy_(start + size * noise)
            return float((other.log_prob(archs).detach().exp() * values).sum())

        sign = 1.0 if at(1e-4) > mean else -1.0
        low, high = 0.0, 5.0
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (low, middle) if at(-sign * middle) < aim else (middle, high)
        moved = other.log_prob(archs).detach()
        assert own <= float((moved.exp() * (moved - before)).sum()) * 1.001


def test_targets_without_costs() -> None:
    config = SearchConfig(epochs=1, target=160, cost_form='multiplier')
    with pytest.raises(UsageError, match=r"^cost_form 'multiplier' needs the cost as tables: expected Search\("):
        Search(SPACE, Table(), config)
    with pytest.raises(UsageError, match=r"^targets: no cost 'weight' beside 'cost'"):
        Search(SPACE, Table(), SearchConfig(epochs=1, targets={'weight': 3}))
    with pytest.raises(UsageError, match=r'^target -1 of weight: expected a number above 0'):
        SearchConfig(epochs=1, targets={'weight': -1})


def test_the_state_of_an_earlier_version() -> None:
    """It has no multiplier; that of a search with one of the other forms has none either."""
    search = searched(160, cost_form='two-sided', beta=1.0, epochs=1)
    state = search.state_dict()
    assert state.pop('budgets') is None
    Search(SPACE, Table(), search.config, costs=[COST, WEIGHT]).load_state_dict(state)


def test_a_target_that_the_mode_cannot_have_leaves_it() -> None:
    """Between two costs of the space: nothing is within the budget, and the search ends as near as it gets."""
    macs, _ = network_costs(tiny_space(), 10)
    multiplier = Multiplier([Limit(macs, 1.0, 2.0)])
    distribution = randomised(Factorized, macs.space)
    for step in range(1, 21):
        multiplier.apply(distribution, step / 20)
    assert distribution.alpha.isfinite().all()
    assert multiplier.moved == 0
    assert macs(distribution.most_probable()) == macs.range()[0]


def test_budgets_that_only_one_architecture_meets() -> None:
    """The expectations asked for are out of reach: the distribution ends at that one, and nothing overflows."""
    space = SearchSpace('one', tuple({'op': (0, 1, 2), 'width': (1, 2, 3)} for _ in range(6)))
    area = tabulated(space, lambda arch: sum((1 + op) * (1 + width) for op, width in arch), 'area')
    time = tabulated(space, lambda arch: sum((1 + op) / 2 + 1 / (1 + width) for op, width in arch), 'ms')
    multiplier = Multiplier([Limit(area, 5.88, 6.0), Limit(time, 8.918, 9.1)])
    distribution = Factorized(space)
    for step in range(1, 401):
        multiplier.apply(distribution, step / 400)
    assert distribution.alpha.isfinite().all() and multiplier.betas.isfinite().all()
    assert distribution.most_probable() == ((0, 0),) * 6


@pytest.mark.parametrize('joint_epoch', [None, 4])
def test_what_the_budget_took_can_be_given_back(joint_epoch: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the sum of what each step of the multiplier changed; from the joint epoch on, of each combination."""
    changes: list[list[torch.Tensor]] = []
    apply = Multiplier.apply

    def noted(self: Multiplier, distribution: Distribution, progress: float) -> None:
        before = distribution.combinations().log().detach()
        apply(self, distribution, progress)
        changes.append([before, distribution.combinations().log().detach()])

    monkeypatch.setattr(Multiplier, 'apply', noted)
    search = searched(130, joint_epoch=joint_epoch)
    taken = search.budgets.multiplier.taken
    assert taken.shape == search.distribution.alpha.shape or joint_epoch is not None
    given_back = without_budget(search.distribution, taken)
    expected = search.distribution.combinations().log().detach() + sum(before - after for before, after in changes)
    expected = expected.log_softmax(1)
    torch.testing.assert_close(given_back.combinations().log().detach(), expected, atol=1e-9, rtol=1e-9)
    assert float(search.budgets.multiplier.means(given_back)[0].detach()) > 150  # the better ones are the dearer ones
    other = searched(130, joint_epoch=joint_epoch)
    other.load_state_dict(search.state_dict())
    assert torch.equal(other.budgets.multiplier.taken, taken)
