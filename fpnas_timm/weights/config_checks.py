"""What a `config.json` or a manifest may say about a network and its input, key by key. Does not import torch.

The files may come from anybody, and timm passes their entries on: to the network's class, to the loader of the weights,
to the data pipeline. So only known keys are accepted, with values that are harmless and that timm understands.
"""
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..arch import Arch, ArchError
from ..arch.checks import MAX_IMG_SIZE
from ..arch.cost import cost
from ..errors import UsageError, did_you_mean
from .json_file import show

__all__ = [
    'MAX_CHANS', 'MAX_CLASSES', 'MAX_VALUES', 'NETWORK_ARGS', 'check_cfg', 'check_model_args', 'check_network_size',
    'cost_args', 'is_finite_number', 'network_args',
]

MAX_CLASSES, MAX_CHANS = 10**6, 4096
MAX_VALUES = 1 << 30  # parameters of a network: 4 GiB in float32, about a hundred times an FP-NAS-L2


class _Check(NamedTuple):
    holds: Callable[[Any], bool]
    expected: str


def _is_number(low: float, high: float, above: bool = False) -> Callable[[Any], bool]:
    """A finite number in the range; `above` excludes the lower bound. No bool, and no int too large for a float."""
    return lambda v: type(v) in (int, float) and (low < v if above else low <= v) and v <= high


def _is_int(low: int, high: int) -> Callable[[Any], bool]:
    return lambda v: type(v) is int and low <= v <= high


is_finite_number = _is_number(-1e300, 1e300)


def _is_text(v: Any) -> bool:
    return isinstance(v, str)


def _are(item: Callable[[Any], bool], least: int, most: int) -> Callable[[Any], bool]:
    return lambda v: isinstance(v, (list, tuple)) and least <= len(v) <= most and all(item(x) for x in v)


def _one_of(*values: Any) -> _Check:
    return _Check(lambda v: any(v == x and type(v) is type(x) for x in values), ' or '.join(map(repr, values)))


def _is_size(v: Any) -> bool:
    is_pixels = _is_int(1, MAX_IMG_SIZE)
    return _are(is_pixels, 3, 3)(v) and _is_int(1, MAX_CHANS)(v[0])


_TEXT = _Check(_is_text, 'a text')
_TEXTS = _Check(lambda v: _is_text(v) or _are(_is_text, 0, 1000)(v), 'a text or a list of texts')
_LABELS = _Check(
    lambda v: _are(_is_text, 0, MAX_CLASSES)([*v.values()] if isinstance(v, dict) else v), 'texts, in a list or object'
)
_SIZE = _Check(_is_size, f'channels, height and width, at most {MAX_IMG_SIZE}')
_POOL = _Check(_are(_is_int(1, MAX_IMG_SIZE), 2, 2), 'height and width')
_CROP = _Check(_is_number(0, 10, above=True), 'a number above 0, at most 10')
_RATE = _Check(_is_number(0, 1), 'a number from 0 to 1')
_COUNT = _Check(_is_int(0, MAX_CLASSES), f'a whole number from 0 to {MAX_CLASSES:,}')

# Entries of timm's PretrainedCfg, but those that say where weights are. `null` is the same as leaving an entry out, but
# for num_classes, which timm then misses.
CFG: Mapping[str, _Check] = {
    'architecture': _TEXT,
    'tag': _TEXT,
    'custom_load': _one_of(False),
    'input_size': _SIZE,
    'test_input_size': _SIZE,
    'min_input_size': _SIZE,
    'fixed_input_size': _one_of(False),
    'interpolation': _one_of('nearest', 'bilinear', 'bicubic', 'box', 'hamming', 'lanczos', 'random'),
    'crop_pct': _CROP,
    'test_crop_pct': _CROP,
    'crop_mode': _one_of('center', 'squash', 'border'),
    'mean': _Check(_are(_is_number(-1e6, 1e6), 1, MAX_CHANS), 'a list of numbers'),
    'std': _Check(_are(_is_number(0, 1e6, above=True), 1, MAX_CHANS), 'a list of numbers above 0'),
    'num_classes': _COUNT,
    'label_offset': _one_of(0),
    'label_names': _LABELS,  # by index, if they are an object
    'label_descriptions': _LABELS,
    'pool_size': _POOL,
    'test_pool_size': _POOL,
    'first_conv': _one_of('stem.conv'),
    'classifier': _one_of('classifier'),
    'license': _TEXT,
    'description': _TEXT,
    'origin_url': _TEXT,
    'paper_name': _TEXT,
    'paper_ids': _TEXTS,
    'notes': _TEXTS,
}
PLACES = ('url', 'file', 'state_dict', 'hf_hub_id', 'hf_hub_filename', 'source')

# Arguments of `model.FPNAS` that say what the network is; where it is put (`device`, `dtype`) is the caller's choice.
MODEL_ARGS: Mapping[str, _Check] = {
    'arch': _Check(_is_text, 'an architecture string'),
    'num_classes': _COUNT,
    'in_chans': _Check(_is_int(1, MAX_CHANS), f'a whole number from 1 to {MAX_CHANS:,}'),
    'global_pool': _one_of(
        '', 'fast', 'avg', 'max', 'avgmax', 'catavgmax', 'fastavg', 'fastmax', 'fastavgmax', 'fastcatavgmax'
    ),
    'output_stride': _one_of(8, 16, 32),
    'drop_rate': _RATE,
    'drop_path_rate': _Check(lambda v: _RATE.holds(v) and v < 1, 'a number from 0 to less than 1'),
    'bn_momentum': _Check(lambda v: v is None or _RATE.holds(v), _RATE.expected),
    'bn_eps': _Check(lambda v: v is None or _is_number(0, 1, above=True)(v), 'a number above 0, at most 1'),
}
# Those that change what a network with the same string, classes and channels computes, with their defaults.
NETWORK_ARGS: Mapping[str, Any] = {'global_pool': 'avg', 'output_stride': 32, 'bn_momentum': None, 'bn_eps': None}


def check_cfg(cfg: Mapping[str, Any], where: str, added: tuple[str, ...] = ()) -> None:
    """Check the entries of a `pretrained_cfg` that was read from a file.

    Args:
        cfg: the entries.
        where: the file, for error messages.
        added: entries that timm has added to those of the file: the place that the file was read from.

    Raises:
        UsageError: an entry is unknown, or has a value that is not allowed.
    """
    for key, value in cfg.items():
        if key in added or (value is None and key in (*CFG, *PLACES) and key != 'num_classes'):
            continue
        if key in PLACES:
            raise UsageError(
                f'{where}: pretrained_cfg has an entry {key}, which names other weights: only the model.safetensors '
                'beside the config is read: remove the entry'
            )
        _check(key, value, CFG, f'{where}: pretrained_cfg')


def check_model_args(args: Mapping[str, Any], where: str, architecture: str, cfg: Mapping[str, Any]) -> None:
    """Check the `model_args` of a `config.json` of this package's networks.

    Args:
        args: the arguments.
        where: the file, for error messages.
        architecture: name of the model in the config.
        cfg: the `pretrained_cfg` of the config, with its number of classes.

    Raises:
        UsageError: an argument is unknown, has a value that is not allowed, or contradicts `cfg`.
    """
    for key, value in args.items():
        _check(key, value, MODEL_ARGS, f'{where}: model_args', f': expected some of {", ".join(MODEL_ARGS)}')
    if 'arch' in args and architecture != 'fpnas':
        raise UsageError(
            f'{where}: model_args has an arch, and {architecture} has its own: the architecture of a string is fpnas'
        )
    classes = cfg.get('num_classes')
    if classes is not None and args.get('num_classes', classes) != classes:
        raise UsageError(f'{where}: {classes} classes, and model_args says {args["num_classes"]}: expected the same')
    size = cfg.get('input_size')
    if size is not None and args.get('in_chans', size[0]) != size[0]:
        raise UsageError(f'{where}: input_size is {show(size)}, and model_args says {args["in_chans"]} image channels')
    if args.get('global_pool') == '' and args.get('num_classes', classes) != 0:
        raise UsageError(f'{where}: model_args: global_pool is empty, which is for networks without a classifier only')


def network_args(args: Mapping[str, Any]) -> dict[str, Any]:
    """The `NETWORK_ARGS` among a model's arguments, without those that are the default.

    >>> network_args({'arch': 'i32-..', 'in_chans': 3, 'global_pool': 'avg', 'output_stride': 16, 'bn_eps': None})
    {'output_stride': 16}
    """
    return {key: args[key] for key, default in NETWORK_ARGS.items() if args.get(key, default) != default}


def cost_args(args: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a model's arguments that `arch.cost.cost` takes, beside classes and channels."""
    return {key: args[key] for key in ('output_stride', 'global_pool') if key in args}


def _check(key: str, value: Any, table: Mapping[str, _Check], where: str, more: str = '') -> None:
    if key not in table:
        raise UsageError(f'{where}: unknown entry {show(key)}{more or did_you_mean(key, table)}')
    if not table[key].holds(value):
        raise UsageError(f'{where}: {key} is {show(value)}: expected {table[key].expected}')


def check_network_size(arch: Arch | str, num_classes: int, in_chans: int, where: str) -> None:
    """Check that a network has at most `MAX_VALUES` parameters, before memory is allocated for it.

    Raises:
        UsageError: it has more, or `arch` is not an architecture string.
    """
    try:
        parsed = Arch.parse(arch) if isinstance(arch, str) else arch
    except ArchError as e:
        raise UsageError(f'{where}: {e}') from None
    params = cost(parsed, num_classes=num_classes, in_chans=in_chans).params
    if params > MAX_VALUES:
        raise UsageError(
            f'{where}: {params:,} parameters ({num_classes:,} classes, {in_chans:,} image channels): networks of more '
            f'than {MAX_VALUES:,} are not loaded'
        )
