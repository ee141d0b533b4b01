"""Settings of alpha that were not given: by the batches and the steps; presets and saved searches keep theirs."""
import logging
from pathlib import Path
from typing import Any

import pytest
import yaml

from fpnas_timm.search.alpha_settings import fitting_alpha_lr
from fpnas_timm.search.dataset import check_images
from fpnas_timm.search.loop import SearchConfig
from fpnas_timm.search.options import parse_search_args, search_options
from fpnas_timm.search.run import search
from fpnas_timm.search.setup import set_up

from .test_api import SETTINGS, SPACE, Colours


def config_of(out: Path, **options: Any) -> SearchConfig:
    args = search_options({'output': str(out), **SETTINGS, **options})
    return set_up(args, SPACE, check_images(Colours())).search.config


def test_rates() -> None:
    """Short searches can move a logit by 5, very short ones do not go above 0.05, long ones have the presets' 0.01."""
    rates = [fitting_alpha_lr(n) for n in (0, 1, 100, 115, 400, 500, 10**6)]
    assert rates == [0.05, 0.05, 0.05, 0.043, 0.013, 0.01, 0.01]


def test_what_was_not_given(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Seven images in each half: three steps of two images, of two rounds of one batch."""
    caplog.set_level(logging.INFO, 'search')
    config = config_of(tmp_path / 'out', batch_size=3, grad_accum_steps=2, epochs=201)
    assert (config.temperature, config.alpha_lr) == (6.0, 0.025)
    said = '--temperature 6 for the 6 images that a step scores on; --alpha-lr 0.025 for 200 steps after the warm-up'
    assert said in caplog.messages
    caplog.clear()
    config = config_of(tmp_path / 'out', temperature=2, alpha_lr=0.3)
    assert (config.temperature, config.alpha_lr) == (2.0, 0.3)
    assert not any('--temperature' in m or '--alpha-lr' in m for m in caplog.messages)


def test_presets_have_the_papers() -> None:
    args = parse_search_args(['--preset', 'fbnetv2_f', '--epochs', '9', '--output', 'out'])
    assert (args.temperature, args.alpha_lr) == (1.0, 0.01)


def test_a_search_of_an_earlier_version_keeps_its_settings(tmp_path: Path) -> None:
    """Its `args.yaml` has the values that were defaults then, and none of the options that are new."""
    found = search(SPACE, Colours(), output=tmp_path / 'out', temperature=1.0, alpha_lr=0.01, **SETTINGS)
    path = tmp_path / 'out' / 'args.yaml'
    saved = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({k: v for k, v in saved.items() if k not in (
        'weight_archs', 'weight_draws', 'distill', 'weight_ema')}))
    args = search_options({'resume': str(tmp_path / 'out')})
    config = set_up(args, None, check_images(Colours())).search.config
    assert (config.temperature, config.alpha_lr) == (1.0, 0.01)
    assert search(dataset=Colours(), resume=tmp_path / 'out').arch == found.arch
