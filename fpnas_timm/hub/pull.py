"""A model's folder or repo: fetched, and checked by hash, string, budgets and a forward pass."""
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import timm
import torch

from ..arch import Arch, ArchError
from ..arch.cost import cost
from ..errors import RunError, UsageError, one_line
from ..model.network import FPNAS
from ..weights.checks import max_bytes, sha256_of
from ..weights.download import download
from ..weights.folder import CARD_FILE, CONFIG_FILE, PICTURE, WEIGHTS_FILE, check_empty, model_folder, read_config
from ..zoo.models import known_weights, resolve_arch

__all__ = ['Report', 'fetch', 'is_repo', 'pull', 'verify']


@dataclass(frozen=True)
class Report:
    """What `verify` found; all of it is right, or it would have raised an error.

    Attributes:
        source: what was verified.
        arch: architecture string.
        num_classes: outputs of the classifier.
        img_size: input height and width, pixels.
        macs: multiply-adds at that size, batch 1.
        params: learnable parameters.
        sha256: hash of `model.safetensors`, hexadecimal.
        hash_known: the expected hash was known, and so compared.
    """

    source: str
    arch: str
    num_classes: int
    img_size: int
    macs: int
    params: int
    sha256: str
    hash_known: bool


def verify(source: str | Path, sha256: str | None = None) -> Report:
    """Load weights and check them: hash, string, budgets, a forward pass.

    Args:
        source: a model's folder or a run's, `ORG/NAME[@REVISION]`, or `name.tag` of a manifest.
        sha256: expected hash, hexadecimal; if None, the manifest's if it has one.

    Raises:
        UsageError: there is no model there, or its `config.json` cannot be used.
        RunError: it cannot be fetched, or the weights are not what hash, string and config say.

    Example:
        ```python
        from fpnas_timm.hub import verify

        report = verify('model')
        print(report.arch, report.macs, report.hash_known)
        ```
    """
    source = str(source)
    entry = next((e for e in known_weights() if source in (e.model, e.source)), None)
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
        raise RunError(f'{source}: {CONFIG_FILE} makes no model: {type(e).__name__}: {one_line(e)}') from None
    if not isinstance(model, FPNAS):
        raise UsageError(f'{source}: {config["architecture"]} is no network of this package')
    if string is not None and string != str(model.arch):
        raise RunError(f'{source}: {CONFIG_FILE}: the string is not canonical: expected {model.arch}')
    in_chans, size, width = config['pretrained_cfg']['input_size']
    macs, params = cost(model.arch, size, model.num_classes, in_chans)
    if sum(p.numel() for p in model.parameters()) != params:
        raise RunError(f'{source}: the network does not have the {params:,} parameters of its string')
    with torch.inference_mode():
        logits = model(torch.zeros(1, in_chans, size, width))
    if logits.shape != (1, model.num_classes) or not logits.isfinite().all():
        raise RunError(f'{source}: a forward pass gives {tuple(logits.shape)} logits, not all of them finite numbers')
    return Report(source, str(model.arch), model.num_classes, size, macs, params, sha256, hash_known)


def is_repo(source: str) -> bool:
    """Whether it reads as `ORG/NAME[@REVISION]` and is no folder."""
    return re.fullmatch(r'[\w.-]+/[\w.-]+(@[\w./-]+)?', source) is not None and not Path(source).is_dir()


def fetch(hub_id: str, force: bool = False, extras: bool = False) -> Path:
    """The cache's folder with `config.json` and weights of a repo, of one commit; `extras`: card and picture too."""
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


def pull(source: str, output: str | Path | None = None, force: bool = False) -> tuple[Path, Report]:
    """Fetch a model from the Hub into the cache, and into a folder if one is given, and verify it.

    Args:
        source: `ORG/NAME[@REVISION]`, or `name.tag` of a manifest.
        output: copy the files there; must not exist or be empty. If None, they stay in the cache only.
        force: fetch it even if it is in the cache.

    Returns:
        The folder, ready for `local-dir:`, and what `verify` found.

    Raises:
        UsageError: an argument is wrong.
        RunError: it cannot be fetched, or the weights are not what hash, string and config say.

    Example:
        ```python
        import timm
        from fpnas_timm.hub import pull

        folder, report = pull('ORG/NAME', 'model')
        model = timm.create_model(f'local-dir:{folder}', pretrained=True)
        ```
    """
    entry = next((e for e in known_weights() if e.model == source), None)
    where = source if entry is None else entry.source
    if entry is not None and not entry.repo_id:
        raise UsageError(f'{source} is in {entry.folder} already')
    if not is_repo(where):
        raise UsageError(f'{source!r}: expected ORG/NAME, ORG/NAME@REVISION or a name.tag that `fpnas hub list` shows')
    if output is not None:
        check_empty(output)
    folder = fetch(where, force, extras=True)
    report = verify(folder, entry.sha256 if entry else None)
    if output is None:
        return folder, report
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    for file in (CONFIG_FILE, WEIGHTS_FILE, CARD_FILE, PICTURE):
        if (folder / file).exists():
            shutil.copyfile(folder / file, output / file)
    return output, report
