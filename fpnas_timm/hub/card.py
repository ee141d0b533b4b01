"""The model card: origin of the network, budgets, measurements and usage.

Collects the facts from which timm's `generate_readme` writes the text and huggingface_hub's `ModelCardData` the
metadata, with the evaluation results (`model-index`).
"""
import re
from collections.abc import Mapping
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from timm.models._hub import generate_readme

from ..arch import Arch
from ..arch.cost import cost
from ..weights.config_checks import cost_args
from ..weights.folder import PICTURE, initial_weights
from ..weights.recorded import is_multilabel
from ..zoo.strings import ARCHS

__all__ = ['metrics_of', 'model_card', 'origin_of', 'recipe_of']

METRICS = {'top1': 'accuracy', 'top5': 'top_5_accuracy'}  # name here -> the Hub's type of metric
SETTINGS = ('epoch', 'epochs', 'seed', 'val_fraction', 'val_seed', 'val_images')  # numbers that are no metrics
SEVERAL_LABELS = ' An image may have several labels: the probability of each is the sigmoid of its logit.'
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
    macs, params = cost(arch, (height, width), num_classes, in_chans, **cost_args(config.get('model_args', {})))
    metrics, recipe, mode = metrics_of(config), recipe_of(config), config.get('input_img_mode')
    details: dict[str, Any] = {
        'Architecture': f'`{arch}`',
        'Where it comes from': origin,
        'Model stats': {
            'Params (M)': f'{params / 1e6:.2f}',
            'Multiply-adds (M), convolutions and linear layers': f'{macs / 1e6:.1f}',
            'Image size': f'{height} x {width}, {in_chans} channels{f" ({mode})" if isinstance(mode, str) else ""}',
            'Classes': num_classes,
        },
    }
    if metrics:
        details['Measured'] = {name: f'{value:g}' for name, value in metrics.items()}
    if recipe:
        details['Training recipe'] = recipe
    if start := initial_weights(config):
        details['Weights started from'] = f'{start["name"]} (license: {start["license"] or "not recorded"})'
    text = generate_readme(
        {
            'description': (
                'An image classifier built with fpnas_timm, for timm.\n\n![The blocks of the network. Colour: kernel, '
                f'height: channels, hatching: non-linearity, number on top: splits]({PICTURE})'
            ),
            'details': details,
            'usage': _usage(repo_id, in_chans, height, width) + SEVERAL_LABELS * is_multilabel(config),
            'citation': PAPER,
        },
        repo_id.partition('/')[2],
    )
    data = ModelCardData(
        license=license,
        library_name='timm',
        pipeline_tag='image-classification',
        tags=['image-classification', 'timm', 'fpnas_timm', 'neural-architecture-search'],
        model_name=repo_id.partition('/')[2],
        eval_results=_eval_results(config),
    )
    return str(ModelCard(f'---\n{data.to_yaml()}\n---\n{ModelCard(text).text.lstrip()}'))


def _eval_results(config: Mapping[str, Any]) -> list[EvalResult] | None:
    """The metrics on the validation images, for the Hub's `model-index`; None if there are none."""
    training = _training(config)
    dataset = training.get('dataset')
    name = dataset if isinstance(dataset, str) and dataset else 'not recorded'
    split = f'{training["val_fraction"]:g} of train' if 'val_fraction' in training else 'validation'
    return [
        EvalResult(
            task_type='image-classification',
            task_name='Image Classification',
            dataset_type=re.sub('[^a-z0-9]+', '-', name.lower()).strip('-') or 'unknown',
            dataset_name=name,
            dataset_split=split,
            metric_type=METRICS.get(metric, metric),
            metric_name=metric,
            metric_value=value,
        )
        for metric, value in metrics_of(config).items() if metric != 'train_loss'
    ] or None


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
        shown = ('space', 'target_macs', 'target_params', 'target_latency', 'samples', 'weights', 'date')
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
    return {str(k): v for k, v in given.items() if type(v) in (int, float) and k not in SETTINGS}


def recipe_of(config: Mapping[str, Any]) -> str:
    """The name of the training recipe in a config, '' if it has none."""
    recipe = _training(config).get('recipe')
    return ' '.join(recipe.split()) if isinstance(recipe, str) else ''


def _training(config: Mapping[str, Any]) -> Mapping[str, Any]:
    training = config.get('training')
    return training if isinstance(training, Mapping) else {}
