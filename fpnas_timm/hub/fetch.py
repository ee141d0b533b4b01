"""Downloads the files of a model to the Hub's cache."""
import re
from pathlib import Path

from ..arch import Arch, ArchError
from ..errors import RunError, UsageError
from ..weights.checks import max_bytes
from ..weights.download import download
from ..weights.folder import CARD_FILE, CONFIG_FILE, PICTURE, WEIGHTS_FILE, is_own, read_config
from ..weights.json_file import MAX_JSON_BYTES
from ..zoo.models import resolve_arch

__all__ = ['fetch', 'is_repo']

MAX_EXTRA_BYTES = 1 << 24  # of the card and of the picture


def is_repo(source: str) -> bool:
    """Whether `source` has the form `ORG/NAME[@REVISION]` and is not a folder."""
    return re.fullmatch(r'[\w.-]+/[\w.-]+(@[\w./-]+)?', source) is not None and not Path(source).is_dir()


def fetch(hub_id: str, force: bool = False, extras: bool = False) -> Path:
    """Download `config.json` and weights of one commit (`extras`: also card and picture); returns the cache folder."""
    repo_id = hub_id.partition('@')[0]
    config = download(hub_id, CONFIG_FILE, MAX_JSON_BYTES, force=force)
    at_commit = f'{repo_id}@{config.parent.name}'
    download(at_commit, WEIGHTS_FILE, _weights_limit(config.parent, hub_id), force=force)
    if extras:
        for file in (CARD_FILE, PICTURE):
            try:
                download(at_commit, file, MAX_EXTRA_BYTES, force=force)
            except RunError:
                continue  # not needed to use the model
    return config.parent


def _weights_limit(folder: Path, hub_id: str) -> int:
    """The maximum size in bytes of the weights described by a config."""
    config = read_config(folder)
    if not is_own(config['architecture']):
        raise UsageError(f'{hub_id}: {config["architecture"]} is no network of this package')
    name, cfg = config['architecture'], {**config['pretrained_cfg'], 'num_classes': config['num_classes']}
    string = config.get('model_args', {}).get('arch')
    try:
        arch = Arch.parse(string) if string else resolve_arch(name)[0]
    except ArchError as e:
        raise RunError(f'{hub_id}: {CONFIG_FILE}: {e}') from None
    return max_bytes(cfg, str(arch), hub_id)
