"""A small trained network that searches start from, and a search that is stopped."""
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fpnas_timm.errors import RunError, UsageError
from fpnas_timm.search import SearchResult, search
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


def check_resumed_without_checkpoint(
        whole: SearchResult, source: TrainResult, output: Path, monkeypatch: pytest.MonkeyPatch, **given: Any
) -> None:
    """A search from `source` that failed in its first step needs the source again, and then ends as `whole` did."""

    def step(*args: Any, **kwargs: Any) -> Any:
        raise RunError('failed in the first step')

    with monkeypatch.context() as failing, pytest.raises(RunError, match='failed in the first step'):
        failing.setattr(Search, '_take_step', step)
        search(output=output, init_from=source.export, **given)
    there = source.export.rename(source.export.with_name('moved'))
    try:
        with pytest.raises(UsageError, match='no such file or folder'):
            search(resume=output)
    finally:
        there.rename(source.export)
    search(resume=output)
    for name in ('distribution.safetensors', 'extract/model.safetensors'):
        assert (output / name).read_bytes() == (whole.folder / name).read_bytes()
    config = json.loads((output / 'extract' / 'config.json').read_text())
    assert config['training']['init_from']['name'] == str(source.export)
