"""Safe loading of weights: safetensors only; checks hash (if known), size, names, shapes and types of the tensors.

All of it from the file's header, before memory is allocated.
"""
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from ..errors import RunError, one_line
from ..model.network import FPNAS, check_same_arch, checkpoint_filter_fn
from .config_checks import MAX_CHANS, MAX_CLASSES, check_network_size
from .download import download
from .folder import WEIGHTS_FILE
from .json_file import show

__all__ = ['check_file', 'checked_file', 'max_bytes', 'sha256_of']

FLOATS = ('F16', 'BF16', 'F32', 'F64')  # safetensors' names of the types that weights may have
NEW_CLASSIFIER = -1  # timm's number of classes for the caller's own file whose classifier is not used
COUNTER = 'num_batches_tracked'  # of batch norms; not used for inference, torch can do without it


def checked_file(
        cfg: dict[str, Any],
        arch: str,
        sha256: str | None = None,
        cache_dir: str | Path | None = None,
        global_pool: str = 'avg',
) -> Path | None:
    """The local path of the safetensors file that a `pretrained_cfg` refers to, after checking it.

    Args:
        cfg: timm's `pretrained_cfg` as a dict.
        arch: architecture string of the network.
        sha256: expected hash in hexadecimal; no comparison if None.
        cache_dir: cache folder for files from the Hub; the Hub's default cache if None.
        global_pool: pooling of the network that the weights are of, by timm's name.

    Returns:
        The file; None if the cfg does not refer to a safetensors file (a state dict in memory, the user's own
        checkpoint, or nothing), which a folder or a repository always does.

    Raises:
        RunError: the file is not available, or does not match cfg, string or hash.
    """
    filename = cfg.get('hf_hub_filename') or WEIGHTS_FILE
    if cfg.get('source') == 'local-dir':
        path, name = Path(cfg['file']) / WEIGHTS_FILE, f'{cfg["file"]}/{WEIGHTS_FILE}'
        if not path.is_file():
            raise RunError(f'{cfg["file"]}: holds no {WEIGHTS_FILE}; weights are read from safetensors only')
    elif cfg.get('source') != 'hf-hub' and cfg.get('state_dict'):
        return None
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
    check_file(path, cfg, arch, sha256, name, global_pool)
    return path


def check_file(
        path: Path,
        cfg: dict[str, Any],
        arch: str,
        sha256: str | None = None,
        name: str | None = None,
        global_pool: str = 'avg',
) -> None:
    """Check that a safetensors file contains the weights of this network, all and only these, and its hash if given.

    Args:
        path: the file.
        cfg: timm's `pretrained_cfg` with `num_classes` and `input_size`.
        arch: architecture string of the network.
        sha256: expected hash in hexadecimal; no comparison if None.
        name: name of the file for error messages.
        global_pool: as in `checked_file`.

    Raises:
        RunError: the file is damaged or too large, or its hash, or the name, shape or type of a tensor does not match.
    """
    name = name or str(path)
    if cfg.get('num_classes') == NEW_CLASSIFIER and path.is_file():
        cfg = {**cfg, 'num_classes': _num_classes(_header(path, name)[0])}
    network = _expected(cfg, arch, name, global_pool)
    try:
        size = path.stat().st_size
    except (OSError, ValueError) as e:
        raise RunError(f'{name}: cannot be read ({one_line(e)})') from None
    most = _most_bytes(network)
    if size > most:
        raise RunError(f'{name}: {size:,} bytes, and the weights of this network are at most {most:,}')
    if sha256 is not None and (found := sha256_of(path)) != sha256:
        raise RunError(
            f'{name}: its sha256 is {found}, the manifest says {sha256}: not loaded. Download it again with '
            f'`fpnas hub pull --force`; if that does not help, these are not the published weights'
        )
    held, types = _header(path, name)
    try:
        check_same_arch(network, held)
    except RuntimeError as e:
        raise RunError(f'{name}: {e}') from None
    if (classes := _num_classes(held)) and classes != network.num_classes:
        raise RunError(f'{name}: has {classes} classes, and its config says {network.num_classes}')
    _check_tensors(network, held, types, name)


def _num_classes(held: Mapping[str, torch.Tensor]) -> int:
    """The number of classes of a state dict's classifier; 0 if it has none."""
    classifier = held.get('classifier.weight')
    return classifier.shape[0] if classifier is not None and classifier.ndim else 0


def _header(path: Path, name: str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors of a safetensors file (on the meta device) and their types, by the names of the plain model."""
    try:
        with safe_open(str(path), 'pt') as f:
            slices = {key: f.get_slice(key) for key in f.keys()}
            held = {key: torch.empty(s.get_shape(), device='meta') for key, s in slices.items()}
            types = {key: s.get_dtype() for key, s in slices.items()}
    except (OSError, SafetensorError, RuntimeError, ValueError, OverflowError) as e:
        raise RunError(f'{name}: damaged or no safetensors ({one_line(e)}): download it again') from None
    plain = checkpoint_filter_fn(held, torch.nn.Module())
    if len(plain) != len(held):
        raise RunError(f'{name}: some tensors are there twice, with the prefix of a wrapped model and without')
    return plain, dict(zip(plain, types.values()))


def _check_tensors(network: FPNAS, held: Mapping[str, torch.Tensor], types: Mapping[str, str], name: str) -> None:
    """Compare names, shapes and types: timm loads what fits, converts other types, and skips the rest at times."""
    own = network.state_dict()
    if extra := [key for key in held if key not in own]:
        raise RunError(f'{name}: {len(extra)} tensors are not of this network, such as {show(extra[0])}')
    if missing := [key for key in own if key not in held and not key.endswith(COUNTER)]:
        raise RunError(f'{name}: {len(missing)} tensors of this network are missing, such as {missing[0]}')
    for key, tensor in held.items():
        if tensor.shape != own[key].shape:
            raise RunError(f'{name}: {key} is {tuple(tensor.shape)}, expected {tuple(own[key].shape)} for this network')
        if types[key] not in FLOATS and not (key.endswith(COUNTER) and types[key].startswith(('I', 'U'))):
            raise RunError(f'{name}: {key} is of type {types[key]}: weights are {", ".join(FLOATS)}')


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, hexadecimal."""
    with path.open('rb') as f:
        return hashlib.file_digest(f, 'sha256').hexdigest() if hasattr(hashlib, 'file_digest') else _sha256(f)


def _sha256(f: Any) -> str:  # Python 3.10
    digest = hashlib.sha256()
    while block := f.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _expected(cfg: dict[str, Any], arch: str, name: str, global_pool: str = 'avg') -> FPNAS:
    """The network described by the config, on the meta device (without memory for the weights)."""
    num_classes, in_chans = cfg.get('num_classes', 1000), cfg.get('input_size', (3,))[0]
    are_counts = type(num_classes) is type(in_chans) is int
    if not are_counts or not 0 <= num_classes <= MAX_CLASSES or not 1 <= in_chans <= MAX_CHANS:
        raise RunError(
            f'{name}: its config says {num_classes!r} classes and {in_chans!r} image channels: expected at most '
            f'{MAX_CLASSES:,} and {MAX_CHANS:,}'
        )
    check_network_size(arch, num_classes, in_chans, name)
    return FPNAS(arch, num_classes, in_chans, global_pool, device='meta')


def max_bytes(cfg: dict[str, Any], arch: str, name: str) -> int:
    """The maximum size in bytes of a file with this network's weights; arguments as in `check_file`."""
    return _most_bytes(_expected(cfg, arch, name))


def _most_bytes(network: FPNAS) -> int:
    """Upper bound: all values in float64, a classifier of twice the width (`catavgmax`), one megabyte of header."""
    values = sum(t.numel() for t in network.state_dict().values())
    return 8 * (values + network.num_features * network.num_classes) + (1 << 20)
