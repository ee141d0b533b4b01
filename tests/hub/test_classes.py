"""A model on the Hub, or pulled from it, is validated by the names of its classes and in its own image mode."""
import json
from pathlib import Path

import pytest
import timm
from PIL import Image
from timm.data import resolve_data_config

import fpnas_timm  # noqa: F401
from fpnas_timm.weights.folder import export_model
from tests.helpers.hub_server import HubServer
from tests.hub.clients import ARCH, client, hub, repo_files


def test_validation_from_the_hub(server: HubServer, tmp_path: Path) -> None:
    model = timm.create_model('fpnas', arch=ARCH, num_classes=3, in_chans=4)
    model.classifier.weight.data.zero_()
    model.classifier.bias.data[:] = model.classifier.bias.new_tensor([0.0, 9.0, 0.0])  # everything is 'thin'
    config = {**resolve_data_config({'input_size': (4, 32, 32), 'mean': [0.5], 'std': [0.5]}), 'crop_pct': 1.0}
    export_model(model, tmp_path / 'run' / 'export', config, ['solid', 'thin', 'empty'], {})
    server.add('me/x', repo_files(tmp_path / 'run'))
    for name in ('solid', 'thin'):
        (tmp_path / 'data' / 'validation' / name).mkdir(parents=True)
        Image.new('RGBA', (32, 32), (9, 9, 9, 99)).save(tmp_path / 'data' / 'validation' / name / '0.png')
    assert hub(server, tmp_path, 'pull', 'me/x', '-o', str(tmp_path / 'pulled')).returncode == 0
    assert json.loads((tmp_path / 'pulled' / 'config.json').read_text())['input_img_mode'] == 'RGBA'
    for name in ('hf-hub:me/x', f'local-dir:{tmp_path / "pulled"}'):
        argv = [str(tmp_path / 'data'), '--model', name, '--pretrained', '--device', 'cpu', '-j', '0']
        run = client(server, tmp_path, f'from fpnas_timm.cli.runs import validate_main; validate_main({argv!r})')
        result = json.loads(run.stdout.removeprefix('--result\n'))
        assert result['top1'] == pytest.approx(50), run.stderr
        assert "no images of 1 of the 3 classes: 'empty'" in run.stderr
