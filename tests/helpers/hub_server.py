"""A small Hub on loopback, for tests: what the real huggingface_hub client asks for to push and pull a model repo.

Repos live in memory. Tests break things on purpose through `faults`: a file name -> 'truncated' (complete by its own
header, but shorter than announced), 'broken' (the connection is cut in the middle, once), 'corrupt' (other bytes of the
same length), 'stall' (no answer), 'endless' (chunks without a length, never the last), 'trickle' (a byte now and then),
'slow head' (the same already in the header), 'zipped' (compressed unasked), 'elsewhere' (redirected without end) or
'down' (status 503). `fields` replaces header fields, by file name.
"""
import base64
import contextlib
import hashlib
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

TOKEN = 'hf_right'


class HubServer(ThreadingHTTPServer):
    """Repos: name -> {'private': .., 'commits': {sha: {path: bytes}}, 'refs': {'main': sha}}."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(('127.0.0.1', 0), Handler)
        self.repos: dict[str, dict[str, Any]] = {}
        self.lfs: dict[str, bytes] = {}
        self.faults: dict[str, str] = {}
        self.fields: dict[str, dict[str, str]] = {}
        self.tokens: set[str | None] = set()
        self.moved = ''  # where a GET of a file is redirected to
        self.sent = 0  # bytes of an endless body
        self.log: list[str] = []
        self.stop = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f'http://127.0.0.1:{self.server_port}'

    def add(self, repo: str, files: dict[str, bytes], private: bool = False, branch: str = 'main') -> str:
        """A commit on a branch, on top of what is there; returns its hash."""
        entry = self.repos.setdefault(repo, {'private': private, 'commits': {}, 'refs': {}})
        before = entry['commits'].get(entry['refs'].get(branch) or entry['refs'].get('main'), {})
        sha = hashlib.sha1(f'{repo}{branch}{len(entry["commits"])}'.encode()).hexdigest()
        entry['commits'][sha] = {**before, **files}
        entry['refs'][branch] = sha
        return sha

    def close(self) -> None:
        self.stop.set()
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    server: HubServer

    def log_message(self, *args: Any) -> None:
        pass

    def answer(self, status: int, body: Any = b'', **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {'Content_Length': str(len(data)), **headers}.items():
            if value:
                self.send_header(name.replace('_', '-'), value)
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(data)

    def error(self, status: int, code: str) -> None:
        self.answer(status, {'error': code}, X_Error_Code=code, X_Error_Message=code)

    @property
    def authorized(self) -> bool:
        return self.headers.get('Authorization') == f'Bearer {TOKEN}'

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get('Content-Length') or 0))

    def find(self, repo: str) -> dict[str, Any] | None:
        """The repo, or None after an error has been sent. As on the Hub, a hidden repo is one that is not there."""
        entry = self.server.repos.get(repo)
        if self.headers.get('Authorization') and not self.authorized:
            self.error(401, 'InvalidToken')
        elif entry is None or (entry['private'] and not self.authorized):
            self.error(404 if self.authorized else 401, 'RepoNotFound')
        else:
            return entry
        return None

    def do_POST(self) -> None:
        body = self.body()
        path = self.path.partition('?')[0]
        self.server.log.append(f'POST {path}')
        if not self.authorized:
            return self.error(401, 'Unauthorized')
        if path == '/api/repos/create':
            data = json.loads(body)
            repo = f'{data["organization"]}/{data["name"]}'
            if repo in self.server.repos:
                return self.answer(409, {'url': f'{self.server.url}/{repo}'})
            private = data.get('visibility') == 'private' or bool(data.get('private'))
            self.server.add(repo, {}, private)
            return self.answer(200, {'url': f'{self.server.url}/{repo}'})
        if match := re.fullmatch(r'/api/models/(.+)/preupload/(.+)', path):
            files = [
                {'path': f['path'], 'uploadMode': 'lfs' if f['path'].endswith(('.safetensors', '.png')) else 'regular',
                 'shouldIgnore': False, 'oid': None}
                for f in json.loads(body)['files']
            ]
            return self.answer(200, {'files': files})
        if re.fullmatch(r'/(.+)\.git/info/lfs/objects/batch', path):
            objects = [
                {'oid': o['oid'], 'size': o['size'],
                 'actions': {'upload': {'href': f'{self.server.url}/lfs/{o["oid"]}', 'header': {}}}}
                for o in json.loads(body)['objects']
            ]
            return self.answer(200, {'transfer': 'basic', 'objects': objects})
        if match := re.fullmatch(r'/api/models/(.+)/commit/(.+)', path):
            files = {}
            for line in body.splitlines():
                item = json.loads(line)
                if item['key'] == 'file':
                    files[item['value']['path']] = base64.b64decode(item['value']['content'])
                elif item['key'] == 'lfsFile':
                    files[item['value']['path']] = self.server.lfs[item['value']['oid']]
            sha = self.server.add(match[1], files, branch=match[2])
            url = f'{self.server.url}/{match[1]}/commit/{sha}'
            return self.answer(200, {'commitUrl': url, 'commitOid': sha, 'pullRequestUrl': None, 'success': True})
        if path == '/api/validate-yaml':
            return self.answer(200, {'errors': [], 'warnings': []})
        return self.error(404, 'NotFound')

    def do_PUT(self) -> None:
        data = self.body()
        oid = self.path.rpartition('/')[2]
        if hashlib.sha256(data).hexdigest() != oid:
            return self.error(400, 'BadHash')
        self.server.lfs[oid] = data
        return self.answer(200)

    def misbehave(self, fault: str, data: bytes, headers: dict[str, str]) -> None:
        if fault == 'zipped':
            return self.answer(200, data, Content_Encoding='gzip', **headers)
        if fault == 'elsewhere':
            return self.answer(302, b'', Location=self.path)
        self.send_response(200)
        if fault == 'trickle':
            self.send_header('Content-Length', str(len(data)))
            self.end_headers()
            return self.trickle(data)
        self.send_header('Transfer-Encoding', 'chunked')
        self.end_headers()
        with contextlib.suppress(OSError):
            while self.server.sent < 1 << 28:
                self.wfile.write(b'10000\r\n' + bytes(1 << 16) + b'\r\n')
                self.server.sent += 1 << 16
        self.close_connection = True

    def trickle(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            for i in range(len(data)):
                self.wfile.write(data[i:i + 1])
                if self.server.stop.wait(0.1):
                    break
        self.close_connection = True

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition('?')[0]
        self.server.log.append(f'{self.command} {path}')
        self.server.tokens.add(self.headers.get('Authorization'))
        path = unquote(path)
        if match := re.fullmatch(r'/api/models/([^/]+/[^/]+)(?:/revision/(.+))?', path):
            if (entry := self.find(match[1])) is None:
                return None
            sha = entry['refs'].get(match[2] or 'main', match[2])
            if sha not in entry['commits']:
                return self.error(404, 'RevisionNotFound')
            siblings = [{'rfilename': f} for f in entry['commits'][sha]]
            return self.answer(
                200, {'_id': '1', 'id': match[1], 'sha': sha, 'private': entry['private'], 'siblings': siblings}
            )
        if match := re.fullmatch(r'/([^/]+/[^/]+)/resolve/([^/]+)/(.+)', path):
            return self.resolve(*match.groups())
        return self.error(404, 'NotFound')

    def resolve(self, repo: str, revision: str, file: str) -> None:
        if (entry := self.find(repo)) is None:
            return None
        sha = entry['refs'].get(revision, revision)
        if sha not in entry['commits']:
            return self.error(404, 'RevisionNotFound')
        data = entry['commits'][sha].get(file)
        if data is None:
            return self.error(404, 'EntryNotFound')
        fault = self.server.faults.get(file)
        headers = {'ETag': f'"{hashlib.sha256(data).hexdigest()}"', 'X_Repo_Commit': sha, 'Accept_Ranges': 'bytes'}
        headers.update(self.server.fields.get(file, {}))
        if fault == 'slow head':
            return self.trickle(b'HTTP/1.1 200 OK\r\nX-Slow: ' + b'x' * 10_000)
        if fault == 'down':
            return self.error(503, 'Down')
        if self.command == 'HEAD':
            return self.answer(200, data, **headers)
        if self.server.moved:
            return self.answer(302, b'', Location=self.server.moved)
        if fault in ('endless', 'trickle', 'zipped', 'elsewhere'):
            return self.misbehave(fault, data, headers)
        if fault == 'stall':
            self.send_response(200)
            self.send_header('Content-Length', str(len(data)))
            self.end_headers()
            self.server.stop.wait(60)
            return None
        if fault == 'corrupt':
            data = data[:-4] + bytes(b ^ 1 for b in data[-4:])
        if fault == 'truncated':
            data = data[: len(data) // 2]
        start = int((self.headers.get('Range') or 'bytes=0-')[6:].partition('-')[0])
        status = 206 if start else 200
        if start:
            headers['Content-Range'] = f'bytes {start}-{len(data) - 1}/{len(data)}'
            data = data[start:]
        if fault == 'broken':
            del self.server.faults[file]
            self.send_response(200)
            for name, value in {**headers, 'Content-Length': str(len(data))}.items():
                self.send_header(name.replace('_', '-'), value)
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            time.sleep(0.2)
            self.close_connection = True
            self.connection.close()
            return None
        return self.answer(status, data, **headers)
