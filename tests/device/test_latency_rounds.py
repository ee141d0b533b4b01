"""Networks that take turns: what the company does to a time, and how often the reference runs."""
import pytest

from fpnas_timm.device.latency_rounds import COMPANY, Ratio, spread_of, take_turns


class Caches:
    """Runs of known length, which take 20 % longer after one of the large ones."""

    def __init__(self, seconds, large):
        self.seconds, self.large = seconds, large
        self.now, self.before, self.calls = 0.0, None, [0] * len(seconds)

    def clock(self):
        return self.now

    def run(self, i):
        def call():
            self.now += self.seconds[i] * (1.2 if self.before in self.large and self.before != i else 1)
            self.before = i
            self.calls[i] += 1

        return call


def test_a_time_does_not_depend_on_the_network_before() -> None:
    """One order for all rounds would put 20 % on two of the times, and on no others."""
    caches = Caches([0.01] * 9, large={3, 6})
    turns = take_turns(caches.run(0), [caches.run(i) for i in range(1, 9)], caches.clock)
    ratios = [ratio.all for ratio in turns.ratios]
    assert ratios == pytest.approx([1.0] * 8, abs=0.02)
    assert turns.reference == pytest.approx(10.0)


def test_networks_change_company_and_keep_their_places() -> None:
    seconds = [0.01, *(0.001 * (1 + i) for i in range(2 * COMPANY))]
    machine = Caches(seconds, large=())
    turns = take_turns(machine.run(0), [machine.run(i) for i in range(1, len(seconds))], machine.clock)
    assert [ratio.all for ratio in turns.ratios] == pytest.approx([s / 0.01 for s in seconds[1:]])
    # A fast company has more rounds than a slow one: two that stayed as they are would have two numbers of calls.
    assert len(set(machine.calls[1:])) > 2
    assert machine.calls[0] > max(machine.calls[1:])  # the reference is in every company


def test_the_spread_is_between_the_halves() -> None:
    """The machine becomes slower for all but the reference."""
    machine = Caches([0.01] * 9, large=())
    calls = [machine.run(i) for i in range(9)]

    def slower(i):
        def call():
            calls[i]()
            machine.now += 0.0005 if sum(machine.calls) > 250 else 0.0

        return call

    turns = take_turns(calls[0], [slower(i) for i in range(1, 9)], machine.clock)
    assert sum(machine.calls) > 250
    for ratio in turns.ratios:
        assert isinstance(ratio, Ratio) and ratio.first < ratio.second and ratio.first <= ratio.all <= ratio.second
    assert 0 < spread_of(turns.ratios) <= 0.0501
