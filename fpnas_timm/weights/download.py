"""One file from the Hub through its cache: limited in size and time, compared with the Hub's hash; clear errors.

The cache is that of huggingface_hub, in its documented layout, so that timm and other tools find the files there. They
are fetched by `transfer` and not by `hf_hub_download`, which trusts the endpoint more than this package does.
"""
import hashlib
import logging
import os
import re
from pathlib import Path
from typing import Any

from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.constants import HF_HUB_CACHE, HF_HUB_OFFLINE
from huggingface_hub.file_download import repo_folder_name

from ..errors import RunError, one_line
from ..runs.files import replacing, write_text
from . import transfer

__all__ = ['download']

COMMIT = '[0-9a-f]{40}'
_logger = logging.getLogger(__name__)


def download(
        hub_id: str,
        filename: str,
        max_bytes: int,
        cache_dir: str | Path | None = None,
        force: bool = False,
) -> Path:
    """Download a file of a repository on the Hub; if the Hub cannot be reached, use the cached file.

    Args:
        hub_id: `ORG/NAME` or `ORG/NAME@REVISION`.
        filename: path in the repository.
        max_bytes: reject a larger file, before or while it is downloaded.
        cache_dir: cache folder; the Hub's default cache if None.
        force: download the file again even if it is in the cache.

    Raises:
        RunError: the file is not available; the message says which file, why, and what to do.
    """
    repo_id, _, revision = hub_id.partition('@')
    name = f'{filename} of {hub_id}'
    parts = '/'.join(filter(None, (repo_id, revision, filename))).split('/')
    if not filename or not {'.', '..', ''}.isdisjoint(parts):
        raise RunError(f'{name}: no such name on the Hub')
    where: dict[str, Any] = {'repo_id': repo_id, 'filename': filename, 'revision': revision or None}
    cache = Path(cache_dir or HF_HUB_CACHE)
    try:
        found = try_to_load_from_cache(**where, cache_dir=cache)
        cached = Path(found) if isinstance(found, str) else None
        if cached is not None and not force and (HF_HUB_OFFLINE or re.fullmatch(COMMIT, revision)):
            problem = _difference(cached, _cached_etag(cached))
            if not problem:
                return cached
            if HF_HUB_OFFLINE:
                raise RunError(f'{name}: {problem}: damaged in the cache: run `fpnas hub pull {hub_id}` with a network')
            _logger.warning('%s: %s: damaged in the cache, downloaded again', name, problem)
        if HF_HUB_OFFLINE:
            once = f'run `fpnas hub pull {hub_id}` once with a network'
            problem = 'cannot be downloaded again' if cached else 'not in the cache'
            raise RunError(f'{name}: {problem}, and HF_HUB_OFFLINE is set: {once}')
        return _from_hub(where, name, max_bytes, cache, cached, force)
    except RunError:
        raise
    except Exception as e:  # error types depend on the client's version
        raise RunError(f'{name}: {_reason(e, hub_id, filename)}') from None


def _from_hub(
        where: dict[str, Any], name: str, max_bytes: int, cache: Path, cached: Path | None, force: bool
) -> Path:
    try:
        meta = transfer.within(transfer.GRACE, lambda stop: get_hf_file_metadata(hf_hub_url(**where)))
    except Exception as e:
        if cached is None or force or 'NotFound' in type(e).__name__:
            raise
        _logger.warning('%s: the Hub cannot be asked (%s): the file in the cache is used', name, one_line(e, 100))
        return cached
    etag, commit = meta.etag, meta.commit_hash
    # both become names in the cache: an absolute path or `..` would lead out of it
    if not isinstance(etag, str) or not re.fullmatch(r'[\w-][\w.-]{0,127}', etag):
        raise transfer.Refused(f'the Hub sends the ETag {etag!r:.60}, which cannot be a name in the cache')
    if not isinstance(commit, str) or not re.fullmatch(COMMIT, commit):
        raise transfer.Refused(f'the Hub sends {commit!r:.60} as the commit: expected 40 hexadecimal digits')
    if meta.size is not None and meta.size > max_bytes:
        raise RunError(
            f'{name}: {meta.size:,} bytes, and {_what(where["filename"])} at most {max_bytes:,}: not fetched'
        )
    folder = cache / repo_folder_name(repo_id=where['repo_id'], repo_type='model')
    blob, pointer = folder / 'blobs' / etag, folder / 'snapshots' / commit / where['filename']
    if force or not pointer.exists() or _difference(pointer, etag):
        if force or not blob.exists() or _difference(blob, etag):
            url = hf_hub_url(**{**where, 'revision': commit})
            _fetch(url, blob, etag, max_bytes, meta.size, where['filename'])
        _link(blob, pointer)
    if where['revision'] != commit:
        ref = folder / 'refs' / (where['revision'] or 'main')
        if not ref.exists() or ref.read_text(encoding='utf-8') != commit:
            ref.parent.mkdir(parents=True, exist_ok=True)
            write_text(ref, commit)
    return pointer


def _fetch(url: str, blob: Path, etag: str, max_bytes: int, size: int | None, title: str) -> None:
    """Download to `blob`, which is there only when it is whole and has the Hub's hash."""
    blob.parent.mkdir(parents=True, exist_ok=True)
    seconds = transfer.seconds_for(max_bytes if size is None else size)
    with replacing(blob) as temporary:
        with temporary.open('wb') as f:
            transfer.within(seconds, lambda stop: transfer.receive(url, f, max_bytes, size, title, stop))
        if problem := _difference(temporary, etag):
            raise transfer.Refused(f'{problem}: altered on the way, not stored')


def _link(blob: Path, pointer: Path) -> None:
    """Make `pointer` a relative link to `blob`, or the file itself where there are no links."""
    pointer.parent.mkdir(parents=True, exist_ok=True)
    temporary = pointer.with_name(f'.{pointer.name}.{os.getpid()}.tmp')
    try:
        temporary.symlink_to(os.path.relpath(blob, pointer.parent))
        os.replace(temporary, pointer)
    except OSError:
        temporary.unlink(missing_ok=True)
        os.replace(blob, pointer)


def _cached_etag(path: Path) -> str:
    """The ETag of a file in the cache, the name of what it links to; '' where there are no links."""
    return Path(os.readlink(path)).name if path.is_symlink() else ''


def _difference(path: Path, etag: str) -> str:
    """How a file's hash differs from its ETag; '' if it does not, or if the ETag is not a hash.

    The Hub's ETag is the SHA-256 of a large file and git's SHA-1 of a small one; some mirrors send the plain SHA-1.
    """
    if re.fullmatch('[0-9a-f]{64}', etag):
        found = [_hash('sha256', path)]
    elif re.fullmatch(COMMIT, etag):
        found = [_hash('sha1', path, b'blob %d\0' % path.stat().st_size), _hash('sha1', path)]
    else:
        return ''
    return '' if etag in found else f'its sha{"256" if len(etag) == 64 else "1"} is {found[0]}, and the Hub says {etag}'


def _hash(algorithm: str, path: Path, start: bytes = b'') -> str:
    digest = hashlib.new(algorithm, start, usedforsecurity=False)
    with path.open('rb') as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _what(filename: str) -> str:
    return 'the weights of this network are' if filename.endswith('.safetensors') else 'such a file is'


def _reason(e: Exception, hub_id: str, filename: str) -> str:
    """Why a file is not available and what to do, from the client's error and its causes."""
    chain: list[BaseException] = [e]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and len(chain) < 8:
        chain.append(cause)
    names = [type(x).__name__ for x in chain]
    again = f'try again with `fpnas hub pull {hub_id}`'
    status = next((s for x in chain if (s := getattr(getattr(x, 'response', None), 'status_code', None))), None)
    if isinstance(e, transfer.Incomplete):
        return f'came incomplete: {again} ({e})'
    if isinstance(e, transfer.Refused):
        return f'{e}: {again}'
    if 'EntryNotFoundError' in names or 'RemoteEntryNotFoundError' in names:
        extra = '; weights are read from safetensors only' if filename.endswith('.safetensors') else ''
        return f'no such file in the repo{extra}'
    if 'RevisionNotFoundError' in names:
        return 'no such revision'
    if 'GatedRepoError' in names:
        return 'the repo is gated: ask for access on its page, then set HF_TOKEN'
    if status in (401, 403) or 'RepositoryNotFoundError' in names:
        return (
            'no such repo, or a private one and no token that may read it: check the name, then log in with '
            '`hf auth login` or set HF_TOKEN'
        )
    if 'LocalEntryNotFoundError' in names or any('Timeout' in n or 'Connect' in n or 'Protocol' in n for n in names):
        what = f'the Hub answered {status}' if status else f'the Hub did not answer or broke off ({names[-1]})'
        return f'{what}: {again}'
    if isinstance(e, OSError) and e.errno is not None:
        return f'cannot be stored in the cache: {e}: free space or set HF_HOME, then {again}'
    return f'{one_line(e)}: {again}'
