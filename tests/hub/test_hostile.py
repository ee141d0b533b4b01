"""A Hub that means harm: what it sends is limited in size and time, compared with its hash, and kept in its place."""
import hashlib
from pathlib import Path

from tests.helpers.hub_server import HubServer
from tests.hub.clients import client, hub, logits, one_line, repo_files

LIMIT = 1 << 20
# Downloads files with limits that a test can wait for, and prints what happened to each, and that it did not take long.
TRY = """
import time
from fpnas_timm.weights import transfer
from fpnas_timm.weights.download import download
transfer.GRACE = 1.5
for repo, file in {files!r}:
    start = time.monotonic()
    try:
        print(download(repo, file, {limit}).read_bytes() == b'good')
    except Exception as e:
        print(type(e).__name__, e)
    print(time.monotonic() - start < 10)
"""


def attempt(server: HubServer, home: Path, *files: str, repo: str = 'me/net', **env: str) -> list[str]:
    """What downloading the files of a repo prints, in one process; none of it takes long."""
    home.mkdir(exist_ok=True)
    pairs = [(repo, file) if isinstance(file, str) else file for file in files]
    run = client(server, home, TRY.format(files=pairs, limit=LIMIT), **env)
    lines = run.stdout.splitlines()
    assert run.returncode == 0 and lines[1::2] == ['True'] * len(files), run.stderr + run.stdout
    return lines[::2]


def stored(home: Path) -> list[Path]:
    return [f for f in home.rglob('*') if not f.is_dir()]


def test_transfers_that_are_ended(server: HubServer, tmp_path: Path) -> None:
    faults = {
        'endless': 'more than 4 bytes came: not stored',
        'endless, no length': f'more than {LIMIT:,} bytes came: not stored',
        'trickle': 'the Hub sends too slowly: given up after 2 seconds: try again',
        'slow head': 'the Hub sends too slowly: given up after 2 seconds: try again',
        'elsewhere': 'more than 5 redirections',
        'zipped': 'it came compressed, which was not asked for',
        'truncated': 'came incomplete',
        'corrupt': 'altered on the way, not stored',
        'down': '503',
    }
    server.add('me/net', {fault: b'good' if fault != 'trickle' else b'good' * 100 for fault in faults})
    server.faults = {fault: fault.partition(',')[0] for fault in faults}
    server.fields['endless, no length'] = {'Content_Length': ''}
    for (fault, words), said in zip(faults.items(), attempt(server, tmp_path, *faults), strict=True):
        assert said.startswith(f'RunError {fault} of me/net: ') and words in said, said
    assert server.sent < 1 << 25 and stored(tmp_path) == []


def test_what_names_files_in_the_cache_is_checked(server: HubServer, tmp_path: Path) -> None:
    in_cache, commit = 'cannot be a name in the cache', 'as the commit: expected 40 hexadecimal digits'
    cases = [
        ({'ETag': f'"{tmp_path}/evil"'}, in_cache), ({'ETag': '"../../../evil"'}, in_cache),
        ({'ETag': '".."'}, in_cache), ({'ETag': ''}, in_cache), ({'X_Linked_Etag': '"/evil"'}, in_cache),
        ({'X_Repo_Commit': '../../../../evil'}, commit), ({'X_Repo_Commit': ''}, commit),
        ({'ETag': f'"{"0" * 64}"'}, 'altered on the way'), ({'ETag': f'"{"0" * 40}"'}, 'altered on the way'),
    ]
    names = [f'{i}.json' for i in range(len(cases))]
    server.add('me/net', dict.fromkeys(names, b'good'))
    server.fields = {name: fields for name, (fields, _) in zip(names, cases, strict=True)}
    for said, (_, words) in zip(attempt(server, tmp_path, *names), cases, strict=True):
        assert said.startswith('RunError ') and words in said
    paths = [('me/..', 'a.json'), ('../net', 'a.json'), ('me/net@../../x', 'a.json'), ('me/net', '../../a.json'),
             ('me/net@/x', 'a.json'), ('/me/net', 'a.json'), ('me/net', '/a.json'), ('me/net', '')]
    assert all('no such name' in said for said in attempt(server, tmp_path, *paths))
    assert stored(tmp_path) == []


def test_hashes_that_hubs_send(server: HubServer, tmp_path: Path) -> None:
    """git's for small files, the plain one of a mirror, ones that are no hashes, a long one for large files."""
    sha1 = [hashlib.sha1(data).hexdigest() for data in (b'blob 4\0good', b'good')]
    etags = [*(f'"{etag}"' for etag in sha1), '"abc-1"', 'W/"x.gzip"']
    names = [f'{i}.json' for i in range(len(etags) + 1)]
    server.add('me/net', dict.fromkeys(names, b'good'))
    server.fields = {name: {'ETag': etag} for name, etag in zip(names, etags)}
    assert attempt(server, tmp_path, *names) == ['True'] * len(names)


def test_the_cache_is_that_of_the_client(server: HubServer, tmp_path: Path) -> None:
    """What is fetched here is found by huggingface_hub, and the other way round; a damaged copy is replaced."""
    first = server.add('me/net', {'one.json': b'good', 'two.json': b'good '})
    files = ('one.json', (f'me/net@{first}', 'one.json'))
    assert attempt(server, tmp_path, *files) == ['True'] * 2
    theirs = "from huggingface_hub import hf_hub_download as get\nprint(open(get('me/net', {!r})).read())"
    run = client(server, tmp_path, theirs.format('one.json'), HF_HUB_OFFLINE='1')
    assert run.stdout == 'good\n', run.stderr
    assert client(server, tmp_path, theirs.format('two.json')).stdout == 'good \n'
    server.log.clear()
    assert attempt(server, tmp_path, 'two.json', (f'me/net@{first}', 'two.json')) == ['False'] * 2  # has a blank
    assert [line for line in server.log if line.startswith('GET')] == []
    for blob in tmp_path.rglob('blobs/*'):
        blob.write_bytes(b'bad!')
    [said] = attempt(server, tmp_path, 'one.json', HF_HUB_OFFLINE='1')
    assert 'damaged in the cache' in said
    assert attempt(server, tmp_path, *files[::-1]) == ['True'] * 2
    server.faults['one.json'] = 'down'  # a branch, and nobody to ask where it is now
    assert attempt(server, tmp_path, 'one.json') == ['True']


def test_altered_weights_without_a_manifest(server: HubServer, run_folder: Path, tmp_path: Path) -> None:
    server.add('me/net', repo_files(run_folder))
    server.faults['model.safetensors'] = 'corrupt'
    assert 'altered on the way, not stored' in one_line(hub(server, tmp_path, 'pull', 'me/net', '-o', 'model'))
    assert not (tmp_path / 'model').exists()
    run = client(server, tmp_path, logits('hf-hub:me/net'))
    assert 'altered on the way, not stored' in run.stderr.splitlines()[-1]


def test_the_token_stays_on_its_host(server: HubServer, tmp_path: Path) -> None:
    """Large files are redirected to other hosts, which the token is not for."""
    other = HubServer()
    try:
        sha = server.add('me/net', {'a.json': b'good'})
        other.add('me/net', {'a.json': b'good'})
        server.moved = f'{other.url}/me/net/resolve/{sha}/a.json'
        assert attempt(server, tmp_path, 'a.json', HF_TOKEN='hf_right') == ['True']
        assert (server.tokens, other.tokens) == ({'Bearer hf_right'}, {None})
    finally:
        other.close()
