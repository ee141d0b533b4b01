"""What a search records of its samples: what the evaluator saw, a bounded part of it, the same after a resume."""
import copy

import torch

from fpnas_timm.search.loop import Search, SearchConfig
from fpnas_timm.search.sampled import ARCHS, STEPS

from .test_loop import SPACE, Table


class Seen(Table):
    """Remembers every step's costs and log-likelihoods."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps_per_epoch = steps
        self.seen: list[list[tuple[float, float]]] = []

    def log_likelihoods(self, archs) -> torch.Tensor:
        values = super().log_likelihoods(archs)
        self.seen.append([(self.cost(arch), value) for arch, value in zip(archs, values.tolist())])
        return values


def test_records_what_was_evaluated() -> None:
    table = Seen(10)
    search = Search(SPACE, table, SearchConfig(epochs=3, warmup_epochs=1, num_samples=3))
    search.run()
    assert search.history[0]['sampled'] == {'step': [], 'cost': [], 'log_likelihood': []}  # nothing was evaluated
    for row, steps in zip(search.history[1:], (table.seen[:10], table.seen[10:])):
        assert row['sampled']['step'] == [step for step in range(10) for _ in range(3)]
        pairs = list(zip(row['sampled']['cost'], row['sampled']['log_likelihood']))
        assert pairs == [(cost, float(f'{value:.6g}')) for step in steps for cost, value in step]


def test_an_epoch_of_many_steps_is_recorded_in_part() -> None:
    table = Seen(50)
    search = Search(SPACE, table, SearchConfig(epochs=1, num_samples=2 * ARCHS))
    search.run()
    sampled = search.history[0]['sampled']
    assert sorted(set(sampled['step'])) == list(range(0, 50, 4))  # spread over the epoch
    assert len(sampled['cost']) == 13 * ARCHS <= STEPS * ARCHS
    assert sampled['cost'][ARCHS : 2 * ARCHS] == [cost for cost, _ in table.seen[4][:ARCHS]]


def test_a_checkpoint_of_an_earlier_version_resumes() -> None:
    """It has no record of its samples; what follows is recorded."""
    config = SearchConfig(epochs=2, num_samples=2)
    whole = Search(SPACE, Table(), config)
    whole.run()
    states = []
    first = Search(SPACE, Table(), config)
    first.run(on_step=lambda s, _: states.append(copy.deepcopy(s.state_dict())))
    del states[4]['sampled']
    second = Search(SPACE, Table(), config)
    second.load_state_dict(states[4])  # after five steps
    second.run()
    assert second.history[0]['sampled']['step'] == [step for step in range(5, 10) for _ in range(2)]
    assert second.history[1]['sampled'] == whole.history[1]['sampled']
