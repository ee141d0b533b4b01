"""Folders of searches and trained models, and an image; bad ones are sentences."""
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from fpnas_timm.arch import Arch
from fpnas_timm.arch.cost import cost

from ..draw.searches import make_search
from .client import TINY, Page, opened, page  # noqa: F401

CLASSES = ['<b>cat</b>', 'dog', 'sloth']


@pytest.fixture(scope='module')
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import timm
    import torch

    from fpnas_timm.weights.folder import export_model

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp('run') / 'export'
    model = timm.create_model('fpnas', arch=TINY, num_classes=3)
    export_model(model, folder, {'input_size': (3, 64, 64), 'mean': (0.5,) * 3, 'std': (0.5,) * 3}, CLASSES, {})
    return folder.parent


@pytest.fixture(scope='module')
def shared() -> Iterator[Page]:
    """One server for the images: torch is imported once."""
    yield from opened()


def image_file(kind: str = 'PNG', mode: str = 'RGB', size: tuple[int, int] = (80, 70)) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, 'red' if mode == 'RGB' else 1).save(out, kind)
    return out.getvalue()


def test_a_search(page: Page, tmp_path: Path) -> None:  # noqa: F811
    folder = make_search(tmp_path / 'out', epochs=5)
    rows = [json.loads(line) for line in (folder / 'history.jsonl').read_text().splitlines()]
    last = page.ask('search', folder=f' {folder} ')
    assert (last['epochs'], last['epoch'], last['arch']) == (5, 4, rows[-1]['most_probable'])
    first = page.ask('search', folder=str(folder), epoch=0)
    assert first['arch'] == rows[0]['most_probable'] and 'warmup' in first['html'] and '5 of 5' not in first['html']
    assert page.ask('space', space=last['space'])['name'] == 'tiny'
    assert 'has finished 5' in page.ask('search', folder=str(folder), epoch=5)['error']
    found = page.ask('decode', space=last['space'], folder=str(folder), epoch=4, classes=last['classes'])
    arch = Arch.parse(found['arch'])  # without a budget, the most probable choices of the epoch, bypasses aside
    assert last['classes'] == 3 and cost(arch, num_classes=3) == (found['macs'], found['params'])
    probs = rows[4]['marginals']
    for group, got in zip(probs, arch.groups):
        if got.kernel and max(group['kernel'][1:]) == max(group['kernel']):
            assert got.kernel == (0, 3, 5)[group['kernel'].index(max(group['kernel']))]


def test_a_search_without_a_distribution(page: Page, tmp_path: Path) -> None:  # noqa: F811
    folder = make_search(tmp_path / 'out', epochs=2)
    rows = [json.loads(line) for line in (folder / 'history.jsonl').read_text().splitlines()]
    text = ''.join(json.dumps({k: v for k, v in row.items() if k != 'marginals'}) + '\n' for row in rows)
    (folder / 'history.jsonl').write_text(text)
    found = page.ask('search', folder=str(folder))
    assert found['learned'] is False and 'heat' not in found['html']
    assert 'learns no distribution' in page.ask('decode', space='fpnas_l0', folder=str(folder))['error']


@pytest.mark.parametrize(('folder', 'said'), [
    ('/nothing/here', 'no such folder'), ('', 'expected the path'), ('a\0b', 'expected the path'),
    ('.', 'no search there'), ('x' * 5000, 'expected the path'), (5, 'expected text'), ('/proc/1/cwd', ''),
    ('~nobody-at-all/x', ''),
])
def test_no_folder_of_a_search(folder: object, said: str, page: Page) -> None:  # noqa: F811
    assert said in page.ask('search', folder=folder)['error']
    assert page.ask('model', folder=folder)['error']


def test_a_damaged_search(page: Page, tmp_path: Path) -> None:  # noqa: F811
    folder = make_search(tmp_path / 'out', epochs=2)
    (folder / 'history.jsonl').write_text('{"epoch": ')
    assert 'line 1 is damaged' in page.ask('search', folder=str(folder))['error']


def test_a_model_and_images(trained: Path, shared: Page) -> None:
    found = shared.ask('model', folder=str(trained))
    assert (found['folder'], found['classes'], found['arch']) == (str(trained / 'export'), 3, str(Arch.parse(TINY)))
    address = f'/api/classify?folder={trained}'

    def ask(data: bytes) -> dict:
        answer = shared.client.post(address, content=data)
        assert answer.status_code == 200 and 'Traceback' not in answer.text
        return answer.json()

    for data in (image_file(), image_file('JPEG'), image_file(mode='L'), image_file(mode='P'), image_file('GIF', 'P')):
        classes = ask(data)['classes']
        assert {c['name'] for c in classes} == set(CLASSES)
        assert sum(c['prob'] for c in classes) == pytest.approx(1, abs=1e-5)
    for data, said in (
        (b'', 'empty'), (b'not an image', 'not an image'), (image_file()[:60], 'cannot be read'),
        (image_file(size=(20_000, 1)), 'at most 16,384'), (b'<svg xmlns="x"/>', 'not an image'),
        (b'\x89PNG\r\n\x1a\n' + bytes(100), 'not an image'),
    ):
        assert said in ask(data)['error']
    none = shared.client.post('/api/classify?folder=/tmp/none', content=image_file())
    assert 'no model there' in none.json()['error']


def test_it_is_what_the_model_says(trained: Path, shared: Page) -> None:
    import timm
    import torch
    from timm.data import create_transform, resolve_data_config

    model = timm.create_model(f'local-dir:{trained / "export"}', pretrained=True).eval()
    transform = create_transform(**resolve_data_config({}, model=model))
    with torch.no_grad():
        probs = model(transform(Image.open(io.BytesIO(image_file())))[None])[0].softmax(0)
    found = shared.client.post(f'/api/classify?folder={trained}', content=image_file()).json()['classes']
    assert [c['prob'] for c in found] == pytest.approx(sorted(probs.tolist(), reverse=True), abs=1e-5)


def test_a_large_upload_is_cut_off(trained: Path, page: Page, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    from fpnas_timm.app import server

    monkeypatch.setattr(server, 'MAX_IMAGE', 1000)
    sent = []

    def parts() -> Iterator[bytes]:
        for _ in range(50):
            sent.append(1)
            yield bytes(100)

    answer = page.client.post(f'/api/classify?folder={trained}', content=parts()).json()
    assert 'more than 1,000 bytes' in answer['error']


def test_a_damaged_model(trained: Path, shared: Page, tmp_path: Path) -> None:
    folder = tmp_path / 'bad'
    folder.mkdir()
    (folder / 'config.json').write_bytes((trained / 'export' / 'config.json').read_bytes())
    (folder / 'model.safetensors').write_bytes(b'x' * 100)
    said = shared.client.post(f'/api/classify?folder={folder}', content=image_file()).json()['error']
    assert 'damaged or no safetensors' in said and str(folder) in said
    (folder / 'config.json').write_text('[]')
    assert shared.client.post(f'/api/classify?folder={folder}', content=image_file()).json()['error']
