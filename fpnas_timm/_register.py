"""Registers the models in timm without importing it: at once if it is imported already, otherwise right after it is.

`import fpnas_timm` thus costs no torch, and `timm.create_model('fpnas_l0')` works in whichever order the two are
imported. Registering is the import of `zoo/models.py`.
"""
import importlib
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ['with_timm']


def with_timm() -> None:
    """Register the models now if timm is imported, otherwise as soon as it is."""
    timm = sys.modules.get('timm')
    spec = getattr(timm, '__spec__', None)
    if getattr(spec, '_initializing', False):
        importlib.import_module('timm')  # returns at once in the thread that imports it, waits in every other
    if timm is None:
        _AfterTimm.install()
    elif spec is not None and getattr(spec, '_initializing', False):
        spec.__class__ = _WatchedSpec
    else:
        _register()


def _register() -> None:
    importlib.import_module('fpnas_timm.zoo.models')


class _AfterTimm(MetaPathFinder):
    """Finds timm where the other finders do, and registers the models once timm's own module has run.

    It stays installed until the models are registered: a `find_spec` alone, or an import that fails, changes nothing.
    """

    @classmethod
    def install(cls) -> None:
        if not any(isinstance(finder, cls) for finder in sys.meta_path):
            sys.meta_path.insert(0, cls())

    def find_spec(
            self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != 'timm':
            return None
        for finder in [f for f in sys.meta_path if f is not self]:
            find = getattr(finder, 'find_spec', None)
            spec = find(fullname, path, target) if find else None
            if spec is not None:
                if spec.loader is not None:
                    self._register_after(spec.loader)
                return spec
        return None

    def _register_after(self, loader: Any) -> None:
        """Make the loader register after it has run a module: in the instance, so that its class stays what it is."""
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            if module.__name__ == 'timm' and self in sys.meta_path:
                _register()
                sys.meta_path.remove(self)

        loader.exec_module = exec_module


class _WatchedSpec(ModuleSpec):
    """The spec of a timm whose import is going on in this thread, while something that it imports imports this package.

    timm's loader has been called already. What remains is that the import system sets `_initializing` to False at the
    end of the import, failed or not.
    """

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == '_initializing' and not value:
            self.__class__ = ModuleSpec  # type: ignore[assignment]
            if sys.modules.get(self.name) is not None:
                _register()
            else:  # the import has failed: the next one may succeed
                _AfterTimm.install()
