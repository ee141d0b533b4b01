"""A machine that takes known times: its clock moves by what a network takes there, by its mood, and by noise."""
import contextlib
import random

from fpnas_timm.device.latency_table import network_work
from tests.device.tables import SETTING, made_up_table


class MadeUpMachine:
    """A run of a network takes the time of `table`, in milliseconds, times a speed that changes from run to run.

    `swing`: how far the speed of the machine goes up and down over some hundred runs; `noise`: of each run, relative.
    """

    def __init__(self, space, swing=0.3, noise=0.02, table=None, chaos=False):
        self.setting, self.table = SETTING, table or made_up_table(space)
        self.now, self.runs, self.opened = 0.0, 0, 0
        self.swing, self.noise, self.chaos, self.rng = swing, noise, chaos, random.Random(0)
        self.stop_after = None

    def clock(self):
        return self.now

    def open(self, arch):
        self.opened += 1
        if self.stop_after is not None and self.opened > self.stop_after:
            raise KeyboardInterrupt
        seconds = self.table.time_of(network_work(arch)) / 1e3 * (self.rng.uniform(0.2, 5) if self.chaos else 1)

        def run():
            self.runs += 1
            mood = 1 + self.swing * ((self.runs // 200) % 3)
            self.now += seconds * mood * max(self.rng.gauss(1, self.noise), 0.1)

        return run

    def ready(self):
        return contextlib.nullcontext()
