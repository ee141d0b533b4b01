"""Time of `cost` per architecture, and of fvcore's count of the same architectures (model built and traced).

    python benchmarks/cost.py
"""

import logging
import random
import time

import torch

from fpnas_timm.arch import Arch
from fpnas_timm.arch.cost import cost
from fpnas_timm.model.network import FPNAS
from fpnas_timm.spaces import get_space
from fpnas_timm.zoo.report import count


def main() -> None:
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    print('| space | parse, microseconds | cost, microseconds | fvcore / cost |')
    print('|---|---|---|---|')
    for name in ('fpnas_s1pp', 'fpnas_l0', 'fpnas_l2'):
        space, rng = get_space(name), random.Random(0)
        strings = [str(space.sample_arch(rng)) for _ in range(2000)]
        start = time.perf_counter()
        archs = [Arch.parse(s) for s in strings]
        parsed = time.perf_counter()
        found = [cost(arch) for arch in archs]
        counted = time.perf_counter()
        few = 5
        again = [count(FPNAS(s), space.img_size).macs for s in strings[:few]]
        traced = time.perf_counter()
        assert again == [c.macs for c in found[:few]]
        ours = (counted - parsed) / len(archs)
        ratio = (traced - counted) / few / ours
        print(f'| {name} | {(parsed - start) / len(archs) * 1e6:.0f} | {ours * 1e6:.0f} | {ratio:,.0f} |')


if __name__ == '__main__':
    main()
