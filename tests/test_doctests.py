"""The worked examples in docstrings."""
import doctest
import importlib

import pytest

MODULES = [
    'errors', 'arch.checks', 'arch.choices', 'arch.cost', 'arch.encoding', 'arch.sizes', 'arch.tokens', 'spaces.decode',
    'spaces.mbconv', 'spaces.named', 'spaces.space',
]


@pytest.mark.parametrize('name', MODULES)
def test_examples_in_docstrings(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f'fpnas_timm.{name}')).failed == 0
