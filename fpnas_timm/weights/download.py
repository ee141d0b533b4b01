"""Downloads one file from the Hub through its cache, with a size limit and errors that say what to do."""
import re
from pathlib import Path
from typing import Any

from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.constants import HF_HUB_OFFLINE

from ..errors import RunError, one_line

__all__ = ['download']


def download(
        hub_id: str,
        filename: str,
        max_bytes: int | None = None,
        cache_dir: str | Path | None = None,
        force: bool = False,
) -> Path:
    """Download a file of a repository on the Hub; if the Hub cannot be reached, use the cached file.

    Args:
        hub_id: `ORG/NAME` or `ORG/NAME@REVISION`.
        filename: path in the repository.
        max_bytes: reject a larger file before downloading it.
        cache_dir: cache folder; the Hub's default cache if None.
        force: download the file again even if it is in the cache.

    Raises:
        RunError: the file is not available; the message says which file, why, and what to do.
    """
    repo_id, _, revision = hub_id.partition('@')
    where: dict[str, Any] = {'repo_id': repo_id, 'filename': filename, 'revision': revision or None}
    try:
        if max_bytes is not None and not HF_HUB_OFFLINE and not _is_settled(where, cache_dir, force):
            size = get_hf_file_metadata(hf_hub_url(**where)).size
            if size is not None and size > max_bytes:
                raise RunError(
                    f'{filename} of {hub_id}: {size:,} bytes, and the weights of this network are at most '
                    f'{max_bytes:,}: not fetched'
                )
        return Path(hf_hub_download(**where, cache_dir=cache_dir, force_download=force))
    except RunError:
        raise
    except Exception as e:  # error types depend on the client's version
        raise RunError(f'{filename} of {hub_id}: {_reason(e, hub_id, filename)}') from None


def _is_settled(where: dict[str, Any], cache_dir: str | Path | None, force: bool) -> bool:
    """Whether the file is cached and cannot change, since the revision is a commit."""
    is_commit = re.fullmatch('[0-9a-f]{40}', where['revision'] or '') is not None
    return is_commit and not force and isinstance(try_to_load_from_cache(**where, cache_dir=cache_dir), str)


def _reason(e: Exception, hub_id: str, filename: str) -> str:
    """Why a file is not available and what to do, from the client's error and its causes."""
    chain: list[BaseException] = [e]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and len(chain) < 8:
        chain.append(cause)
    names = [type(x).__name__ for x in chain]
    again = f'try again with `fpnas hub pull {hub_id}`: what was received is kept'
    status = next((s for x in chain if (s := getattr(getattr(x, 'response', None), 'status_code', None))), None)
    if HF_HUB_OFFLINE:
        return f'not in the cache, and HF_HUB_OFFLINE is set: run `fpnas hub pull {hub_id}` once with a network'
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
    if 'Consistency check failed' in str(e):
        return f'came incomplete: {again}'
    return f'{one_line(e)}: {again}'
