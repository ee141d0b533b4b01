"""Downloads models from the Hub and verifies them: hash, string, budgets and a forward pass."""
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

__all__ = ['Verified', 'fetch', 'is_repo', 'pull', 'verify']


@dataclass(frozen=True)
class Verified:
    """The properties of a model that `verify` has checked; if a check fails, `verify` raises an error instead.

    Attributes:
        source: the folder, repository or name that was verified.
        arch: architecture string.
        num_classes: number of classifier outputs.
        img_size: input height and width in pixels.
        macs: multiply-adds at that size and batch size 1.
        params: learnable parameters.
        sha256: hash of `model.safetensors` in hexadecimal.
        hash_known: whether the expected hash was known and compared.
    """

    source: str
    arch: str
    num_classes: int
    img_size: int
    macs: int
    params: int
    sha256: str
    hash_known: bool


def verify(source: str | Path, sha256: str | None = None) -> Verified:
    """Load weights and check them: hash, string, budgets, a forward pass.

    Args:
        source: folder of a model or a run, `ORG/NAME[@REVISION]`, or `name.tag` of a manifest.
        sha256: expected hash in hexadecimal; if None, that of the manifest, if any.

    Raises:
        UsageError: there is no model, or its `config.json` is invalid.
        RunError: the download failed, or the weights do not match hash, string or config.

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


def _verify_folder(folder: Path, source: str, sha256: str, hash_known: bool) -> Verified:
    config = read_config(folder)
    string = config.get('model_args', {}).get('arch')
    try:
        model = timm.create_model(f'local-dir:{folder}', pretrained=True).eval()
    except ArchError as e:
        raise RunError(f'{source}: {CONFIG_FILE}: {e}') from None
    except (KeyError, TypeError, ValueError, AssertionError) as e:
        raise RunError(f'{source}: {CONFIG_FILE} is no valid model: {type(e).__name__}: {one_line(e)}') from None
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
    return Verified(source, str(model.arch), model.num_classes, size, macs, params, sha256, hash_known)


def is_repo(source: str) -> bool:
    """Whether `source` has the form `ORG/NAME[@REVISION]` and is not a folder."""
    return re.fullmatch(r'[\w.-]+/[\w.-]+(@[\w./-]+)?', source) is not None and not Path(source).is_dir()


def fetch(hub_id: str, force: bool = False, extras: bool = False) -> Path:
    """Download `config.json` and weights of one commit (`extras`: also card and picture); returns the cache folder."""
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
    """The maximum size in bytes of the weights described by a config."""
    config = read_config(folder)
    name, cfg = config['architecture'], {**config['pretrained_cfg'], 'num_classes': config['num_classes']}
    string = config.get('model_args', {}).get('arch')
    try:
        arch = Arch.parse(string) if string else resolve_arch(name)[0]
    except ArchError as e:
        raise RunError(f'{hub_id}: {CONFIG_FILE}: {e}') from None
    return max_bytes(cfg, str(arch), hub_id)


def pull(source: str, output: str | Path | None = None, force: bool = False) -> tuple[Path, Verified]:
    """Download a model from the Hub to the cache, verify it, and optionally copy it to a folder.

    Args:
        source: `ORG/NAME[@REVISION]`, or `name.tag` of a manifest.
        output: folder to copy the files to; must be empty or not exist. If None, they are only in the cache.
        force: download the files even if they are in the cache.

    Returns:
        The folder, ready for `local-dir:`, and the report of `verify`.

    Raises:
        UsageError: an invalid argument.
        RunError: the download failed, or the weights do not match hash, string or config.

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
