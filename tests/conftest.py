import os

os.environ.setdefault('HF_HUB_OFFLINE', '1')  # nothing in the tests may reach a hub
os.environ.setdefault('OMP_NUM_THREADS', '1')  # pytest-xdist brings the parallelism

import contextlib
import logging
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter as Workers

if os.environ.get('CI', '').lower() == 'true':
    with contextlib.suppress(ImportError):  # not in the environment of the pipelines
        from hypothesis import settings

        settings.register_profile('ci', derandomize=True)  # a red run of CI is about the change, not about luck
        settings.load_profile('ci')
torch.set_num_threads(1)


# A worker gets whole files in this order: with one of these last (timm's take two minutes), the other would be idle.
LONG = 'tests/timm_suite/', 'tests/end_to_end/', 'tests/arch/test_cost', 'tests/cli/', 'tests/search/test_strategies'
BUILTINS = dict(torch.jit._builtins._get_builtin_table())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


@pytest.fixture
def script_builtins(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that compile to TorchScript: it knows builtins by their `id`, also of those that no longer exist.

    torch replaces an operator when a library adds to it, as exporters do. An attribute of a module that has the `id` of
    the one before is then a builtin to TorchScript: "builtin cannot be used as a value".
    """
    monkeypatch.setattr(torch.jit._builtins, '_builtin_table', dict(BUILTINS))


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """The commands set up logging, on a stream that pytest closes after the test: leave nothing of it behind."""
    handlers, level = list(logging.root.handlers), logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


@pytest.fixture(autouse=True)
def no_idle_workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stop the DataLoader workers of a test that ended in an error; those that are kept between epochs go on.

    Else the garbage collector does so in some later test. torch then waits 5 seconds, since the queue that would tell
    the workers to stop is garbage, too.
    """
    started: weakref.WeakSet[Workers] = weakref.WeakSet()
    start = Workers.__init__

    def tracked(self: Workers, loader: object) -> None:
        start(self, loader)
        started.add(self)

    monkeypatch.setattr(Workers, '__init__', tracked)
    yield
    for workers in list(started):
        if not workers._persistent_workers:
            workers._shutdown_workers()


@pytest.fixture(scope='session')
def tiny_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image folder that is easy to learn: three colours with noise, 16 x 16, 12 to train on and 4 to validate."""
    from PIL import Image

    root = tmp_path_factory.mktemp('images')
    generator = torch.Generator().manual_seed(0)
    for split, count in (('train', 12), ('validation', 4)):
        for channel, name in enumerate(('red', 'green', 'blue')):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = torch.randint(0, 160, (16, 16, 3), generator=generator)
                pixels[..., channel] += 90
                Image.fromarray(pixels.to(torch.uint8).numpy()).save(folder / f'{i}.png')
    return root
