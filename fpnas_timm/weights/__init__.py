"""From a model's name to a checked file of weights, and back to a folder.

* `manifest`: which weights are published (`weights.json`)
* `download`: one file from the Hub's cache
* `transfer`: its bytes, within a size and a time
* `checks`: hash, size, names, shapes and types of a safetensors file
* `config_checks`: what a `config.json` or a manifest may say
* `json_file`: JSON from elsewhere, within limits
* `pretrained`: timm's pretrained cfgs
* `folder`: a `local-dir:` folder, written, found and read
* `recorded`: what a folder or a checkpoint says of its model
"""
from typing import TYPE_CHECKING

from .._lazy import lazy_names

if TYPE_CHECKING:
    from .checks import sha256_of
    from .manifest import ManifestEntry, read_manifest

__all__ = ['ManifestEntry', 'read_manifest', 'sha256_of']

__getattr__, __dir__ = lazy_names(__name__, {
    'sha256_of': 'checks',
    'ManifestEntry': 'manifest', 'read_manifest': 'manifest',
})
