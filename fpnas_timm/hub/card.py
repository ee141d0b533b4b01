"""The model card: origin of the network, budgets, measurements and usage.

Collects the facts from which timm's `generate_readme` writes the text.
"""
from collections.abc import Mapping
from typing import Any

from timm.models._hub import generate_readme

from ..arch import Arch
from ..arch.cost import cost
from ..weights.folder import PICTURE
from ..zoo.strings import ARCHS

__all__ = ['metrics_of', 'model_card', 'origin_of', 'recipe_of']

PAPER = """@inproceedings{yan2021fpnas,
  title={FP-NAS: Fast Probabilistic Neural Architecture Search},
  author={Yan, Zhicheng and Dai, Xiaoliang and Zhang, Peizhao and Tian, Yuandong and Wu, Bichen and Feiszli, Matt},
  booktitle={CVPR},
  year={2021}
}"""


def model_card(config: Mapping[str, Any], arch: Arch, repo_id: str, origin: str, license: str) -> str:
    """The text of a model's `README.md`.

    Args:
        config: the folder's `config.json`.
        arch: the network.
        repo_id: `ORG/NAME`.
        origin: a sentence that says where the architecture comes from.
        license: license of the weights.
    """
    cfg = config.get('pretrained_cfg', {})
    num_classes, (in_chans, height, width) = config['num_classes'], cfg['input_size']
    macs, params = cost(arch, height, num_classes, in_chans)
    metrics, recipe = metrics_of(config), recipe_of(config)
    details: dict[str, Any] = {
        'Architecture': f'`{arch}`',
        'Where it comes from': origin,
        'Model stats': {
            'Params (M)': f'{params / 1e6:.2f}',
            'Multiply-adds (M), convolutions and linear layers': f'{macs / 1e6:.1f}',
            'Image size': f'{height} x {width}, {in_chans} channels',
            'Classes': num_classes,
        },
    }
    if metrics:
        details['Measured'] = {name: f'{value:g}' for name, value in metrics.items()}
    if recipe:
        details['Training recipe'] = recipe
    return generate_readme(
        {
            'tags': ['image-classification', 'timm', 'fpnas_timm', 'neural-architecture-search'],
            'license': license,
            'description': (
                'An image classifier built with fpnas_timm, for timm.\n\n![The blocks of the network. Colour: kernel, '
                f'height: channels, hatching: non-linearity, number on top: splits]({PICTURE})'
            ),
            'details': details,
            'usage': _usage(repo_id, in_chans, height, width),
            'citation': PAPER,
        },
        repo_id.partition('/')[2],
    )


def _usage(repo_id: str, in_chans: int, height: int, width: int) -> str:
    return f"""```python
import timm, torch
import fpnas_timm  # registers the architecture

model = timm.create_model('hf-hub:{repo_id}', pretrained=True).eval()
data_config = timm.data.resolve_model_data_config(model)
transform = timm.data.create_transform(**data_config, is_training=False)
logits = model(torch.randn(1, {in_chans}, {height}, {width}))  # in place of transform(image).unsqueeze(0)
```

Other classes: `num_classes=N`. Feature maps: `features_only=True`."""


def origin_of(config: Mapping[str, Any], arch: Arch) -> str:
    """A sentence that says where an architecture comes from, derived from its string and `config.json`."""
    name = next((n for n, string in ARCHS.items() if string == str(arch)), None)
    if name:
        return (
            f'{name}, a reconstruction from Table B.1 of the FP-NAS paper: same budgets, but not the encoding of the '
            f'paper, which is not published'
        )
    search = config.get('search') or _training(config).get('search')
    if isinstance(search, Mapping):
        shown = ('space', 'target_macs', 'samples', 'weights')
        facts = '; '.join(f'{k.replace("_", " ")}: {search[k]}' for k in shown if search.get(k) is not None)
        return f'found by a search with fpnas_timm{f" ({facts})" if facts else ""}'
    return 'not recorded: a custom architecture string'


def metrics_of(config: Mapping[str, Any]) -> dict[str, float]:
    """Measured values by name: the numbers in `training.metrics` of a config, or in `training` if it has none.

    >>> metrics_of({'training': {'epochs': 30, 'top1': 91.5, 'ema': True}})
    {'top1': 91.5}
    """
    given = _training(config).get('metrics', _training(config))
    given = given if isinstance(given, Mapping) else {}
    return {str(k): v for k, v in given.items() if type(v) in (int, float) and k not in ('epoch', 'epochs', 'seed')}


def recipe_of(config: Mapping[str, Any]) -> str:
    """The name of the training recipe in a config, '' if it has none."""
    recipe = _training(config).get('recipe')
    return ' '.join(recipe.split()) if isinstance(recipe, str) else ''


def _training(config: Mapping[str, Any]) -> Mapping[str, Any]:
    training = config.get('training')
    return training if isinstance(training, Mapping) else {}
