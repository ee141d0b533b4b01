"""Starts a Space with the command of its Dockerfile, in an environment like the Hub's, and uses it: `make space`."""
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

HOST = 'someone-fpnas-explorer.hf.space'


def main(folder: str) -> None:
    assert not any((Path(path) / 'torch').exists() for path in sys.path), 'an environment of its own, without torch'
    text = (Path(folder) / 'Dockerfile').read_text()
    command = json.loads(re.search('^CMD (.*)$', text, re.MULTILINE)[1])
    port = re.search('^app_port: ([0-9]+)$', (Path(folder) / 'README.md').read_text(), re.MULTILINE)[1]
    assert port in command
    env = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
    process = subprocess.Popen([sys.executable, *command[1:]], cwd=folder, env=env)

    def ask(path: str, asked: Any = None) -> Any:
        data = None if asked is None else json.dumps(asked).encode()
        headers = {'host': HOST, 'content-type': 'application/json', 'origin': f'https://{HOST}'}
        request = urllib.request.Request(f'http://127.0.0.1:{port}{path}', data, headers)
        with urllib.request.urlopen(request, timeout=90) as answer:
            return answer.read().decode()

    try:
        for _ in range(100):
            try:
                page = ask('/')
                break
            except urllib.error.URLError:
                assert process.poll() is None, 'it ended at once'
                time.sleep(0.2)
        assert '<title>FP-NAS explorer</title>' in page
        assert json.loads(ask('/api/start'))['folders'] is False
        assert 'figure' in json.loads(ask('/api/network', {'a': 'fpnas_l0', 'space': 'fpnas_l0'}))['a']
        found = json.loads(ask('/api/decode', {'space': 'fpnas_s1pp', 'macs': 60e6}))
        assert 58.8e6 <= found['macs'] <= 60e6, found
        for name in ('search', 'model'):
            assert 'install the package' in json.loads(ask(f'/api/{name}', {'folder': '/'}))['error']
    finally:
        process.terminate()
        process.wait(20)
    print(f'{folder}: serves the explorer on port {port}; the folders of its machine are closed')


if __name__ == '__main__':
    main(sys.argv[1])
