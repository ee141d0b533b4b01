"""What there is to know of the models without building one: strings, budgets, feature maps, weights.

    python -m fpnas_timm.info
    python -m fpnas_timm.info fpnas_l0 --json
"""
import argparse
import json
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ._version import __version__
from .arch import ArchError
from .cost import cost
from .errors import UsageError, exit_status
from .model import feature_levels
from .zoo import TABLE_B1, default_cfgs, resolve_arch

__all__ = ['describe', 'main']


def describe(name_or_string: str) -> dict[str, Any]:
    """A model as data.

    Args:
        name_or_string: a model's name or an architecture string.

    Raises:
        ArchError: it is neither.
    """
    arch, label = resolve_arch(name_or_string)
    macs, params = cost(arch)
    row = TABLE_B1.get(name_or_string)
    info: dict[str, Any] = {
        'model': name_or_string if name_or_string in default_cfgs else None,
        'label': label,
        'arch': str(arch),
        'img_size': arch.img_size,
        'macs': macs,
        'params': params,
        'blocks': sum(len(group) for group in arch.blocks),
        'features': [{'channels': f['num_chs'], 'reduction': f['reduction']} for f in feature_levels(arch)],
        'weights': _weights(name_or_string),
    }
    if row:
        info['paper'] = {'macs_millions': row.macs, 'params_millions': row.params, 'top1': row.top1,
                         'top1_distilled': row.top1_distilled}
    return info


def _weights(name: str) -> list[str]:
    cfgs = default_cfgs[name].cfgs if name in default_cfgs else {}
    return [f'{name}.{tag}' for tag, cfg in cfgs.items() if cfg.has_weights]


def _versions() -> dict[str, str]:
    found = {'fpnas_timm': __version__}
    for name in ('timm', 'torch', 'torchvision', 'huggingface_hub', 'safetensors'):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = 'not installed'
    return found


def _print_all(infos: list[dict[str, Any]]) -> None:
    print(' '.join(f'{name} {v}' for name, v in _versions().items()))
    print(f'\n{"model":<14}{"input":>6}{"multiply-adds":>16}{"parameters":>13}  weights')
    for i in infos:
        weights = ', '.join(i['weights']) or 'none published'
        print(f'{i["model"]:<14}{i["img_size"]:>6}{i["macs"]:>16,}{i["params"]:>13,}  {weights}')
    print("\nThe named models are reconstructions: the paper's budgets, not its encodings.")
    print('`fpnas` is the network of any architecture string. One model in full: fpnas info NAME_OR_STRING')


def _print_one(i: dict[str, Any]) -> None:
    print(f'model          {i["label"]}')
    print(f'architecture   {i["arch"]}')
    print(f'input          {i["img_size"]} x {i["img_size"]}')
    print(f'multiply-adds  {i["macs"]:,}')
    print(f'parameters     {i["params"]:,}')
    print(f'blocks         {i["blocks"]}')
    print('feature maps   ' + ', '.join(f'{f["channels"]} channels at 1/{f["reduction"]}' for f in i['features']))
    if paper := i.get('paper'):
        plain, distilled = paper['top1'], paper['top1_distilled']
        top1 = ', '.join([f'{plain} %'] * bool(plain) + [f'{distilled} % distilled'] * bool(distilled))
        budgets = f'{paper["macs_millions"]} M multiply-adds, {paper["params_millions"]} M parameters'
        print(f"paper's own    {budgets}, top-1 {top1}")
    print(f'weights        {", ".join(i["weights"]) or "none published"}')


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0, 2 for what is neither a model nor an architecture string."""
    parser = argparse.ArgumentParser(
        prog='fpnas info',
        description='The models and the versions, or one model in full.',
        epilog='examples: fpnas info | fpnas info fpnas_l0 | fpnas info i64-cn_k3_.. --json',
    )
    parser.add_argument('model', nargs='?', metavar='NAME_OR_STRING', help='a model or an architecture string')
    parser.add_argument('--json', action='store_true', help='print data')
    args = parser.parse_args(argv)

    def run() -> None:
        try:
            names = [args.model] if args.model else [n for n in default_cfgs if n != 'fpnas']
            infos = [describe(name) for name in names]
        except ArchError as e:
            raise UsageError(str(e)) from None
        if args.json:
            print(json.dumps(infos[0] if args.model else {'versions': _versions(), 'models': infos}, indent=2))
        elif args.model:
            _print_one(infos[0])
        else:
            _print_all(infos)

    return exit_status(run)


if __name__ == '__main__':
    sys.exit(main())
