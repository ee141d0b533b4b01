"""The Hub, with the real huggingface_hub client in processes of its own against a Hub on loopback (`hub_server.py`)."""
import hashlib
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.models import save_for_hf

import fpnas_timm  # noqa: F401
from fpnas_timm.cli.hub import main
from fpnas_timm.weights.manifest import read_manifest
from tests.helpers.hub_server import TOKEN, HubServer

ARCH = 'i32-cn_r1_k3_s2_c8_nsw-ir_r1_k3_s2_e3_c16_nre_sp2-ir_r1_k5_s1_e2_c24_nsw_sp1-cn_r1_k1_s1_c32_nsw'
ROOT = Path(__file__).parents[2]


@pytest.fixture
def server() -> Iterator[HubServer]:
    hub = HubServer()
    yield hub
    hub.close()


@pytest.fixture(scope='module')
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training run's folder: `export/` in timm's format, metrics under `training`."""
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp('run')
    model = timm.create_model('fpnas', arch=ARCH, num_classes=4)
    config = {'label_names': list('abcd'), 'training': {'metrics': {'top1': 91.5, 'loss': 0.25}, 'recipe': 'fpnas_l0'}}
    save_for_hf(model, root / 'export', model_config=config, safe_serialization=True)
    return root


def client(server: HubServer, home: Path, code: str, **env: str) -> subprocess.CompletedProcess:
    """Run Python code in a new process whose Hub is `server`, with its own cache under `home`."""
    settings = {
        **{k: v for k, v in os.environ.items() if not k.startswith(('HF_', 'FPNAS_'))},
        'HF_ENDPOINT': server.url,
        'HF_HOME': str(home),
        'HF_HUB_DISABLE_XET': '1',
        'HF_HUB_DISABLE_PROGRESS_BARS': '1',
        'HF_HUB_DISABLE_TELEMETRY': '1',
        'PYTHONPATH': str(ROOT),
        'OMP_NUM_THREADS': '1',
        **env,
    }
    return subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code],
        env=settings, cwd=home, capture_output=True, text=True, timeout=120, check=False,
    )


def hub(server: HubServer, home: Path, *argv: str, **env: str) -> subprocess.CompletedProcess:
    code = f'import sys; from fpnas_timm.cli.hub import main; sys.exit(main({list(argv)!r}))'
    return client(server, home, code, **env)


def logits(*names: str, **kwargs: object) -> str:
    """Code that prints the sum of a model's logits on ones, per name."""
    return (
        'import timm, torch, fpnas_timm\n'
        f'for name in {names!r}:\n'
        f'    model = timm.create_model(name, pretrained=True, **{kwargs!r}).eval()\n'
        '    with torch.inference_mode(): print(model(torch.ones(1, model.in_chans, 32, 32)).double().sum().item())\n'
    )


def repo_files(run_folder: Path) -> dict[str, bytes]:
    return {f.name: f.read_bytes() for f in (run_folder / 'export').iterdir()}


def one_line(run: subprocess.CompletedProcess, status: int = 1) -> str:
    """The error of a command line: one line, this exit status, no traceback."""
    lines = [line for line in run.stderr.splitlines() if line.startswith('error: ')]
    assert run.returncode == status, run.stderr
    assert 'Traceback' not in run.stderr
    assert len(lines) == 1, run.stderr
    return lines[0]


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


def test_private_repo_and_tokens(server: HubServer, run_folder: Path, tmp_path: Path) -> None:
    server.add('me/secret', repo_files(run_folder), private=True)
    for env in ({}, {'HF_TOKEN': 'hf_wrong'}):
        error = one_line(hub(server, tmp_path, 'pull', 'me/secret', **env))
        assert error.startswith('error: config.json of me/secret: no such repo, or a private one and no token')
    assert 'architecture ' in hub(server, tmp_path, 'pull', 'me/secret', HF_TOKEN=TOKEN).stdout
    error = one_line(hub(server, tmp_path, 'push', str(run_folder), 'me/new', HF_TOKEN='hf_wrong'))
    assert error.startswith('error: me/new: not published: no token that may write there: log in with `hf auth login`')
    assert 'me/new' not in server.repos


def test_revisions(server: HubServer, run_folder: Path, tmp_path: Path) -> None:
    files = repo_files(run_folder)
    first = server.add('me/net', files)
    tensors = load_file(run_folder / 'export' / 'model.safetensors')
    tensors['classifier.bias'] += 1
    save_file(tensors, tmp_path / 'second.safetensors')
    server.add('me/net', {'model.safetensors': (tmp_path / 'second.safetensors').read_bytes()}, branch='next')
    loaded = client(server, tmp_path, logits('hf-hub:me/net', 'hf-hub:me/net@next', f'hf-hub:me/net@{first}'))
    main_, next_, commit = (float(x) for x in loaded.stdout.split())
    assert main_ == commit and abs(next_ - main_ - 4) < 1e-4
    error = one_line(hub(server, tmp_path, 'pull', 'me/net@nowhere'))
    assert error == 'error: config.json of me/net@nowhere: no such revision'


def test_wrong_hash_is_refused(server: HubServer, run_folder: Path, tmp_path: Path) -> None:
    files = repo_files(run_folder)
    sha = server.add('me/net', files)
    entry = dict(
        model='my_net.v1', sha256=hashlib.sha256(files['model.safetensors']).hexdigest(), metrics={}, recipe='none',
        license='mit', repo_id='me/net', revision=sha, arch=ARCH, pretrained_cfg={'num_classes': 4},
    )
    (tmp_path / 'zoo.json').write_text(json.dumps({'weights': [entry]}))
    env = {'FPNAS_MANIFEST': str(tmp_path / 'zoo.json')}
    server.faults['model.safetensors'] = 'corrupt'
    run = client(server, tmp_path, logits('my_net'), **env)
    assert f'RunError: model.safetensors of me/net@{sha}: its sha256 is' in run.stderr and run.stdout == ''
    error = one_line(hub(server, tmp_path, 'verify', 'my_net.v1', **env))
    assert entry['sha256'] in error
    server.faults.clear()  # the bad file is in the cache: as the message says, --force gets another
    assert 'as in the manifest' in hub(server, tmp_path, 'pull', 'my_net.v1', '--force', **env).stdout
    assert client(server, tmp_path, logits('my_net'), **env).returncode == 0


def test_transfers_that_fail(server: HubServer, run_folder: Path, tmp_path: Path) -> None:
    server.add('me/net', repo_files(run_folder))
    server.faults['model.safetensors'] = 'truncated'
    error = one_line(hub(server, tmp_path, 'pull', 'me/net'))
    assert error.startswith('error: model.safetensors of me/net@') and 'came incomplete: try again with' in error
    server.faults['model.safetensors'] = 'stall'
    error = one_line(hub(server, tmp_path, 'pull', 'me/net', HF_HUB_DOWNLOAD_TIMEOUT='1'))
    assert 'model.safetensors of me/net@' in error and 'the Hub did not answer or broke off' in error
    server.faults['model.safetensors'] = 'broken'  # once: the client goes on where it was cut, an older one when asked
    run = hub(server, tmp_path, 'pull', 'me/net')
    if run.returncode:
        assert 'the Hub did not answer or broke off' in one_line(run)
        run = hub(server, tmp_path, 'pull', 'me/net')
    assert run.returncode == 0 and 'finite logits' in run.stdout, run.stderr
    error = one_line(hub(server, tmp_path, 'pull', 'me/other', HF_HUB_OFFLINE='1'))
    assert 'not in the cache, and HF_HUB_OFFLINE is set' in error


def test_no_pickle_and_nothing_huge(server: HubServer, run_folder: Path, tmp_path: Path) -> None:
    files = repo_files(run_folder)

    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / 'ran'), 'w'))

    server.add('me/pickle', {'config.json': files['config.json'], 'pytorch_model.bin': pickle.dumps(Trap())})
    run = client(server, tmp_path, logits('hf-hub:me/pickle'))
    assert 'model.safetensors of me/pickle: no such file in the repo; weights are read from safetensors' in run.stderr
    assert not (tmp_path / 'ran').exists()
    server.add('me/huge', {**files, 'model.safetensors': files['model.safetensors'] + bytes(3 << 20)})
    server.log.clear()
    run = client(server, tmp_path, logits('hf-hub:me/huge'))
    assert 'bytes, and the weights of this network are at most' in run.stderr and 'not fetched' in run.stderr
    assert 'GET /me/huge/resolve/main/model.safetensors' not in server.log
    config = json.loads(files['config.json'])
    config['num_classes'] = config['pretrained_cfg']['num_classes'] = 10**12
    server.add('me/classes', {**files, 'config.json': json.dumps(config).encode()})
    run = client(server, tmp_path, logits('hf-hub:me/classes'))
    assert 'its config says 1000000000000 classes' in run.stderr


# ---------------------------------------------------------------- without a Hub


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


def test_reconstruction_says_so_and_loses_its_name(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    save_for_hf(timm.create_model('fpnas_s1pp', num_classes=3), tmp_path / 'extract', safe_serialization=True)
    assert main(['push', str(tmp_path), 'me/s1', '--dry-run']) == 0
    out, err = capsys.readouterr()
    folder = Path(err.splitlines()[1].split()[0]).parent
    assert 'fpnas_s1pp, a reconstruction from Table B.1' in (folder / 'README.md').read_text()
    assert json.loads((folder / 'config.json').read_text())['architecture'] == 'fpnas'
    assert json.loads(out)['model'] == 'fpnas_s1pp.v1'
    (tmp_path / 'zoo.json').write_text(json.dumps({'weights': [json.loads(out)]}))
    [entry] = read_manifest(tmp_path / 'zoo.json')  # what is printed is a manifest entry, without metrics too
    assert entry.metrics == {} and entry.recipe == 'not recorded'


@pytest.mark.parametrize('under', ['search', 'training'])
def test_cards_of_runs(under: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """What `fpnas train` and `fpnas search` write beside the model."""
    search = {'space': 'digits', 'target_macs': 3e6, 'samples': 480, 'weights': 'inherited', 'most_probable': 'x' * 99}
    config = {'search': search} if under == 'search' else {
        'training': {'recipe': None, 'epoch': 3, 'epochs': 9, 'seed': 0, 'top1': 88.5, 'ema': True, 'search': search}
    }
    model = timm.create_model('fpnas', arch=ARCH, num_classes=4)
    save_for_hf(model, tmp_path / 'extract', model_config=config, safe_serialization=True)
    assert main(['push', str(tmp_path), 'me/x', '--dry-run', '-o', str(tmp_path / 'out')]) == 0
    entry = json.loads(capsys.readouterr().out)
    assert entry['metrics'] == ({} if under == 'search' else {'top1': 88.5}) and entry['recipe'] == 'not recorded'
    card = (tmp_path / 'out' / 'README.md').read_text()
    assert 'found by a search with fpnas_timm (space: digits; target macs: 3000000.0; samples: 480; weights: ' in card


def broken(folder: Path, what: str) -> None:
    config = json.loads((folder / 'config.json').read_text())
    weights = folder / 'model.safetensors'
    if what == 'truncated':
        weights.write_bytes(weights.read_bytes()[:-100])
    elif what == 'no weights':
        weights.unlink()
    elif what == 'other arch':
        config['model_args']['arch'] = ARCH.replace('c24', 'c40')
    elif what == 'not canonical':
        config['model_args']['arch'] = ARCH.replace('r1_', '')
    elif what == 'bad string':
        config['model_args']['arch'] = ARCH.replace('k5', 'k4')
    elif what == 'classes':
        config['num_classes'] = config['pretrained_cfg']['num_classes'] = 5
    elif what == 'not ours':
        config['architecture'] = 'resnet18'
    elif what == 'unknown model':
        config['architecture'] = 'nonet'
    elif what == 'huge images':
        config['pretrained_cfg']['input_size'] = [3, 100_000, 100_000]
    elif what == 'odd classes':
        config['num_classes'] = '4'
    elif what == 'odd args':
        config['model_args'] = [ARCH]
    elif what == 'nan':
        tensors = load_file(weights)
        tensors['classifier.bias'][0] = float('nan')
        save_file(tensors, weights)
    text = 'no json' if what == 'no json' else json.dumps(config)
    (folder / 'config.json').write_text(text)


@pytest.mark.parametrize('what, words, status', [
    ('truncated', 'damaged or no safetensors', 1),
    ('no weights', 'holds no model.safetensors', 2),
    ('other arch', 'These weights are of another architecture', 1),
    ('not canonical', 'the string is not canonical', 1),
    ('bad string', 'k4: expected one of', 1),
    ('classes', 'has 4 classes, and its config says 5', 1),
    ('not ours', 'makes no model', 1),
    ('unknown model', "'nonet' is no model here", 2),
    ('no json', 'not JSON', 2),
    ('huge images', 'input_size is [3, 100000, 100000]', 2),
    ('odd classes', "num_classes is '4'", 2),
    ('odd args', "not timm's format", 2),
    ('nan', 'not all of them finite', 1),
])
def test_verify_says_what_is_wrong(
    what: str, words: str, status: int, run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for file in (run_folder / 'export').iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    broken(tmp_path, what)
    assert main(['verify', str(tmp_path)]) == status
    err = capsys.readouterr().err
    assert words in err and err.count('\n') == 1 and err.startswith('error: ')


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
