"""The report of a search in a real browser."""
from pathlib import Path
from typing import Any

import pytest

from fpnas_timm.search.page import write_comparison, write_report

from ..draw.searches import make_search

OVERFLOW = 'document.documentElement.scrollWidth - document.documentElement.clientWidth'


@pytest.fixture(scope='module')
def pages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp('pages')
    evil = '"><script>window.hacked = 1</script>'
    folders = [make_search(root / 'a', finalists=5, classes=(evil, 'b')),
               make_search(root / ('long' * 20), seed=1, finished=False, name=evil.replace('/', ''))]
    return [*(write_report(f) for f in folders), write_comparison(folders, root / 'c.html')]


@pytest.mark.parametrize('width', [1280, 390, 320])
@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_it_is_shown(width: int, scheme: str, browser: Any, pages: list[Path]) -> None:
    for path in pages:
        page = browser.new_page(viewport={'width': width, 'height': 800}, color_scheme=scheme)
        errors: list[str] = []
        requests: list[str] = []
        page.on('console', lambda message, found=errors: found.append(message.text))
        page.on('pageerror', lambda error, found=errors: found.append(str(error)))
        page.on('request', lambda request, found=requests: found.append(request.url))
        page.goto(path.as_uri())
        assert (errors, requests, page.evaluate(OVERFLOW)) == ([], [path.as_uri()], 0)
        assert page.evaluate('window.hacked') is None
        page.close()


def test_the_slider_by_keyboard(browser: Any, pages: list[Path]) -> None:
    page = browser.new_page()
    page.goto(pages[0].as_uri())
    page.locator('#epoch').focus()
    page.keyboard.press('Home')
    cells = page.locator('.heat .cell span').all_text_contents()
    assert cells[:5] == ['33', '33', '33', '50', '50']  # the warm-up
    assert page.locator('#epoch').get_attribute('aria-valuetext').startswith('1 (warmup')
    page.keyboard.press('End')
    assert page.locator('.heat .cell span').all_text_contents() != cells
    page.locator('.play').click()
    page.locator('.play').click()
    page.close()


def test_values_under_the_pointer(browser: Any, pages: list[Path]) -> None:
    page = browser.new_page()
    page.goto(pages[0].as_uri())
    chart = page.locator('svg[data-chart]').first
    chart.hover(position={'x': 200, 'y': 100})
    assert page.locator('.readout').first.text_content().startswith('epoch ')
    page.close()
