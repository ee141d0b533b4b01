"""Who may ask for what, spaces and decodes, and that every mistake is a sentence."""
import json
from pathlib import Path

import pytest

from fpnas_timm.arch import Arch
from fpnas_timm.arch.cost import cost
from fpnas_timm.spaces import get_space, list_spaces

from ..device.tables import made_up_table
from ..draw.searches import space as tiny_space
from .client import KEY, PORT, TINY, Page, opened, page  # noqa: F401


def test_the_files(page: Page) -> None:  # noqa: F811
    for path in ('/', '/page.css', '/page.js'):
        answer = page.client.get(path)
        assert answer.status_code == 200 and "script-src 'self'" in answer.headers['content-security-policy']
        assert 'http://' not in answer.text.replace('http://www.w3.org', '') and 'https://' not in answer.text
    assert '--heat' in page.client.get('/page.css').text  # the reports' style is part of it
    start = page.client.get('/api/start').json()
    assert start['spaces'] == list_spaces() and start['folders'] is True


@pytest.mark.parametrize('headers', [
    {'host': 'evil.example'}, {'host': f'evil.example:{PORT}'}, {'host': f'127.0.0.1.evil.example:{PORT}'},
    {'host': ''},
    {'origin': 'https://evil.example'}, {'origin': 'null'}, {'origin': f'http://127.0.0.1:{PORT + 1}'},
])
def test_other_hosts_and_pages_are_refused(headers: dict[str, str], page: Page) -> None:  # noqa: F811
    assert page.client.post('/api/network', json={'a': TINY}, headers=headers).status_code == 403
    assert page.client.get('/', headers=headers).status_code == 403


def test_folders_need_the_key() -> None:
    for cookie in (None, 'wrong', 'secre'):
        for page in opened(cookie=cookie):  # noqa: F402
            for name, asked in (('search', {'folder': '/'}), ('model', {'folder': '/'}),
                                ('decode', {'space': 'fpnas_l0', 'folder': '/'})):
                assert 'open that one' in page.ask(name, **asked)['error']
            assert 'open that one' in page.client.post('/api/classify?folder=/', content=b'x').json()['error']
            assert 'figure' in page.ask('network', a=TINY)['a']  # what is not on this disk needs no key


def test_the_key_becomes_a_cookie_and_leaves_the_address() -> None:
    for page in opened(cookie=None):  # noqa: F402
        answer = page.client.get(f'/?key={KEY}&arch=fpnas_l0', follow_redirects=False)
        assert (answer.status_code, answer.headers['location']) == (303, '/?arch=fpnas_l0')
        assert 'HttpOnly' in answer.headers['set-cookie'] and 'samesite=strict' in answer.headers['set-cookie'].lower()
        assert 'no such folder' in page.ask('search', folder='/nothing/here')['error']
        wrong = page.client.get('/?key=wrong', follow_redirects=False)
        assert 'set-cookie' not in wrong.headers


def test_in_a_space() -> None:
    for page in opened(key=None, cookie=None):  # noqa: F402
        assert page.client.get('/api/start', headers={'host': 'someone-space.hf.space'}).json()['folders'] is False
        assert 'install the package' in page.ask('search', folder='/tmp')['error']
        assert 'huggingface.co' in page.client.get('/').headers['content-security-policy']


def test_spaces(page: Page) -> None:  # noqa: F811
    found = page.ask('space', space='fpnas_l0')
    assert found['size'] == '1.6e+32'
    for name, low, high in (('macs', 26_883_840, 1_513_808_768), ('params', 2_355_224, 28_441_016)):
        stops = found['stops'][name]
        assert stops == sorted(set(stops))
        assert (stops[0], stops[-1]) == (pytest.approx(low, rel=0.1), pytest.approx(high, rel=0.01))
    assert found['stops']['macs'][found['start']['macs']] == pytest.approx(399e6, rel=0.02)
    own = tiny_space('mine')
    assert page.ask('space', space=json.dumps(own.to_dict()))['size'] == f'{own.num_archs:.1e}'


@pytest.mark.parametrize(('space', 'said'), [
    ('nothing', 'unknown search space'), ('/etc/passwd', 'unknown search space'), ('x.json', 'unknown search space'),
    ('{', 'not JSON'), ('{}', "entry 'name' is missing"),
    ('{"name": 1, "stem": {}, "rows": [], "head": {}}', 'space file:'),
    (json.dumps(get_space('fpnas_l0').to_dict() | {'rows': 3}), 'rows (a list)'), ('{"a":' * 500, 'not JSON'),
])
def test_a_wrong_space(space: str, said: str, page: Page) -> None:  # noqa: F811
    for name, asked in (('space', {}), ('network', {'a': TINY}), ('decode', {'macs': 1e6})):
        assert said in page.ask(name, space=space, **asked)['error']


def test_a_space_that_is_too_large(page: Page) -> None:  # noqa: F811
    space = get_space('fpnas_l0').to_dict()
    for row in space['rows']:
        row['channels'] = list(range(8, 208))
    assert 'takes at most' in page.ask('space', space=json.dumps(space))['error']


def test_decode(page: Page) -> None:  # noqa: F811
    own = tiny_space()
    given = json.dumps(own.to_dict())
    found = page.ask('decode', space=given, macs=700_000, params=None)
    arch = Arch.parse(found['arch'])
    assert arch in own and cost(arch) == (found['macs'], found['params']) and 686_000 <= found['macs'] <= 700_000
    assert 'the nearest has' in page.ask('decode', space=given, macs=1000)['error']
    for wrong in ('many', -1, True, 1e400):
        answer = page.client.post('/api/decode', content=json.dumps({'space': given, 'macs': wrong}),
                                  headers={'content-type': 'application/json'})
        assert 'expected a number' in answer.json()['error']


@pytest.mark.parametrize(('content', 'kind'), [
    (b'', 'application/json'), (b'[]', 'application/json'), (b'{"a": ', 'application/json'),
    (b'\xff', 'application/json'), (b'[' * 10_000, 'application/json'), (b'{"a": 5}', 'application/json'),
    (b' ' * 300_000, 'application/json'), (b'{"a": "x"}', 'text/plain'),
])
def test_requests_that_are_none(content: bytes, kind: str, page: Page) -> None:  # noqa: F811
    answer = page.client.post('/api/network', content=content, headers={'content-type': kind})
    assert answer.status_code == 200 and list(answer.json()) == ['error']


def test_a_bug_is_a_sentence(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    from fpnas_timm.app import server

    def broken(asked: object) -> None:
        raise ZeroDivisionError('secret')

    monkeypatch.setattr(server, 'network_answer', broken)
    answer = page.client.post('/api/network', json={'a': TINY})
    assert answer.status_code == 500 and 'ZeroDivisionError' in answer.json()['error'] and 'secret' not in answer.text
    assert page.ask('space', space='fpnas_l0')['name'] == 'fpnas_l0'  # and it goes on


def test_a_latency_table(page: Page, tmp_path: Path) -> None:  # noqa: F811
    table = made_up_table(tiny_space(), constant=0.05)
    table.save(tmp_path / 'table.json')
    given = (tmp_path / 'table.json').read_text()
    found = page.ask('space', space=given)
    assert found['latency'] == str(table.setting) and found['classes'] == table.setting.num_classes
    stops, (least, most) = found['stops']['latency'], table.cost().range()
    assert stops[0] == pytest.approx(least, rel=0.01) and stops[-1] == pytest.approx(most, rel=0.01)
    limit = stops[len(stops) // 2]
    arch = Arch.parse(page.ask('decode', space=given, latency=limit)['arch'])
    assert 0.98 * limit <= table.predict(arch) <= limit
    assert f'{table.predict(arch):.3g} ms' in page.ask('network', a=str(arch), space=given)['a']['cards']
    assert ' ms' not in page.ask('network', a=TINY, space=given)['a']['cards']  # not of this space
    assert 'latency table: ' in page.ask('space', space='{"latency table": 1}')['error']
    assert 'of format 9' in page.ask('space', space='{"latency table": 9}')['error']
