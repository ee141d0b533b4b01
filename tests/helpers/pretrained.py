"""A small trained network that searches start from, and a search that is stopped."""
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fpnas_timm.errors import RunError
from fpnas_timm.search.loop import Search
from fpnas_timm.train.run import TrainResult, train

ARCH = 'i16-cn_r1_k3_s2_c8_nsw-ir_r1_k3_s1_e2_c8_nre-ir_r2_k5_s2_e3_c16_nsw-cn_r1_k1_s1_c32_nsw'


def trained_source(images: Path, folder: Path) -> TrainResult:
    """A training of `ARCH` on `tiny_images`, with a mean and a standard deviation of its own."""
    return train(
        arch=ARCH, num_classes=3, data_dir=images, epochs=8, output=folder, experiment='run', device='cpu',
        batch_size=8, workers=0, no_aug=True, opt='adamw', lr=0.01, warmup_epochs=0, mean=[0.4] * 3, std=[0.3] * 3,
    )


def stop_in_second_epoch(monkeypatch: pytest.MonkeyPatch, output: Path) -> None:
    """Press Ctrl-C in every search to `output` once its first epoch is saved."""
    take_step: Callable[..., Any] = Search._take_step

    def step(*args: Any, **kwargs: Any) -> Any:
        if (output / 'last.pt').exists():
            signal.raise_signal(signal.SIGINT)
        return take_step(*args, **kwargs)

    monkeypatch.setattr(Search, '_take_step', step)


def fail_in_first_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every search fail in its first step, before there is a checkpoint."""

    def step(*args: Any, **kwargs: Any) -> Any:
        raise RunError('failed in the first epoch')

    monkeypatch.setattr(Search, '_take_step', step)
