"""What the end-to-end tests of the search share: a tiny space, its options, and an uninterrupted search."""

import contextlib
import io
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fpnas_timm.arch import Conv
from fpnas_timm.cli.runs import search_main
from fpnas_timm.search.distribution import load_distribution
from fpnas_timm.spaces import MBConvSpace, Row

from ..helpers.preloaded import StartedScript

ROOT = Path(__file__).parents[2]
OPTIONS = ['--epochs', '6', '--warmup-epochs', '1', '--joint-epoch', '3', '--lam', '0.3', '--beta', '0.3',
           '--target-macs', '60K', '--batch-size', '4', '--alpha-lr', '0.05', '--workers', '0',
           '--calibration-batches', '2', '--tolerance', '0.1']


@pytest.fixture(scope='session')
def space_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    micro = {'kernel': (0, 3, 5), 'act': ('re', 'sw'), 'splits': (0, 1, 2)}
    rows = [Row((1, 2), (4, 8), 1, 1, **micro), Row((1.5, 3), (8, 12, 16), 2, 2, **micro)]
    space = MBConvSpace.from_rows('tiny', Conv(3, 2, 8, 'sw'), rows, Conv(1, 1, 32, 'sw'), 16)
    path = tmp_path_factory.mktemp('space') / 'tiny.json'
    path.write_text(json.dumps(space.to_dict()))
    return path


@pytest.fixture(scope='session')
def options(space_file: Path, tiny_images: Path) -> list[str]:
    return ['--space', str(space_file), '--data-dir', str(tiny_images), *OPTIONS]


@pytest.fixture(scope='session')
def whole(options: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted search, in this process: it costs no import of torch."""
    out = tmp_path_factory.mktemp('search') / 'whole'
    handlers, level = list(logging.root.handlers), logging.root.level
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
        status = search_main([*options, '--output', str(out)])
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    assert status == 0
    assert stdout.getvalue().splitlines()[-1] == (out / 'arch.txt').read_text().strip()
    return out


@pytest.fixture(scope='session')
def start() -> Callable[..., StartedScript]:
    """Starts `search.py` in a process of its own."""

    def run(*args: str, **kwargs) -> StartedScript:
        return StartedScript([str(ROOT / 'search.py'), *args], ROOT, **kwargs)

    return run


@pytest.fixture(scope='session')
def same_result() -> Callable[[Path, Path], bool]:
    """Whether two searches ended in the same distribution, to the bit, and the same string."""

    def compare(out: Path, other: Path) -> bool:
        first, second = (load_distribution(o / 'distribution.safetensors') for o in (out, other))
        strings = {(o / 'arch.txt').read_text() for o in (out, other)}
        return torch.equal(first.alpha, second.alpha) and first.kind == second.kind and len(strings) == 1

    return compare
