"""A model's folder or repo, checked: hash, string, budgets and a forward pass."""
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch

from .arch import MAX_IMG_SIZE, Arch, ArchError
from .cost import cost
from .errors import RunError, UsageError
from .manifest import read_all
from .model import FPNAS
from .weights import WEIGHTS_FILE, download, max_bytes, sha256_of
from .zoo import resolve_arch

__all__ = ['Report', 'fetch', 'is_repo', 'model_folder', 'read_config', 'verify']

CONFIG_FILE, CARD_FILE, PICTURE = 'config.json', 'README.md', 'arch.png'


@dataclass(frozen=True)
class Report:
    """What `verify` found out about weights: all of it is right, or it would have raised."""

    source: str
    arch: str
    num_classes: int
    img_size: int
    macs: int
    params: int
    sha256: str
    hash_known: bool  # and so compared


def model_folder(run_or_dir: str | Path) -> Path:
    """The `local-dir:` folder in a training run's or a search's folder, or the folder itself if it is one.

    Raises:
        UsageError: there is none.
    """
    root = Path(run_or_dir)
    for folder in (root, root / 'export', root / 'extract'):
        if (folder / CONFIG_FILE).is_file():
            if not (folder / WEIGHTS_FILE).is_file():
                raise UsageError(f'{folder}: holds no {WEIGHTS_FILE}: save with safe_serialization=True')
            return folder
    raise UsageError(
        f'{root}: no model there: expected the folder of a training run (export/), of a search (extract/), or one with '
        f'{CONFIG_FILE} and {WEIGHTS_FILE}'
    )


def read_config(folder: Path) -> dict[str, Any]:
    """`config.json` of a `local-dir:` folder.

    Raises:
        UsageError: it is not JSON, not timm's format, or of a model that is not known here.
    """
    path = folder / CONFIG_FILE
    try:
        config = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as e:
        raise UsageError(f'{path}: not JSON: {e}') from None
    name = config.get('architecture') if isinstance(config, dict) else None
    parts = [config.get(k, {}) for k in ('pretrained_cfg', 'model_args')] if isinstance(config, dict) else []
    if not isinstance(name, str) or not all(isinstance(part, dict) for part in parts):
        raise UsageError(f"{path}: not timm's format: expected architecture, num_classes and pretrained_cfg")
    if not timm.is_model(name):
        raise UsageError(f'{path}: {name!r} is no model here')
    size = config.get('pretrained_cfg', {}).get('input_size')
    if not isinstance(size, list) or len(size) != 3 or not all(type(n) is int and 0 < n <= MAX_IMG_SIZE for n in size):
        raise UsageError(f'{path}: input_size is {size!r}: expected channels, height and width, at most {MAX_IMG_SIZE}')
    if type(config.get('num_classes')) is not int or config['num_classes'] < 0:
        raise UsageError(f'{path}: num_classes is {config.get("num_classes")!r}: expected a whole number')
    return config


def verify(source: str | Path, sha256: str | None = None) -> Report:
    """Load weights and check them: hash, string, budgets, a forward pass.

    Args:
        source: a folder, `ORG/NAME[@REVISION]`, or `name.tag` of a manifest.
        sha256: expected hash, hexadecimal; of the manifest if None and it has one.

    Raises:
        RunError, UsageError: what is wrong.
    """
    source = str(source)
    entry = next((w for w in read_all() if source in (w.model, w.source)), None)
    sha256 = sha256 or (entry.sha256 if entry else None)
    if entry is not None:
        where = entry.source if entry.repo_id else str(entry.folder)
        folder = fetch(where) if entry.repo_id else Path(where)
    else:
        folder = fetch(source) if is_repo(source) else model_folder(source)
    found = sha256_of(folder / WEIGHTS_FILE)
    if sha256 is not None and found != sha256:
        raise RunError(f'{source}: sha256 of {WEIGHTS_FILE} is {found}, expected {sha256}')
    return _verify_folder(folder, source, found, sha256 is not None)


def _verify_folder(folder: Path, source: str, sha256: str, hash_known: bool) -> Report:
    config = read_config(folder)
    string = config.get('model_args', {}).get('arch')
    try:
        model = timm.create_model(f'local-dir:{folder}', pretrained=True).eval()
    except ArchError as e:
        raise RunError(f'{source}: {CONFIG_FILE}: {e}') from None
    except (KeyError, TypeError, ValueError, AssertionError) as e:
        raise RunError(f'{source}: {CONFIG_FILE} makes no model: {type(e).__name__}: {e}') from None
    if not isinstance(model, FPNAS):
        raise UsageError(f'{source}: {config["architecture"]} is no network of this package')
    if string is not None and string != str(model.arch):
        raise RunError(f'{source}: {CONFIG_FILE}: the string is not canonical: expected {model.arch}')
    in_chans, size, width = config['pretrained_cfg']['input_size']
    macs, params = cost(model.arch, size, model.num_classes, in_chans)
    if sum(p.numel() for p in model.parameters()) != params:
        raise RunError(f'{source}: the network has not the {params:,} parameters of its string')
    with torch.inference_mode():
        logits = model(torch.zeros(1, in_chans, size, width))
    if logits.shape != (1, model.num_classes) or not logits.isfinite().all():
        raise RunError(f'{source}: a forward pass gives {tuple(logits.shape)} logits, not all of them finite numbers')
    return Report(source, str(model.arch), model.num_classes, size, macs, params, sha256, hash_known)


def is_repo(source: str) -> bool:
    return re.fullmatch(r'[\w.-]+/[\w.-]+(@[\w./-]+)?', source) is not None and not Path(source).is_dir()


def fetch(hub_id: str, force: bool = False, extras: bool = False) -> Path:
    """The folder in the cache with a model of a repo, all of one commit."""
    repo_id = hub_id.partition('@')[0]
    config = download(hub_id, CONFIG_FILE, 1 << 24, force=force)
    at_commit = f'{repo_id}@{config.parent.name}'
    download(at_commit, WEIGHTS_FILE, _weights_limit(config.parent, hub_id), force=force)
    if extras:
        for file in (CARD_FILE, PICTURE):
            try:
                download(at_commit, file, 1 << 24, force=force)
            except RunError:
                continue  # not needed to use the model
    return config.parent


def _weights_limit(folder: Path, hub_id: str) -> int:
    """The most bytes that the weights of a config can take."""
    config = read_config(folder)
    name, cfg = config['architecture'], {**config['pretrained_cfg'], 'num_classes': config['num_classes']}
    string = config.get('model_args', {}).get('arch')
    try:
        arch = Arch.parse(string) if string else resolve_arch(name)[0]
    except ArchError as e:
        raise RunError(f'{hub_id}: {CONFIG_FILE}: {e}') from None
    return max_bytes(cfg, str(arch), hub_id)
