"""The script of docs/training.md for several labels per image, and the refusal that names it."""
import csv
import json
import random
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from sklearn.metrics import average_precision_score
from timm.data import create_transform, resolve_model_data_config

from fpnas_timm.cli import main
from fpnas_timm.errors import UsageError
from fpnas_timm.train.options import parse_train_args

from .common import ARCH, ROOT, TRAIN

CHANNELS = {'red': 0, 'green': 1, 'blue': 2}


def write_split(folder: Path, count: int, rng: random.Random) -> None:
    """Images with bright squares in any of the three colours, in a channel each."""
    folder.mkdir(parents=True)
    with (folder / 'labels.csv').open('w', newline='') as file:
        for i in range(count):
            labels = [name for name in CHANNELS if rng.random() < 0.5]
            pixels = np.random.default_rng(i).integers(0, 100, (16, 16, 3), dtype=np.uint8)
            for name in labels:
                pixels[..., CHANNELS[name]] += 120
            Image.fromarray(pixels).save(folder / f'{i}.png')
            csv.writer(file).writerow([f'{i}.png', ' '.join(labels)])


def test_the_script_of_the_page(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It learns, prints the mean average precision that scikit-learn gets, and exports what can be loaded."""
    text = (ROOT / 'docs' / 'training.md').read_text(encoding='utf-8')
    [code] = re.findall(r'^<!-- multilabel -->\n```python\n(.*?)^```$', text, re.MULTILINE | re.DOTALL)
    rng = random.Random(0)
    for split, count in (('train', 64), ('validation', 32)):
        write_split(tmp_path / 'DIR' / split, count, rng)
    (tmp_path / 'arch.txt').write_text(f'{ARCH}\n')
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    space: dict = {}
    code = code.replace("20, torch.device('cpu')", "12, torch.device('cpu')")
    exec(compile(code.replace('batch_size=16', 'batch_size=16, num_workers=0'), 'docs/training.md', 'exec'), space)
    printed = json.loads(capsys.readouterr().out.strip().splitlines()[-1].replace("'", '"'))
    assert printed['map'] > 95
    model = timm.create_model('local-dir:exported', pretrained=True).eval()
    images, targets = zip(*[(x, t) for x, t in space['held_out']])
    with torch.no_grad():
        logits = model(torch.cat(images))
    expected = average_precision_score(torch.cat(targets).numpy(), logits.numpy(), average='macro')
    assert printed['map'] == pytest.approx(100 * expected, abs=0.01)
    config = json.loads((tmp_path / 'exported' / 'config.json').read_text())
    check_probabilities(tmp_path / 'DIR' / 'validation', model, capsys)
    check_refusals(capsys)
    assert (config['label_names'], config['training']) == (['red', 'green', 'blue'], {'task': 'multilabel'})


def check_probabilities(images: Path, model: torch.nn.Module, capsys: pytest.CaptureFixture[str]) -> None:
    """`fpnas predict` prints the sigmoid of each logit, for the folder and for an exported file."""
    transform = create_transform(**resolve_model_data_config(model))
    for exported in ('exported', 'net.pt'):
        assert main(['predict', exported, str(images), '--json']) == 0
        rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert len(rows) == 32
        for row in rows:
            with torch.no_grad():
                expected = model(transform(Image.open(row['image'])).unsqueeze(0))[0].sigmoid().tolist()
            found = {c['class']: c['probability'] for c in row['classes']}
            assert [found[name] for name in CHANNELS] == pytest.approx(expected, abs=1e-4)
        assert any(sum(c['probability'] for c in row['classes']) > 1.5 for row in rows)
        if exported == 'exported':
            assert main(['transfer', exported, '-o', 'again']) == 0
            capsys.readouterr()
            assert main(['predict', 'again', str(images), '--json']) == 0
            again = capsys.readouterr().out.splitlines()
            assert [json.loads(line) for line in again] == rows
            assert main(['export', exported, '-o', 'net.pt']) == 0
            assert 'logits of 3 labels, several per image (the probability of each is the sigmoid)' in (
                capsys.readouterr().out)


def check_refusals(capsys: pytest.CaptureFixture[str]) -> None:
    """What would take the highest logit for the label of an image."""
    for number, split in enumerate(('train', 'validation')):
        for name in CHANNELS:
            Path('CLASSES', split, name).mkdir(parents=True)
            shutil.copy(Path('DIR', 'train', f'{number}.png'), Path('CLASSES', split, name))
    torch.save({'state_dict': timm.create_model('local-dir:exported', pretrained=True).state_dict(),
                'args': {'task': 'multilabel'}}, 'timm.pth')  # as of timm's train.py
    for argv in (
        ['validate', '--data-dir', 'CLASSES', '--model', 'local-dir:exported', '--checkpoint', 'timm.pth'],
        ['validate', '--data-dir', 'CLASSES', '--model', 'local-dir:exported', '--pretrained'],
        ['export', 'exported', '-o', 'other.pt', '--data-dir', 'CLASSES'],
        ['train', *TRAIN, '--data-dir', 'CLASSES', '-b', '3', '--kd-model-name', 'local-dir:exported', '--output', '.'],
    ):
        assert main(argv) == 2
        assert re.search(r'(exported|timm\.pth): is for several labels per image', capsys.readouterr().err)
    assert not Path('other.pt').exists()


def test_the_refusal_names_the_section() -> None:
    for options in (['--task', 'multilabel'], ['--multilabel-threshold', '0.4']):
        with pytest.raises(UsageError, match='Several labels per image'):
            parse_train_args(['--data-dir', 'x', *options])
    assert '## Several labels per image' in (ROOT / 'docs' / 'training.md').read_text(encoding='utf-8')
