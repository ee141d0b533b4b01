"""Verifies a model: hash, string, budgets and a forward pass."""
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from ..arch import Arch, ArchError
from ..arch.cost import Cost, cost
from ..arch.sizes import ImgSize, simplest_size
from ..errors import RunError, UsageError, one_line
from ..model.network import FPNAS
from ..weights.checks import sha256_of
from ..weights.config_checks import check_network_size, cost_args
from ..weights.folder import CONFIG_FILE, WEIGHTS_FILE, is_own, model_folder, read_config
from ..weights.manifest import ManifestEntry
from ..weights.pretrained import entry_cfg
from ..zoo.models import known_weights, resolve_arch
from .fetch import fetch, is_repo

__all__ = ['Verified', 'verify', 'verify_entry']

MAX_MACS, MAX_INPUT = 10**10, 1 << 24  # of the forward pass: about a second, 64 MiB of input


@dataclass(frozen=True)
class Verified:
    """The properties of a model that `verify` has checked; if a check fails, `verify` raises an error instead.

    Attributes:
        source: the folder, repository or name that was verified.
        arch: architecture string.
        num_classes: number of classifier outputs.
        img_size: input size in pixels: one number for a square, or (height, width).
        macs: multiply-adds at that size and batch size 1.
        params: learnable parameters.
        sha256: hash of `model.safetensors` in hexadecimal.
        hash_known: whether the expected hash was known and compared.
    """

    source: str
    arch: str
    num_classes: int
    img_size: ImgSize
    macs: int
    params: int
    sha256: str
    hash_known: bool


def verify(source: str | Path, sha256: str | None = None) -> Verified:
    """Load weights and check them: hash, string, budgets, a forward pass. What passes can be loaded with timm.

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
    entries = known_weights()
    if named := next((e for e in entries if source == e.model), None):
        return verify_entry(named, sha256)
    sha256 = sha256 or next((e.sha256 for e in entries if source == e.source), None)
    folder = fetch(source) if is_repo(source) else model_folder(source)
    return _verify_folder(folder, source, sha256)


def verify_entry(entry: ManifestEntry, sha256: str | None = None) -> Verified:
    """Verify the weights of a manifest entry as `timm.create_model(NAME.TAG, pretrained=True)` loads them.

    What counts is the entry: string, classes, input size and `model_args` are its own, not those of a `config.json`.
    """
    arch = Arch.parse(entry.arch) if entry.arch is not None else resolve_arch(entry.name)[0]
    cfg, args = entry_cfg(entry, arch), dict(entry.model_args)

    def create() -> nn.Module:
        return timm.create_model(
            'fpnas', arch=str(arch), pretrained=True, pretrained_cfg=cfg, pretrained_model_args=args, **args
        )

    return _verify(create, entry.model, arch, cfg, args, sha256 or entry.sha256)


def _verify_folder(folder: Path, source: str, sha256: str | None) -> Verified:
    config = read_config(folder)
    name, string = config['architecture'], config.get('model_args', {}).get('arch')
    if not is_own(name):
        raise UsageError(f'{source}: {name} is no network of this package')
    if sha256 is not None:
        _compare(source, sha256_of(folder / WEIGHTS_FILE), sha256)
    cfg = {**config['pretrained_cfg'], 'num_classes': config['num_classes']}
    try:
        arch = Arch.parse(string or '') if name == 'fpnas' else resolve_arch(name)[0]
    except ArchError as e:
        raise RunError(f'{source}: {CONFIG_FILE}: {e}') from None
    if string is not None and string != str(arch):
        raise RunError(f'{source}: {CONFIG_FILE}: the string is not canonical: expected {arch}')
    args = config.get('model_args', {})
    return _verify(lambda: timm.create_model(f'local-dir:{folder}', pretrained=True), source, arch, cfg, args, sha256)


def _verify(
        create: Callable[[], nn.Module], source: str, arch: Arch, cfg: Mapping[str, Any], args: Mapping[str, Any],
        sha256: str | None,
) -> Verified:
    """Create a model as timm does it for a user, compare the hash of its weights, and use it once."""
    num_classes, (in_chans, height, width) = cfg['num_classes'], cfg['input_size']
    check_network_size(arch, num_classes, in_chans, source)

    def count(size: tuple[int, int]) -> Cost:
        return cost(arch, size, num_classes, in_chans, **cost_args(args))

    forward_size = _forward_size(source, arch, in_chans, height, width, count)
    try:
        model = create().eval()
    except (RunError, UsageError):
        raise
    except Exception as e:  # the files may come from anybody, and what timm and torch raise about them is theirs
        raise RunError(f'{source}: is no valid model: {type(e).__name__}: {one_line(e)}') from None
    assert isinstance(model, FPNAS)
    loaded: dict[str, Any] = vars(model)['pretrained_cfg']
    found = sha256_of(Path(loaded['file']))
    if sha256 is not None:
        _compare(source, found, sha256)
    macs, params = count((height, width))
    if sum(p.numel() for p in model.parameters()) != params:
        raise RunError(f'{source}: the network does not have the {params:,} parameters of its string')
    with torch.inference_mode():
        logits = model(torch.zeros(1, in_chans, *forward_size))
    if (num_classes and logits.shape != (1, num_classes)) or not logits.isfinite().all():
        raise RunError(f'{source}: a forward pass gives {tuple(logits.shape)} logits, not all of them finite numbers')
    size = simplest_size((height, width))
    return Verified(source, str(arch), num_classes, size, macs, params, found, sha256 is not None)


def _compare(source: str, found: str, expected: str) -> None:
    if found != expected:
        raise RunError(f'{source}: sha256 of {WEIGHTS_FILE} is {found}, expected {expected}')


def _forward_size(
        source: str, arch: Arch, in_chans: int, height: int, width: int, count: Callable[[tuple[int, int]], Cost]
) -> tuple[int, int]:
    """The size of the input for the forward pass: that of the config, or smaller if it would take too long."""
    least = arch.total_stride
    if min(height, width) < least:
        raise RunError(f'{source}: its images of {height} x {width} pixels are too small: at least {least} are needed')
    while in_chans * height * width > MAX_INPUT or count((height, width)).macs > MAX_MACS:
        if height == width == least:
            raise RunError(f'{source}: even at {least} pixels a forward pass has more than {MAX_MACS:,} multiply-adds')
        height, width = max(height // 2, least), max(width // 2, least)
    return height, width
