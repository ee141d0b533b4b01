"""Publishing: what arrives, what a dry run leaves, and the model used from there in every way."""
import hashlib
import json
from pathlib import Path

import pytest
import timm
import torch

import fpnas_timm.hub
from fpnas_timm.cli.hub import main
from fpnas_timm.errors import UsageError
from tests.helpers.hub_server import TOKEN, HubServer
from tests.hub.clients import ARCH, client, hub, logits, one_line


def test_push_then_pull_in_every_way(server: HubServer, run_folder: Path, tmp_path: Path) -> None:
    pushed = hub(server, tmp_path, 'push', str(run_folder), 'me/digits', '--private', HF_TOKEN=TOKEN)
    assert pushed.returncode == 0, pushed.stderr
    entry = json.loads(pushed.stdout)
    repo = server.repos['me/digits']
    files = repo['commits'][repo['refs']['main']]
    assert repo['private'] and sorted(files) == ['README.md', 'arch.png', 'config.json', 'model.safetensors']
    assert entry['revision'] == repo['refs']['main']
    assert entry['sha256'] == hashlib.sha256(files['model.safetensors']).hexdigest()
    assert entry['metrics'] == {'top1': 91.5, 'loss': 0.25} and entry['recipe'] == 'fpnas_l0'
    config = json.loads(files['config.json'])
    assert config['architecture'] == 'fpnas'
    assert config['model_args']['arch'] == ARCH and 'num_classes' not in config['model_args']
    assert config['label_names'] == list('abcd') and config['training']['metrics']['top1'] == 91.5
    card = files['README.md'].decode()
    assert all(word in card for word in (ARCH, 'arch.png', 'top1: 91.5', 'hf-hub:me/digits', 'not recorded', '@inproc'))
    assert files['arch.png'].startswith(b'\x89PNG')
    # a zoo of one's own: the entry as printed, in a file that an environment variable names
    manifest = tmp_path / 'zoo.json'
    manifest.write_text(json.dumps({'weights': [{**entry, 'model': 'my_digits.v1'}]}))
    local = timm.create_model(f'local-dir:{run_folder}/export', pretrained=True).eval()
    with torch.inference_mode():
        expected = local(torch.ones(1, 3, 32, 32)).double().sum().item()
    names = ('hf-hub:me/digits', f'hf-hub:me/digits@{entry["revision"]}', 'my_digits.v1', 'my_digits')
    loaded = client(server, tmp_path, logits(*names), HF_TOKEN=TOKEN, FPNAS_MANIFEST=str(manifest))
    assert [float(x) for x in loaded.stdout.split()] == [expected] * 4, loaded.stderr
    adapted = client(
        server, tmp_path,
        logits('my_digits', num_classes=7, in_chans=1) +
        "print(model.num_classes, timm.list_models('my_*', pretrained=True), model.pretrained_cfg['label_names'])\n"
        "print(len(timm.create_model('my_digits', pretrained=True, features_only=True)(torch.ones(1, 3, 32, 32))))",
        HF_TOKEN=TOKEN, FPNAS_MANIFEST=str(manifest),
    )
    assert "7 ['my_digits.v1'] ('a', 'b', 'c', 'd')\n2\n" in adapted.stdout, adapted.stderr
    # offline, from the cache, with no Hub there
    server.log.clear()
    off = client(server, tmp_path, logits(*names), HF_HUB_OFFLINE='1', FPNAS_MANIFEST=str(manifest))
    assert [float(x) for x in off.stdout.split()] == [expected] * 4, off.stderr
    assert server.log == []
    pulled = hub(server, tmp_path, 'pull', 'my_digits.v1', '-o', 'here', HF_TOKEN=TOKEN, FPNAS_MANIFEST=str(manifest))
    assert pulled.returncode == 0, pulled.stderr
    assert '(as in the manifest)' in pulled.stdout and ARCH in pulled.stdout
    assert sorted(f.name for f in (tmp_path / 'here').iterdir()) == sorted(files)
    again = hub(server, tmp_path, 'pull', 'me/digits', '-o', 'here', HF_TOKEN=TOKEN)
    assert 'not empty' in one_line(again, 2)


def test_dry_run_sends_nothing(run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(['push', str(run_folder), 'me/digits', '--dry-run', '--model', 'digits.a', '--origin', 'a dream',
                 '--output', str(tmp_path / 'prepared')]) == 0
    out, err = capsys.readouterr()
    entry = json.loads(out)
    assert entry['model'] == 'digits.a' and entry['revision'] == '0' * 40
    assert 'nothing sent' in err and 'README.md' in err
    folder = tmp_path / 'prepared'
    assert 'a dream' in (folder / 'README.md').read_text()
    assert main(['verify', str(folder), '--json', '--sha256', entry['sha256']]) == 0
    assert json.loads(capsys.readouterr().out)['hash_known'] is True
    assert main(['push', str(run_folder), 'me/x', '--dry-run', '--output', str(folder)]) == 2
    assert 'not empty' in capsys.readouterr().err


@pytest.mark.parametrize('argv, words', [
    (['verify', 'nowhere'], 'nowhere: no model there'),
    (['push', 'nowhere', 'me/x'], 'nowhere: no model there'),
    (['push', 'RUN', 'justaname'], 'expected ORG/NAME'),
    (['pull', 'justaname'], 'expected ORG/NAME, ORG/NAME@REVISION'),
])
def test_wrong_arguments(argv: list[str], words: str, run_folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert main([str(run_folder) if a == 'RUN' else a for a in argv]) == 2
    err = capsys.readouterr().err
    assert words in err and err.count('\n') == 1


def test_list(capsys: pytest.CaptureFixture) -> None:
    assert main(['list']) == 0
    assert capsys.readouterr().out.startswith('No weights are published.')
    assert main(['list', '--json']) == 0
    assert json.loads(capsys.readouterr().out) == {'weights': []}


def test_calls_from_python(run_folder: Path, tmp_path: Path) -> None:
    """The three calls of the room's docstring, as a notebook makes them, as far as they go without a Hub."""
    entry, folder = fpnas_timm.hub.push(run_folder, 'me/digits', dry_run=True, output=tmp_path / 'prepared')
    assert folder == tmp_path / 'prepared' and entry.model == 'digits.v1' and entry.revision == '0' * 40
    report = fpnas_timm.hub.verify(folder, entry.sha256)
    assert (report.arch, report.num_classes, report.hash_known) == (ARCH, 4, True)
    assert report.sha256 == hashlib.sha256((folder / 'model.safetensors').read_bytes()).hexdigest()
    with pytest.raises(UsageError, match='expected ORG/NAME'):
        fpnas_timm.hub.pull('digits')
    with pytest.raises(UsageError, match='not empty'):
        fpnas_timm.hub.pull('me/digits', run_folder)
