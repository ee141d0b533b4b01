"""The explorer as `fpnas app` starts it, and a browser. `SHOTS=FOLDER` keeps pictures of what the tests see."""
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from ..draw.searches import make_search

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which('chromium') or shutil.which('google-chrome')
ARGS = [
    '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync',
]
WIDTHS = {'desktop': 1280, 'phone': 390, 'small phone': 320}


@pytest.fixture(scope='session')
def address() -> Iterator[str]:
    """The address of the explorer, with its key."""
    process = subprocess.Popen(
        [sys.executable, '-m', 'fpnas_timm', 'app', '--port', '0', '--no-browser'], stdout=subprocess.PIPE, text=True,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
    )
    assert process.stdout is not None
    yield re.search(r'http://\S+', process.stdout.readline())[0]
    process.send_signal(signal.SIGINT)
    process.wait(20)


@pytest.fixture(scope='session')
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip('no chromium')
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Any, address: str, request: pytest.FixtureRequest) -> Iterator[Callable[..., Page]]:
    """Opens a page in a profile of its own; at the end none may have said an error or be wider than its window."""
    contexts, said = [], []

    def open_page(width: int = 1280, scheme: str = 'light', query: str = '', **options: Any) -> Page:
        context = browser.new_context(viewport={'width': width, 'height': 860}, color_scheme=scheme, **options)
        contexts.append(context)
        return tab(context, query)

    def tab(context: Any, query: str = '') -> Page:
        page = context.new_page()
        page.on('console', lambda message: said.append(message.text))
        page.on('pageerror', lambda error: said.append(str(error)))
        page.on('request', lambda asked: asked.url.startswith((address.partition('?')[0], 'blob:', 'data:'))
                or said.append(f'request of {asked.url}'))
        page.goto(address + query)
        page.wait_for_selector('#a-figure svg, #a-error:not(:empty)')
        return page

    open_page.tab = tab  # type: ignore[attr-defined]
    yield open_page
    for i, context in enumerate(contexts):
        for page in context.pages:
            wide = page.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth')
            assert wide == 0, 'wider than the window'
            if os.environ.get('SHOTS'):
                name = re.sub(r'\W+', '-', request.node.name)
                page.screenshot(path=f'{os.environ["SHOTS"]}/{name}-{i}.png', full_page=True)
        context.close()
    assert said == []


@pytest.fixture(scope='session')
def search(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search."""
    return make_search(tmp_path_factory.mktemp('searches') / 'out', epochs=8, finalists=3)


@pytest.fixture(scope='session')
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that has never seen an image."""
    import timm

    from fpnas_timm.weights.folder import export_model

    folder = tmp_path_factory.mktemp('run') / 'export'
    model = timm.create_model('fpnas', num_classes=3, arch='i64-cn_k3_s2_c16_nsw-ir_k3_s2_e3_c24_nre-cn_k1_c64_nsw')
    names = ['<img src=x onerror="window.hacked=1">', 'dog', 'sloth']
    export_model(model, folder, {'input_size': (3, 64, 64), 'mean': (0.5,) * 3, 'std': (0.5,) * 3}, names, {})
    return folder.parent


@pytest.fixture(scope='session')
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('images') / 'red.png'
    Image.new('RGB', (120, 90), 'red').save(path)
    return path
