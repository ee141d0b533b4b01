"""Lazy imports of a package's public names (PEP 562), so that `fpnas --help` does not import torch."""
import importlib
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

__all__ = ['lazy_names']


def lazy_names(package: str, names: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package that imports its public names on first use.

    A function may have the name of its submodule, such as `hub.pull.pull`: `from fpnas_timm.hub import pull` always
    returns the function, even if the submodule has been imported before.

    Args:
        package: `__name__` of the package.
        names: public name -> the submodule that defines it, such as `{'Search': 'loop'}`.
    """
    this = sys.modules[package]

    class Package(ModuleType):
        def __setattr__(self, name: str, value: object) -> None:
            if not (name in names and isinstance(value, ModuleType)):  # the import system binds a submodule like this
                super().__setattr__(name, value)

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f'module {package!r} has no attribute {name!r}')
        value = getattr(importlib.import_module(f'{package}.{names[name]}'), name)
        setattr(this, name, value)
        return value

    this.__class__ = Package
    return get, lambda: sorted({*vars(this), *names})
