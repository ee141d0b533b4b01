"""Safe loading: safetensors only, the hash where a manifest has one, sizes and shapes before memory is taken.

timm asks for weights by a `pretrained_cfg`; `checked_file` turns that into a local file that has been checked, before
timm reads it. Nothing here unpickles, and nothing runs code from a repo.
"""
import hashlib
import re
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.constants import HF_HUB_OFFLINE
from safetensors import SafetensorError, safe_open

from .errors import RunError
from .model import FPNAS, check_same_arch, checkpoint_filter_fn

__all__ = ['WEIGHTS_FILE', 'check_file', 'checked_file', 'download', 'max_bytes', 'sha256_of']

WEIGHTS_FILE = 'model.safetensors'
MAX_CLASSES, MAX_CHANS = 10**6, 4096  # above these, a config.json is a mistake or a trap


def checked_file(
        cfg: dict[str, Any], arch: str, sha256: str | None = None, cache_dir: str | Path | None = None
) -> Path | None:
    """The local, checked safetensors file that a `pretrained_cfg` names.

    Args:
        cfg: timm's `pretrained_cfg` as a dict.
        arch: string of the network that they are for.
        sha256: their hash, hexadecimal, if known.
        cache_dir: the Hub's own cache if None.

    Returns:
        The file; None if the cfg names no safetensors (a state dict in memory, the user's own checkpoint, nothing).

    Raises:
        RunError: it is not to be had, or it is not what the cfg, the string and the hash say.
    """
    filename = cfg.get('hf_hub_filename') or WEIGHTS_FILE
    if cfg.get('state_dict'):
        return None
    if cfg.get('source') == 'local-dir':
        path, name = Path(cfg['file']) / WEIGHTS_FILE, f'{cfg["file"]}/{WEIGHTS_FILE}'
        if not path.is_file():
            raise RunError(f'{cfg["file"]}: holds no {WEIGHTS_FILE}; weights are read from safetensors only')
    elif cfg.get('source') != 'hf-hub' and cfg.get('file'):
        path = Path(cfg['file'])
        name = str(path)
        if path.suffix != '.safetensors':
            return None
        if not path.is_file():
            raise RunError(f'{path}: no such file')
    elif cfg.get('hf_hub_id'):
        name = f'{filename} of {cfg["hf_hub_id"]}'
        if not filename.endswith('.safetensors'):
            raise RunError(f'{name}: weights are read from safetensors only')
        path = download(cfg['hf_hub_id'], filename, max_bytes(cfg, arch, name), cache_dir)
    else:
        return None
    check_file(path, cfg, arch, sha256, name)
    return path


def check_file(path: Path, cfg: dict[str, Any], arch: str, sha256: str | None = None, name: str | None = None) -> None:
    """Whether a safetensors file holds weights of this network; only its header is read, and all of it for the hash.

    Args:
        path: the file.
        cfg: timm's `pretrained_cfg` with `num_classes` and `input_size`.
        arch: string of the network.
        sha256: expected hash, hexadecimal; None compares none.
        name: what an error calls the file.

    Raises:
        RunError: it is damaged, too large, of another architecture or number of classes, or its hash differs.
    """
    name = name or str(path)
    network = _expected(cfg, arch, name)
    size, most = path.stat().st_size, _most_bytes(network)
    if size > most:
        raise RunError(f'{name}: {size:,} bytes, and the weights of this network are at most {most:,}')
    if sha256 is not None and (found := sha256_of(path)) != sha256:
        raise RunError(
            f'{name}: its sha256 is {found}, the manifest says {sha256}: not loaded. Get it again with '
            f'`fpnas hub pull --force`; if it stays so, these are not the published weights'
        )
    try:
        with safe_open(str(path), 'pt') as f:
            held = {key: torch.empty(f.get_slice(key).get_shape(), device='meta') for key in f.keys()}
    except (OSError, SafetensorError) as e:
        raise RunError(f'{name}: damaged or no safetensors ({e}): get it again') from None
    held = checkpoint_filter_fn(held, network)
    try:
        check_same_arch(network, held)
    except RuntimeError as e:
        raise RunError(f'{name}: {e}') from None
    classifier = held.get('classifier.weight')
    if classifier is not None and classifier.shape[0] != cfg['num_classes']:
        raise RunError(f'{name}: has {classifier.shape[0]} classes, and its config says {cfg["num_classes"]}')


def sha256_of(path: Path) -> str:
    """The hash of a file, hexadecimal."""
    with path.open('rb') as f:
        return hashlib.file_digest(f, 'sha256').hexdigest() if hasattr(hashlib, 'file_digest') else _sha256(f)


def _sha256(f: Any) -> str:  # Python 3.10
    digest = hashlib.sha256()
    while block := f.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _expected(cfg: dict[str, Any], arch: str, name: str) -> FPNAS:
    """The network as its config describes it, without memory for the weights."""
    num_classes, in_chans = cfg.get('num_classes', 1000), cfg.get('input_size', (3,))[0]
    are_counts = type(num_classes) is type(in_chans) is int
    if not are_counts or not 0 <= num_classes <= MAX_CLASSES or not 1 <= in_chans <= MAX_CHANS:
        raise RunError(
            f'{name}: its config says {num_classes!r} classes and {in_chans!r} image channels: expected at most '
            f'{MAX_CLASSES:,} and {MAX_CHANS:,}'
        )
    return FPNAS(arch, num_classes, in_chans, device='meta')


def max_bytes(cfg: dict[str, Any], arch: str, name: str) -> int:
    """The most that a file of a network's weights can take, bytes; arguments as `check_file`."""
    return _most_bytes(_expected(cfg, arch, name))


def _most_bytes(network: FPNAS) -> int:
    """All in float64, twice the classifier (`catavgmax`), a megabyte of header."""
    values = sum(t.numel() for t in network.state_dict().values())
    return 8 * (values + network.num_features * network.num_classes) + (1 << 20)


def download(
        hub_id: str,
        filename: str,
        max_bytes: int | None = None,
        cache_dir: str | Path | None = None,
        force: bool = False,
        purpose: str = '',
) -> Path:
    """A file of a repo on the Hub, from the cache if it is there and the Hub cannot be asked.

    Args:
        hub_id: `ORG/NAME` or `ORG/NAME@REVISION`.
        filename: its path in the repo.
        max_bytes: a larger file is refused before it is fetched.
        cache_dir: the Hub's own cache if None.
        force: fetch it again even if it is in the cache.
        purpose: a hint that an error about a missing file ends with.

    Raises:
        RunError: which file of which repo could not be had, why, and what to do.
    """
    repo_id, _, revision = hub_id.partition('@')
    where = dict(repo_id=repo_id, filename=filename, revision=revision or None)
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
    except Exception as e:  # the client's network library, and so its errors, differ between its versions
        raise RunError(f'{filename} of {hub_id}: {_reason(e, hub_id, filename)}{purpose}') from None


def _is_settled(where: dict[str, Any], cache_dir: str | Path | None, force: bool) -> bool:
    """In the cache for good: a commit does not change."""
    is_commit = re.fullmatch('[0-9a-f]{40}', where['revision'] or '') is not None
    return is_commit and not force and isinstance(try_to_load_from_cache(**where, cache_dir=cache_dir), str)


def _reason(e: Exception, hub_id: str, filename: str) -> str:
    """Why a file could not be had and what to do, from the client's error and those behind it."""
    chain: list[BaseException] = [e]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and len(chain) < 8:
        chain.append(cause)
    names = [type(x).__name__ for x in chain]
    again = f'try again with `fpnas hub pull {hub_id}`: what has come is kept'
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
    return f'{str(e).strip().partition(chr(10))[0] or names[0]}: {again}'
