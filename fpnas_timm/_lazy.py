"""Names that a package imports when they are asked for (PEP 562), so that `fpnas --help` does not wait for torch."""
import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ['lazy_names']


def lazy_names(package: str, names: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package that imports its public names on first use.

    Args:
        package: its `__name__`.
        names: public name -> the submodule that defines it, as `{'Search': 'loop'}`.
    """

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f'module {package!r} has no attribute {name!r}')
        value = getattr(importlib.import_module(f'{package}.{names[name]}'), name)
        setattr(sys.modules[package], name, value)
        return value

    return get, lambda: sorted({*vars(sys.modules[package]), *names})
