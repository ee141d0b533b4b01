"""Start from pretrained weights: timm networks as strings, and the weights of any network in any other.

* `timm_network`: the layers of a network of timm's EfficientNet builder
* `timm_arch`: `as_arch`: such a network as an architecture string, and what is exact
* `timm_weights`: `from_timm`: our network with its weights
* `layers`: networks as lists of blocks, and channels of one as channels of another
* `importance`: how important channels and blocks are, from the weights
* `rows`: feature maps of many images as samples
* `select`: which channels a narrower block keeps, from images
* `match`: which block becomes which
* `copy_layers`: weights of one layer in another
* `repair`: cut layers, fitted to images by least squares
* `remap`: `transfer`: the weights of any network in any other
* `supernet`: a supernet that starts from a network
* `fitted`: a supernet of a network whose parts are fitted by least squares
* `classes`: a source's classifier and the classes of the data, by name
* `sources`: `open_source`: what `--init-from` names
* `images`: the images that layers are fitted to
"""
from typing import TYPE_CHECKING

from .._lazy import lazy_names
from ..spaces.around import space_around

if TYPE_CHECKING:
    from .remap import Inherited, transfer
    from .sources import Source, open_source
    from .supernet import start_supernet
    from .timm_arch import TimmArch, as_arch
    from .timm_weights import from_timm

__all__ = [
    'Inherited', 'Source', 'TimmArch', 'as_arch', 'from_timm', 'open_source', 'space_around', 'start_supernet',
    'transfer',
]

__getattr__, __dir__ = lazy_names(__name__, {
    'Inherited': 'remap',
    'Source': 'sources',
    'TimmArch': 'timm_arch',
    'as_arch': 'timm_arch',
    'from_timm': 'timm_weights',
    'open_source': 'sources',
    'start_supernet': 'supernet',
    'transfer': 'remap',
})
