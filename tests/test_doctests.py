"""The worked examples in docstrings."""
import doctest
import importlib
from pathlib import Path

import pytest

MODULES = [
    'errors', 'arch.checks', 'arch.choices', 'arch.cost', 'arch.encoding', 'arch.sizes', 'arch.tokens', 'spaces.decode',
    'spaces.around', 'spaces.budgets', 'spaces.mbconv', 'spaces.named', 'spaces.space', 'spaces.costs', 'device.work',
    'device.latency_fit', 'device.latency_table', 'search.run', 'search.within', 'transfer.layers',
    'transfer.timm_arch', 'zoo.names',
]


@pytest.mark.parametrize('name', MODULES)
def test_examples_in_docstrings(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert doctest.testmod(importlib.import_module(f'fpnas_timm.{name}')).failed == 0
