"""What an exported file says of itself: network, classes, preprocessing, precision; JSON in the file."""
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ..errors import UsageError, did_you_mean
from ..runs.image_options import BANDS
from ..weights.config_checks import check_cfg
from ..weights.json_file import parse_json, show

__all__ = ['Metadata', 'read_metadata']

DATA_CONFIG = ('input_size', 'interpolation', 'crop_pct', 'crop_mode', 'mean', 'std')
PRECISIONS = ('float32', 'int8')


@dataclass(frozen=True)
class Metadata:
    """What a file says of its network.

    Attributes:
        model: the name, string or folder that was exported.
        arch: its architecture string; '' for a network that has none.
        num_classes: number of outputs.
        label_names: class names in the order of the outputs; empty if they are not known.
        data_config: timm's names: `input_size` (channels, height, width), `interpolation`, `crop_pct`, `crop_mode`,
            `mean`, `std`.
        img_mode: PIL mode of the images.
        preprocessing: resize, crop and normalisation are in the graph: it takes pixels (B, H, W, C), uint8, of any
            size, else images (B, C, H, W), float32, that have been prepared with `data_config`.
        precision: 'float32' or 'int8'.
        trained: False if the weights are random.
        batch_size: number of images that the graph takes; None for any.
        multilabel: several labels per image, each with a probability of its own: the sigmoid of its logit.
        versions: package -> version, of those that wrote the file.
    """

    model: str
    arch: str
    num_classes: int
    label_names: list[str]
    data_config: dict[str, Any]
    img_mode: str
    preprocessing: bool = False
    precision: str = 'float32'
    trained: bool = True
    batch_size: int | None = None
    multilabel: bool = False
    versions: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """As text for the file; `read_metadata` is its inverse."""
        return json.dumps(asdict(self))

    def label(self, output: int) -> str:
        """The name of an output's class; its number if the classes have no names."""
        return self.label_names[output] if self.label_names else f'class {output}'


def read_metadata(text: str, where: str) -> Metadata:
    """The inverse of `Metadata.to_json`.

    Args:
        text: from a file that may come from anybody.
        where: the file, for messages.

    Raises:
        UsageError: text that `fpnas export` does not write.
    """
    found = parse_json(text.encode('utf-8', 'replace'), f'{where}: its metadata')
    known = Metadata.__dataclass_fields__
    if not isinstance(found, Mapping):
        raise _wrong(where, 'expected an object')
    for name in found:
        if name not in known:
            raise _wrong(where, f'unknown entry {show(name)}{did_you_mean(name, known)}')
    kinds = {'model': str, 'arch': str, 'img_mode': str, 'precision': str, 'num_classes': int, 'preprocessing': bool,
             'trained': bool, 'label_names': list, 'data_config': dict, 'versions': dict}
    for name, kind in kinds.items():
        if type(found.get(name)) is not kind:
            raise _wrong(where, f'{name} is {show(found.get(name))}')
    if type(found.get('multilabel', False)) is not bool:
        raise _wrong(where, f'multilabel is {show(found["multilabel"])}')
    config, names, batch = found['data_config'], found['label_names'], found.get('batch_size')
    check_cfg({**config, 'num_classes': found['num_classes'], 'label_names': names}, f'{where}: its metadata')
    if set(config) != set(DATA_CONFIG) or len({len(config['mean']), len(config['std']), config['input_size'][0]}) != 1:
        raise _wrong(where, f'data_config: expected {", ".join(DATA_CONFIG)}, with a mean and a std per channel')
    if names and len(names) != found['num_classes']:
        raise _wrong(where, f'{len(names)} label_names for {found["num_classes"]} outputs')
    if found['precision'] not in PRECISIONS or BANDS.get(found['img_mode']) != config['input_size'][0]:
        raise _wrong(where, f'precision {show(found["precision"])}, img_mode {show(found["img_mode"])}')
    if batch is not None and (type(batch) is not int or batch < 1):
        raise _wrong(where, f'batch_size is {show(batch)}')
    return Metadata(**found)


def _wrong(where: str, what: str) -> UsageError:
    return UsageError(f'{where}: its metadata are not those that fpnas export writes: {what}')
