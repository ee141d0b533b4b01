"""Latency tables that were never measured: times of a machine whose rates are known."""
import random

from fpnas_timm.device.latency_table import LatencyTable, Setting, network_work

SETTING = Setting('a machine', 'torch', versions={'torch': '2.0'}, num_classes=10)


def known_rates(space, seed=0):
    """Rates of every kind of work that the space has, of each group."""
    rng = random.Random(seed)
    kinds = [{} for _ in range(len(space.rows) + 1)]
    for _ in range(300):
        for part, work in zip(kinds, network_work(space.sample_arch(rng))):
            part.update(work)
    return [{kind: rng.uniform(0.1, 2) * (0.01 if 'calls' in kind else 1) for kind in sorted(part)} for part in kinds]


def made_up_table(space, seed=0, constant=0.05, setting=SETTING):
    *groups, head = known_rates(space, seed)
    return LatencyTable(space, setting, groups, head, constant, (str(space.sample_arch(random.Random(9))), 1.0), {},
                        '2026-11-26')
