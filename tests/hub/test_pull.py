"""Fetching from a Hub on this machine: tokens, revisions, hashes, broken transfers, traps."""
import hashlib
import json
import pickle
from pathlib import Path

from safetensors.torch import load_file, save_file

from tests.helpers.hub_server import TOKEN, HubServer
from tests.hub.clients import ARCH, client, hub, logits, one_line, repo_files


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
    assert 'num_classes is 1000000000000: expected a whole number from 0 to 1,000,000' in run.stderr
