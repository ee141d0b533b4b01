"""Registers the models in timm without importing timm: now if timm is already imported, else right after its import.

`import fpnas_timm` thus does not import torch, and `timm.create_model('fpnas_l0')` works regardless of the order of the
two imports. Importing `zoo/models.py` registers the models.
"""
import importlib
import os
import re
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from .errors import TooOldError

__all__ = ['OLDEST_TIMM', 'with_timm']

OLDEST_TIMM = (1, 0, 31)  # as in pyproject.toml


def with_timm() -> None:
    """Register the models now if timm is imported, otherwise as soon as it has been imported."""
    timm = sys.modules.get('timm')
    if timm is not None and _in_progress(timm):
        importlib.import_module('timm')  # returns at once in the thread that imports it, waits in every other
    if timm is None:
        _AfterTimm.install()
    elif _in_progress(timm):
        _watch(timm)
    else:
        _register()


def _register() -> None:
    """Register the models; if a module of this package is importing timm, wait until that module is imported.

    Raises:
        TooOldError: timm is older than `OLDEST_TIMM`.
    """
    _check_version(sys.modules['timm'])
    ours = [module for name, module in list(sys.modules.items()) if name.startswith('fpnas_timm.')]
    unfinished = next(filter(_in_progress, ours), None)  # the first is the outermost, as sys.modules is in order
    if unfinished is not None:
        _watch(unfinished)
    else:
        importlib.import_module('fpnas_timm.zoo.models')


def _check_version(timm: ModuleType) -> None:
    """Raise TooOldError for a timm that lacks what this package imports, such as an old checkout in this folder."""
    version = str(getattr(timm, '__version__', ''))
    numbers = re.match(r'(\d+)\.(\d+)(?:\.(\d+))?', version)
    if numbers and tuple(int(n or 0) for n in numbers.groups()) < OLDEST_TIMM:
        place = os.path.dirname(getattr(timm, '__file__', None) or '') or 'an unknown place'
        raise TooOldError(
            f'fpnas_timm needs timm {".".join(map(str, OLDEST_TIMM))} or later, but timm {version} is in {place}: '
            'pip install -U timm, or, if that is a folder of yours, run the command elsewhere'
        )


def _in_progress(module: ModuleType) -> bool:
    return bool(getattr(getattr(module, '__spec__', None), '_initializing', False))


def _watch(module: ModuleType) -> None:
    if module.__spec__ is not None:
        module.__spec__.__class__ = _WatchedSpec


class _AfterTimm(MetaPathFinder):
    """Finds timm through the other finders, and registers the models once timm's module has been executed.

    It stays installed until the models are registered, even after a mere `find_spec` or a failed import.
    """

    def __init__(self) -> None:
        self.looking = False

    @classmethod
    def install(cls) -> None:
        if not any(isinstance(finder, cls) for finder in sys.meta_path):
            sys.meta_path.insert(0, cls())

    def find_spec(
            self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """timm's spec as the other finders give it, with a loader that registers the models afterwards; else None."""
        if fullname != 'timm' or self.looking:
            return None
        self.looking = True
        try:
            finders = [finder.find_spec for finder in sys.meta_path if hasattr(finder, 'find_spec')]
            spec = next(filter(None, (find_spec(fullname, path, target) for find_spec in finders)), None)
        finally:
            self.looking = False
        if spec is not None and spec.loader is not None:
            self._register_after(spec.loader)
        return spec

    def _register_after(self, loader: Any) -> None:
        """Make the loader register the models after executing a module; patches the instance, not its class."""
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            if module.__name__ == 'timm' and self in sys.meta_path:
                _register()
                sys.meta_path.remove(self)

        loader.exec_module = exec_module


class _WatchedSpec(ModuleSpec):
    """The spec of a module whose import is in progress: the models are registered when it is done.

    Its loader has already been called, but at the end the import system sets `_initializing` to False, even if the
    import failed. Used for timm if one of its imports imports this package, and for a module of this package that
    imports timm, since registering needs that module.
    """

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == '_initializing' and not value:
            self.__class__ = ModuleSpec  # type: ignore[assignment]
            if sys.modules.get('timm') is None:  # the import failed: wait for the next one
                _AfterTimm.install()
            else:
                _register()
