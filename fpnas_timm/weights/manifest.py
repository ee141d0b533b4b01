"""The manifest: which weights are published, where, and with which hash. Does not import torch.

The package's manifest is `weights.json`; it only lists published weights and is empty so far. The environment variable
`FPNAS_MANIFEST` names a second file in the same format, with your own models, so that every pipeline finds them by name
(`docs/hub.md`).
"""
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..arch import Arch, ArchError
from ..errors import UsageError, did_you_mean
from .config_checks import NETWORK_ARGS, check_cfg, check_model_args, is_finite_number
from .json_file import read_json, show

__all__ = ['ENVIRONMENT', 'INPUT_KEYS', 'OWN', 'ManifestEntry', 'parse_entry', 'read_all', 'read_manifest']

ENVIRONMENT = 'FPNAS_MANIFEST'
OWN = Path(__file__).with_name('weights.json')
INPUT_KEYS = ('num_classes', 'input_size', 'interpolation', 'crop_pct', 'crop_mode', 'mean', 'std', 'label_names')


@dataclass(frozen=True)
class ManifestEntry:
    """One entry of a manifest: the name, location and hash of weights.

    Attributes:
        model: `name.tag`; for a name that is not a model of this package, `arch` is required.
        sha256: hash of `model.safetensors`, 64 hexadecimal digits.
        metrics: measured values by name, such as `{'top1': 91.5}`.
        recipe: how the weights were trained, in one line.
        license: license of the weights, with its SPDX or Hub identifier.
        repo_id: `ORG/NAME` on the Hub; requires `revision`. Either `repo_id` or `folder` is given.
        revision: the commit, 40 hexadecimal digits (a branch may change).
        folder: a local folder with `model.safetensors`; relative paths start at the manifest's folder.
        arch: the architecture string; optional for a model of this package.
        pretrained_cfg: entries of timm's pretrained cfg for the input and the classifier; the keys are `INPUT_KEYS`.
        model_args: arguments of `FPNAS` that the network was trained with, such as `{'bn_eps': 0.001}`; the keys are
            `NETWORK_ARGS`. `timm.create_model` uses them with these weights, but for those that it is given itself.
        multilabel: the network is for several labels per image.

    Raises:
        UsageError: `model_args` has an unknown key or a value that is not allowed.
    """

    model: str
    sha256: str
    metrics: Mapping[str, float]
    recipe: str
    license: str
    repo_id: str | None = None
    revision: str | None = None
    folder: str | None = None
    arch: str | None = None
    pretrained_cfg: Mapping[str, Any] = field(default_factory=dict)
    model_args: Mapping[str, Any] = field(default_factory=dict)
    multilabel: bool = False

    def __post_init__(self) -> None:
        _check_args(self.model_args, self.pretrained_cfg, self.model)

    @property
    def name(self) -> str:
        """The model's name without the tag."""
        return self.model.partition('.')[0]

    @property
    def tag(self) -> str:
        """The tag without the model's name."""
        return self.model.partition('.')[2]

    @property
    def source(self) -> str:
        """Where the weights are: `ORG/NAME@REVISION` or the folder."""
        return f'{self.repo_id}@{self.revision}' if self.repo_id else str(self.folder)

    def to_dict(self) -> dict[str, Any]:
        """The entry as in a manifest file, without fields that are not set."""
        return {k: v for k, v in vars(self).items() if v is not None and (v or k == 'metrics')}


def read_all() -> list[ManifestEntry]:
    """Read the entries of the package's manifest and of `FPNAS_MANIFEST`, in this order.

    Raises:
        UsageError: one of the files cannot be read, or both have an entry of the same name.
    """
    extra = os.environ.get(ENVIRONMENT)
    published = read_manifest(OWN)
    if not extra:
        return published
    where = f'{ENVIRONMENT}={extra}'
    more = read_manifest(extra, where)
    for entry in more:
        if any(entry.model == p.model for p in published):
            raise UsageError(f'{where}: {entry.model} is in the package already: choose another tag')
    return published + more


def read_manifest(path: str | Path, where: str | None = None) -> list[ManifestEntry]:
    """Read the entries of a manifest file.

    Args:
        path: a JSON file: `{"weights": [ENTRY, ..]}`, with the fields of `ManifestEntry`.
        where: name of the file for error messages; its path if None.

    Raises:
        UsageError: the file cannot be read, or a field is missing, unknown, duplicate or malformed.
    """
    path, where = Path(path), where or str(path)
    data = read_json(path, where)
    if not isinstance(data, dict) or set(data) != {'weights'} or not isinstance(data['weights'], list):
        raise UsageError(f'{where}: expected {{"weights": [..]}}')
    entries: dict[str, ManifestEntry] = {}
    for i, item in enumerate(data['weights'], 1):
        entry = parse_entry(item, f'{where}: entry {i}', path.parent)
        if entry.model in entries:
            raise UsageError(f'{where}: entry {i}: {entry.model} is listed twice')
        for other in entries.values():
            if (entry.source, entry.sha256 != other.sha256) == (other.source, True):
                raise UsageError(
                    f'{where}: entry {i} ({entry.model}): another sha256 than {other.model}, of the same weights'
                )
        entries[entry.model] = entry
    return list(entries.values())


_FORMS = {
    'model': (r'[a-z][a-z0-9_]*\.[A-Za-z0-9_]+', 'NAME.TAG in lower case, as my_net.in1k'),
    'sha256': (r'[0-9a-f]{64}', '64 hexadecimal digits'),
    'repo_id': (r'[\w.-]+/[\w.-]+', 'ORG/NAME'),
    'revision': (r'[0-9a-f]{40}', 'a commit of 40 hexadecimal digits, since a branch may move'),
    'recipe': (r'.+', 'a line of text'),
    'license': (r'.+', 'a line of text'),
    'folder': (r'.+', 'a folder'),
    'arch': (r'.+', 'an architecture string'),
}


def parse_entry(item: Any, where: str, base: Path) -> ManifestEntry:
    """The entry that an object of a manifest describes.

    Args:
        item: the object, as read from JSON.
        where: file and number of the entry, for error messages.
        base: the folder at which relative paths start.

    Raises:
        UsageError: a field is missing, unknown or malformed.
    """
    known = list(ManifestEntry.__dataclass_fields__)
    if not isinstance(item, dict):
        raise UsageError(f'{where}: expected an object with {", ".join(known[:5])} and a place, got {show(item)}')
    where = f'{where} ({item["model"]})' if isinstance(item.get('model'), str) else where
    for key in item:
        if key not in known:
            hint = did_you_mean(key, known)
            raise UsageError(f'{where}: unknown field {show(key)}: expected {", ".join(known)}{hint}')
    for key in known[:5]:
        if key not in item:
            raise UsageError(f'{where}: {key!r} is missing')
    for key, (form, meaning) in _FORMS.items():
        if key in item and not (isinstance(v := item[key], str) and v.isprintable() and re.fullmatch(form, v)):
            raise UsageError(f'{where}: {key} is {show(item[key])}: expected {meaning}')
    if ('repo_id' in item) == ('folder' in item) or ('repo_id' in item) != ('revision' in item):
        raise UsageError(f'{where}: expected either repo_id and revision, or folder')
    if not isinstance(item['metrics'], dict) or not all(map(is_finite_number, item['metrics'].values())):
        raise UsageError(f'{where}: metrics: expected names and numbers')
    if type(item.get('multilabel', False)) is not bool:
        raise UsageError(f'{where}: multilabel is {show(item["multilabel"])}: expected true or false')
    cfg = item.get('pretrained_cfg', {})
    if not isinstance(cfg, dict) or not set(cfg) <= set(INPUT_KEYS):
        raise UsageError(f'{where}: pretrained_cfg: expected an object with some of {", ".join(INPUT_KEYS)}')
    check_cfg(cfg, where)
    if None in cfg.values():
        raise UsageError(f'{where}: pretrained_cfg: null is no value: leave the entry out')
    _check_args(item.get('model_args', {}), cfg, where)
    if 'arch' in item:
        try:
            Arch.parse(item['arch'])
        except ArchError as e:
            raise UsageError(f'{where}: arch: {e}') from None
    if 'folder' in item:
        item = {**item, 'folder': str(base / item['folder'])}
    cfg = {k: tuple(v) if isinstance(v, list) else v for k, v in cfg.items()}
    return ManifestEntry(**{**item, 'pretrained_cfg': cfg})


def _check_args(args: Any, cfg: Mapping[str, Any], where: str) -> None:
    if not isinstance(args, Mapping) or not set(args) <= set(NETWORK_ARGS):
        raise UsageError(f'{where}: model_args: expected an object with some of {", ".join(NETWORK_ARGS)}')
    check_model_args(args, where, 'fpnas', {'num_classes': cfg.get('num_classes', 1000)})
    if None in args.values():
        raise UsageError(f'{where}: model_args: null is no value: leave the entry out')
