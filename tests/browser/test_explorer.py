"""Each control of the explorer in a real browser; the fixture `visit` checks that no page says an error."""
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Error, Page, expect

from fpnas_timm.arch import Arch
from fpnas_timm.arch.cost import cost
from fpnas_timm.zoo.strings import ARCHS

from ..device.tables import made_up_table
from ..draw.searches import space as tiny_space
from .conftest import ROOT, WIDTHS

Visit = Callable[..., Page]
DECODE = 60_000  # milliseconds; on a machine that does much else


def string(page: Page, which: str = 'a') -> Arch:
    return Arch.parse(page.locator(f'#{which}').input_value())


def decoded(page: Page) -> None:
    expect(page.locator('#decode-says')).to_contain_text('most probable within', timeout=DECODE)


@pytest.mark.parametrize('width', WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_it_is_shown(width: int, scheme: str, visit: Visit) -> None:
    page = visit(width, scheme)
    expect(page.locator('#a-cards')).to_contain_text('399,264,416')
    assert page.locator('#a-figure g.block').count() == 25
    assert page.locator('#costs tbody tr').count() == 14
    background = page.evaluate('getComputedStyle(document.body).backgroundColor')
    assert (background == 'rgb(255, 255, 255)') == (scheme == 'light')
    assert 'key=' not in page.url


def test_a_string_is_edited(visit: Visit) -> None:
    page = visit()
    page.fill('#a', 'fpnas_s1pp')
    expect(page.locator('#a-cards')).to_contain_text('65,570,624')
    page.fill('#a', ARCHS['fpnas_s1pp'].replace('_k5', '_k4'))
    expect(page.locator('#a-error')).to_contain_text('k4: expected one of k0, k3, k5')
    expect(page.locator('#panel-a .shown')).to_have_class(re.compile('stale'))
    page.fill('#a', '<img src=x onerror="window.hacked=1">')
    expect(page.locator('#a-error')).to_contain_text('<img src=x')
    assert page.evaluate('window.hacked') is None
    page.fill('#a', ARCHS['fpnas_s1pp'].replace('c184', 'c200'))
    expect(page.locator('#a-error')).to_be_empty()


def test_budgets_and_spaces(visit: Visit) -> None:
    page = visit()
    page.select_option('#space', 'fpnas_s1pp')
    decoded(page)
    assert cost(string(page)).macs <= 66_000_000
    page.locator('#macs').focus()
    for _ in range(3):
        page.keyboard.press('PageDown')
    decoded(page)
    expect(page.locator('output[for=macs]')).not_to_contain_text('66')
    page.check('#use-params')
    expect(page.locator('#params')).to_be_enabled()
    expect(page.locator('#decode-says')).not_to_have_class('busy', timeout=DECODE)
    page.locator('#params').press('Home')
    expect(page.locator('#decode-says')).to_contain_text('no architecture of space', timeout=DECODE)
    page.uncheck('#use-params')
    page.uncheck('#use-macs')
    page.click('#decode')
    decoded(page)
    expect(page.locator('output[for=macs]')).to_have_text('any')


def test_space_files(visit: Visit, tmp_path: Path) -> None:
    page = visit()
    good, bad = tmp_path / 'good.json', tmp_path / 'bad.json'
    good.write_text(json.dumps(tiny_space('mine').to_dict()))
    bad.write_text('{"name": "<b>"}')
    page.set_input_files('#space-file', good)
    expect(page.locator('#space-says')).to_contain_text('mine: ')
    decoded(page)
    assert string(page) in tiny_space()
    page.set_input_files('#space-file', bad)
    expect(page.locator('#space-says')).to_contain_text("space file: search space: entry 'stem' is missing")
    page.select_option('#space', 'fpnas_l0')
    expect(page.locator('#space-says')).to_contain_text('fpnas_l0: 1.6e+32')


def test_a_block_is_clicked(visit: Visit) -> None:
    page = visit()
    page.locator('#a-figure g.block[data-at="5.1"] .hit').click()
    expect(page.locator('#editor')).to_contain_text('group 5, block 1 of 4')
    page.select_option('#editor [name=kernel]', '3')
    expect(page.locator('#a')).to_have_value(re.compile('ir_r4_k3_s2_e3_c80_nre_sp1'))
    page.check('#editor [value=block]')
    page.select_option('#editor [name=act]', 'sw')
    expect(page.locator('#a')).to_have_value(re.compile('ir_r1_k3_s2_e3_c80_nre_sp1-ir_r1_k3_s1_e3_c80_nsw_sp1-ir_r2_k3_s1'))
    expect(page.locator('#editor')).to_contain_text('group 6, block 0 of 1')
    before = page.locator('#a').input_value()
    page.fill('#editor [name=channels]', '0')
    page.locator('#editor [name=channels]').press('Tab')
    expect(page.locator('#editor .wrong')).to_contain_text('group 6: c0: expected channels from 1')
    assert page.locator('#a').input_value() == before
    page.keyboard.press('Escape')
    expect(page.locator('#editor')).to_be_hidden()


def test_two_networks_and_links(visit: Visit, address: str) -> None:
    page = visit()
    page.click('#keep')
    page.fill('#a', 'fpnas_s1pp')
    expect(page.locator('#costs thead')).to_contain_text('multiply-adds B')
    page.click('#swap')
    expect(page.locator('#a-cards')).to_contain_text('399,264,416')
    expect(page.locator('#b-cards')).to_contain_text('65,570,624')
    expect(page).to_have_url(re.compile('with=fpnas_s1pp'))
    other = visit.tab(page.context, '&' + page.url.partition('?')[2])  # type: ignore[attr-defined]
    expect(other.locator('#b-cards')).to_contain_text('65,570,624')
    page.fill('#b', 'nothing')
    expect(page.locator('#b-error')).to_contain_text('neither a model')
    page.click('#drop')
    expect(page.locator('#panel-b')).to_be_hidden()
    expect(page.locator('#costs thead')).not_to_contain_text('multiply-adds B')


def test_copying(visit: Visit) -> None:
    page = visit(permissions=['clipboard-read', 'clipboard-write'])
    for name, expected in (('[data-copy=a]', 'fpnas_l0'), ('#link', 'arch=fpnas_l0')):
        page.click(name)
        expect(page.locator(name)).to_have_text('copied')
        assert expected in page.evaluate('navigator.clipboard.readText()')
    assert 'key' not in page.evaluate('navigator.clipboard.readText()')


def test_two_tabs_at_once(visit: Visit) -> None:
    """A decode in one does not hold up an edit in the other."""
    one = visit()
    two = visit.tab(one.context)  # type: ignore[attr-defined]
    one.select_option('#space', 'fpnas_l2')
    expect(one.locator('#decode-says')).to_have_class('busy')
    two.fill('#a', 'fpnas_l1')
    expect(two.locator('#a-cards')).to_contain_text(f'{cost(ARCHS["fpnas_l1"]).macs:,}')
    decoded(one)
    assert string(one).img_size == 256 and two.locator('#a').input_value() == 'fpnas_l1'
    expect(two.locator('#space')).to_have_value('fpnas_l0')


def test_by_keyboard_only(visit: Visit) -> None:
    page = visit()

    def tab_to(selector: str) -> None:
        for _ in range(60):
            page.keyboard.press('Tab')
            if page.evaluate(f'document.activeElement.matches({selector!r})'):
                return
        raise AssertionError(f'{selector} is not reached')

    tab_to('#space')
    tab_to('#macs')
    page.keyboard.press('ArrowLeft')
    decoded(page)
    tab_to('#a')
    tab_to('#a-figure g.block')
    for _ in range(3):
        page.keyboard.press('ArrowRight')
    assert page.evaluate('document.activeElement.dataset.at') == '2.0'
    page.keyboard.press('Enter')
    expect(page.locator('#editor')).to_contain_text('group 2, block 0')
    tab_to('#editor [name=kernel]')
    kernel = string(page).groups[2].kernel
    page.keyboard.press('ArrowDown')
    expect(page.locator('#a')).not_to_have_value(re.compile(f'^(?:[^-]+-){{4}}ir_r2_k{kernel}_'))
    page.keyboard.press('Escape')
    assert page.evaluate('document.activeElement.dataset.at') == '2.0'
    tab_to('#search-folder')
    page.keyboard.type('/nothing/here')
    page.keyboard.press('Enter')
    expect(page.locator('#search-error')).to_contain_text('no such folder')


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_a_search(scheme: str, visit: Visit, search: Path) -> None:
    page = visit(scheme=scheme)
    page.fill('#search-folder', str(search.parent))
    page.click('#open-search button')
    expect(page.locator('#search-error')).to_contain_text('no search there')
    page.fill('#search-folder', str(search))
    page.click('#open-search button')
    expect(page.locator('#epoch-says')).to_have_text('8 of 8 (finished)')
    expect(page.locator('#space-says')).to_contain_text('tiny')
    cells = page.locator('.heat .cell span').all_text_contents()
    page.locator('#epoch').press('Home')
    expect(page.locator('#epoch-says')).to_contain_text('1 of 8')
    assert page.locator('.heat .cell span').all_text_contents() != cells
    page.locator('#epoch').press('End')
    expect(page.locator('#epoch-says')).to_contain_text('8 of 8')
    page.click('#use-result')
    expect(page.locator('#a-where')).to_contain_text("in space 'tiny'")
    page.uncheck('#use-macs')
    page.click('#decode')
    decoded(page)
    assert string(page) in tiny_space()
    macs = cost(string(page), num_classes=3).macs  # as in the search
    expect(page.locator('#a-cards')).to_contain_text(f'{macs:,}')
    expect(page.locator('#decode-says')).to_contain_text(f'{macs:,} multiply-adds')


def test_a_model_and_images(visit: Visit, trained: Path, picture: Path, tmp_path: Path) -> None:
    page = visit()
    page.fill('#model-folder', '/nothing')
    page.click('#open-model button')
    expect(page.locator('#model-error')).to_contain_text('no model there')
    page.fill('#model-folder', str(trained))
    page.click('#open-model button')
    expect(page.locator('#model-says')).to_contain_text('fpnas, 3 classes')
    page.set_input_files('#image', picture)
    expect(page.locator('.class')).to_have_count(3, timeout=120_000)
    expect(page.locator('#classes')).to_contain_text('<img src=x')
    assert page.evaluate('window.hacked') is None and page.locator('#preview').is_visible()
    text = tmp_path / 'text.png'
    text.write_text('no image')
    page.set_input_files('#image', text)
    expect(page.locator('#model-error')).to_contain_text('not an image')
    expect(page.locator('.class')).to_have_count(0)
    page.evaluate('''async () => {
        const data = new DataTransfer();
        const blob = await (await fetch('/page.css')).blob();
        data.items.add(new File([blob], 'dropped.png'));
        document.getElementById('drop-zone').dispatchEvent(new DragEvent('drop', {dataTransfer: data, bubbles: true}));
    }''')
    expect(page.locator('#model-error')).to_contain_text('not an image')
    page.set_input_files('#image', picture)
    expect(page.locator('.class')).to_have_count(3)
    page.click('#open-model button')
    expect(page.locator('.class')).to_have_count(0)  # they would be taken for those of the next model


def test_without_the_key(visit: Visit, address: str) -> None:
    page = visit()
    page.context.clear_cookies()
    page.fill('#search-folder', '/tmp')
    page.click('#open-search button')
    expect(page.locator('#search-error')).to_contain_text('open that one')


def test_a_latency_table(visit: Visit, tmp_path: Path) -> None:
    table = made_up_table(tiny_space('mine'), constant=0.05)
    table.save(tmp_path / 'table.json')
    page = visit()
    expect(page.locator('#latency-row')).to_be_hidden()
    page.set_input_files('#space-file', tmp_path / 'table.json')
    expect(page.locator('#space-says')).to_contain_text(str(table.setting))
    page.uncheck('#use-macs')
    page.check('#use-latency')
    decoded(page)
    expect(page.locator('output[for=latency]')).to_contain_text(' ms')
    expect(page.locator('#a-cards')).to_contain_text(f'{table.predict(string(page)):.3g} ms')
    page.select_option('#space', 'fpnas_l0')
    expect(page.locator('#latency-row')).to_be_hidden()


def test_in_a_space_and_when_it_ends(browser: Any) -> None:
    """As the Hub runs it: no folders; and what the page says when its server has gone."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    command = [sys.executable, '-m', 'uvicorn', 'app:app', '--port', str(port), '--log-level', 'warning']
    server = subprocess.Popen(command, cwd=ROOT / 'space', env={**os.environ, 'PYTHONPATH': str(ROOT)})
    try:
        page = browser.new_page()
        said: list[str] = []
        page.on('console', lambda message: said.append(message.text))
        for _ in range(100):
            with contextlib.suppress(Error):
                page.goto(f'http://127.0.0.1:{port}/?arch=fpnas_s1pp')
                break
            time.sleep(0.2)
        expect(page.locator('#a-cards')).to_contain_text('65,570,624')
        expect(page.locator('#search')).to_be_hidden()
        expect(page.locator('#classify')).to_be_hidden()
        expect(page.locator('#foot')).to_contain_text('on your own machine')
        assert said == []
    finally:
        server.terminate()
        server.wait(20)
    page.fill('#a', 'fpnas_l0')
    expect(page.locator('#a-error')).to_contain_text('has fpnas app been ended?')
    page.close()
