"""What a run says: a line per epoch, the device that was chosen, and nothing about workers that nobody asked for."""
import logging
import re
import warnings
from pathlib import Path

import pytest
import yaml

from fpnas_timm.runs.device import best_device
from fpnas_timm.runs.parser import default_workers
from fpnas_timm.train import train
from fpnas_timm.train.options import parse_train_args, train_options

from .common import ARCH


def test_one_line_an_epoch(tiny_images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nine updates an epoch; the last of them does not get a line of its own."""
    options = dict(arch=ARCH, data_dir=tiny_images, num_classes=3, epochs=2, warmup_epochs=0, batch_size=4, workers=0,
                   opt='adamw', lr=0.01, output=tmp_path)
    for interval, lines in ((50, 0), (9, 0), (4, 2)):
        caplog.clear()
        with caplog.at_level(logging.INFO), warnings.catch_warnings():
            warnings.simplefilter('error', UserWarning)
            train('fpnas', experiment=str(interval), log_interval=interval, **options)
        said = [m for m in caplog.messages if m.startswith('epoch ')]
        assert [m[:10] for m in said if '[' not in m] == ['epoch 1/2:', 'epoch 2/2:']
        assert len([m for m in said if '[' in m]) == 2 * lines
    assert f'device: {best_device()} (auto: there is no GPU)' in caplog.messages or best_device() != 'cpu'


def test_workers_from_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.delenv('LOCAL_WORLD_SIZE', raising=False)
    for cores, processes, workers in ((1, '', 1), (2, '', 2), (3, '1', 3), (64, '', 4), (16, '8', 2), (2, '8', 1)):
        monkeypatch.setattr(os, 'sched_getaffinity', lambda _, n=cores: set(range(n)), raising=False)
        if processes:
            monkeypatch.setenv('LOCAL_WORLD_SIZE', processes)
        assert default_workers() == workers == parse_train_args([]).workers
        monkeypatch.delenv('LOCAL_WORLD_SIZE', raising=False)
    assert parse_train_args(['-j', '7']).workers == 7
    assert train_options({'workers': 0}).workers == 0


@pytest.mark.parametrize(('epochs', 'warmup'), [(1, 0), (2, 1), (4, 2), (5, 2), (6, 5), (300, 5)])
def test_the_default_warmup_fits(epochs: int, warmup: int, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """timm's 5 epochs of warm-up, but where the learning rate would never leave them."""
    assert parse_train_args(['--epochs', str(epochs)]).warmup_epochs == warmup
    said = f'for --epochs {epochs}: --warmup-epochs {warmup} instead of 5'
    assert (said in caplog.messages) == (warmup != 5)
    assert train_options({'epochs': epochs}).warmup_epochs == warmup
    file = tmp_path / 'options.yaml'
    file.write_text(yaml.safe_dump({'epochs': epochs}))
    assert parse_train_args(['-c', str(file)]).warmup_epochs == warmup
    assert parse_train_args(['--epochs', str(epochs), '--warmup-prefix']).warmup_epochs == 5


def test_the_recipes_warmup_fits() -> None:
    args = parse_train_args(['--recipe', 'ls+aa+ema', '--model', 'fpnas_l0', '--epochs', '2'])
    assert args.warmup_epochs == 1
    assert re.fullmatch(r'\d+', str(parse_train_args(['--recipe', 'ls+aa+ema', '--model', 'fpnas_l0']).workers))
