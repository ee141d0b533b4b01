"""The paper's recipes as data (Tables C.2, C.3 and B.1), and the YAML files written from it.

    python -m fpnas_timm.recipes    # writes the files again; a test compares them with this table

The paper states the four toggles and which models it distils. All else is our choice, with its source.
"""
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..paper import C2_TOGGLES, TABLE_B1, TABLE_C2, TABLE_C3

__all__ = ['ALIASES', 'FILES', 'RecipeFile', 'write_files']

Lines = tuple[tuple[str, Any, str], ...]  # option, value, comment

TOGGLES: dict[str, Lines] = {
    'ls': (('smoothing', 0.1, 'LS, reference [4]; 0.1 is the value in that paper (arXiv:1512.00567, section 7)'),),
    'aa': (('aa', 'original', 'AA, reference [1]: the ImageNet policy printed in that paper (arXiv:1805.09501)'),),
    'ema': (
        ('model_ema', True, 'EMA, reference [6] (EfficientNet)'),
        ('model_ema_decay', 0.9999, "our choice: the decay of EfficientNet's code and of timm's EfficientNet recipes"),
    ),
    'sd': (('drop_path', 0.2, 'SD, reference [3]; 0.2 is our choice: EfficientNet keeps 0.8 (arXiv:1905.11946)'),),
}
MNASNET = 'MnasNet (arXiv:1807.11626, section 5) and EfficientNet (arXiv:1905.11946, section 5.2)'
TRAINING: Lines = (
    ('epochs', 350, "EfficientNet's code"),
    ('opt', 'rmsproptf', f'{MNASNET}: RMSProp, decay 0.9'),
    ('momentum', 0.9, 'the same'),
    ('opt_eps', 0.001, "EfficientNet's code"),
    ('weight_decay', 0.00001, f'{MNASNET}'),
    ('lr_base', 0.016, 'the same: 0.256 at a batch of 4096, scaled to the global batch'),
    ('lr_base_size', 256, 'the batch that lr_base is for'),
    ('sched', 'step', 'the same: 0.97 every 2.4 epochs'),
    ('decay_epochs', 2.4, ''),
    ('decay_rate', 0.97, ''),
    ('warmup_epochs', 5, 'MnasNet: from (nearly) 0 in the first 5 epochs'),
    ('warmup_lr', 0.000001, "timm's EfficientNet recipes"),
    ('batch_size', 128, "images a process; the paper trains on 64 GPUs and prints no batch size; timm's default"),
    ('drop', 0.2, "as MnasNet and EfficientNet-B0; the same in all rows, so that they differ by the toggles alone"),
    ('color_jitter', 0.0, 'off in every row, so that rows without AA differ from those with it by AA alone'),
)
DISTILLATION: Lines = (
    ('kd_model_name', 'regnety_160.deit_in1k',
     "the paper names no teacher: this one is DeiT's (arXiv:2012.12877), trained on ImageNet-1K alone"),
    ('kd_distill_type', 'logit', 'the paper cites Hinton et al. (arXiv:1503.02531): logits'),
    ('kd_temperature', 3.0, "DeiT's soft distillation: temperature 3, weight of the labels 0.9"),
    ('task_loss_weight', 0.9, ''),
)


@dataclass(frozen=True)
class RecipeFile:
    """A YAML file of options: its name, what it is, and the options in groups under a heading each."""

    name: str
    title: str
    groups: tuple[tuple[str, Lines], ...]
    model: str = ''
    top1: float | None = None
    table: str = ''
    toggles: str = field(default='')
    distilled: bool = False

    def options(self) -> dict[str, Any]:
        """Option -> value, as the YAML file has them."""
        model = {'model': self.model} if self.model else {}
        return {
            'device_modules': ['fpnas_timm'],
            **model,
            **{key: value for _, lines in self.groups for key, value, _ in lines},
        }

    def text(self) -> str:
        """The YAML file."""
        out = [f'# {line}' for line in self.title.split('\n')]
        out += ['# generated from recipes/table.py; do not edit', '']
        out += ['device_modules: [fpnas_timm]']
        if self.model:
            out += [f'model: {self.model}']
        for heading, lines in self.groups:
            out += ['', f'# {heading}']
            for key, value, comment in lines:
                shown = str(value).lower() if isinstance(value, bool) else _number(value)
                out.append(f'{key}: {shown}' + (f'  # {comment}' if comment else ''))
        return '\n'.join(out) + '\n'


def _number(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f'{value:.10f}'.rstrip('0') + ('0' if value == int(value) else '')  # never 1e-05, which YAML reads as text


def _groups(toggles: str, distilled: bool = False) -> tuple[tuple[str, Lines], ...]:
    stated = tuple(line for toggle in toggles.split('+') for line in TOGGLES[toggle])
    out = [(f'The paper states these toggles (section C): {toggles.upper().replace("+", ", ")}.', stated)]
    if distilled:
        heading = 'The paper states that this model is distilled (Table B.1), and nothing else about it.'
        out.append((heading, DISTILLATION))
    out.append(('The paper states nothing of what follows. It is our choice, from the sources named.', TRAINING))
    return tuple(out)


def _label(model: str) -> str:
    return f'FP-NAS-{model.removeprefix("fpnas_").upper().replace("PP", "++")}'


def _of_model(name: str, model: str, toggles: str, top1: float, table: str, distilled: bool = False) -> RecipeFile:
    title = (
        f'{_label(model)}, trained with {toggles.upper().replace("+", ", ")}'
        f'{" and distillation" if distilled else ""}: {top1} % top-1 in the paper ({table}).\n'
        'Our network is a reconstruction, and no accuracy of it on ImageNet has been measured.\n'
        f'    python train.py --recipe {name} --data-dir DIR'
    )
    return RecipeFile(name, title, _groups(toggles, distilled), model, top1, table, toggles, distilled)


def _final(model: str) -> RecipeFile:
    """The recipe of a model's row in Table B.1: distilled where the table has an accuracy with distillation."""
    row = TABLE_B1[model]
    toggles = TABLE_C3['fpnas_small' if model.startswith('fpnas_s') else 'fpnas_large']
    top1 = row.top1_distilled or row.top1
    assert top1 is not None
    return _of_model(model, model, toggles, top1, 'Table B.1', distilled=row.top1_distilled is not None)


def _of_any_model(toggles: str) -> RecipeFile:
    rows = ', '.join(row for row, t in TABLE_C3.items() if t == toggles)
    title = (
        f'Any model, trained with {toggles.upper().replace("+", ", ")}: Table C.3, rows {rows}.\n'
        f'    python train.py --recipe {toggles} --model MODEL --data-dir DIR'
    )
    return RecipeFile(toggles, title, _groups(toggles), table='Table C.3', toggles=toggles)


FINETUNING = (
    RecipeFile(
        'finetune/sgd',
        'Fine-tuning of all weights on another data set. Not from the paper.\n'
        '    python train.py --recipe finetune/sgd --model local-dir:RUN/export --pretrained --num-classes N '
        '--data-dir DIR',
        ((
            'After Kornblith et al. (arXiv:1805.08974): SGD with Nesterov momentum, cosine schedule.',
            (
                ('epochs', 50, 'enough for some thousand images; fewer for more'),
                ('opt', 'sgd', "timm's sgd is Nesterov's"),
                ('momentum', 0.9, ''),
                ('weight_decay', 0.00004, 'our choice'),
                ('lr_base', 0.01, 'at a batch of 256; within the grid that they search'),
                ('sched', 'cosine', ''),
                ('warmup_epochs', 2, 'our choice: the new classifier is random'),
                ('warmup_lr', 0.00001, ''),
                ('batch_size', 64, 'our choice: small data sets'),
                ('smoothing', 0.1, 'as in training'),
                ('drop', 0.2, 'as in training'),
                ('scale', [0.5, 1.0], 'our choice: milder crops than in training'),
                ('color_jitter', 0.0, ''),
            ),
        ),),
        table='ours',
    ),
    RecipeFile(
        'finetune/layer_decay',
        'Fine-tuning with learning rates that shrink from the head to the stem. Not from the paper.\n'
        '    python train.py --recipe finetune/layer_decay --model local-dir:RUN/export --pretrained --num-classes N '
        '--data-dir DIR',
        ((
            'After BEiT (arXiv:2106.08254) and ConvNeXt (arXiv:2201.03545): AdamW, layer-wise decay, EMA.',
            (
                ('epochs', 30, ''),
                ('opt', 'adamw', ''),
                ('weight_decay', 0.05, 'as BEiT'),
                ('lr_base', 0.0005, 'at a batch of 256, scaled with its square root'),
                ('layer_decay', 0.8, 'a factor a block, from the head down; ConvNeXt uses 0.7 to 0.9'),
                ('sched', 'cosine', ''),
                ('min_lr', 0.000001, ''),
                ('warmup_epochs', 3, 'our choice: the new classifier is random'),
                ('warmup_lr', 0.000001, ''),
                ('batch_size', 64, 'our choice: small data sets'),
                ('smoothing', 0.1, 'as in training'),
                ('drop', 0.2, 'as in training'),
                ('scale', [0.5, 1.0], 'our choice: milder crops than in training'),
                ('color_jitter', 0.0, ''),
                ('model_ema', True, 'ConvNeXt'),
                ('model_ema_decay', 0.998, 'our choice: fewer updates than in training'),
                ('model_ema_warmup', True, ''),
            ),
        ),),
        table='ours',
    ),
)

FILES: dict[str, RecipeFile] = {
    recipe.name: recipe
    for recipe in (
        *(
            _of_model(f'{model}/{toggles}', model, toggles, top1, 'Table C.2')
            for model, row in TABLE_C2.items()
            for toggles, top1 in zip(C2_TOGGLES, row)
        ),
        *map(_final, ('fpnas_s2pp', 'fpnas_s3pp', 'fpnas_l1', 'fpnas_l2')),
        *map(_of_any_model, C2_TOGGLES),
        *FINETUNING,
    )
}
# Other names of the same files: the final recipe of a model of Table C.2, and the rows of Table C.3.
ALIASES: dict[str, str] = {
    'fpnas_s1pp': 'fpnas_s1pp/ls+aa+ema',
    'fpnas_s4pp': 'fpnas_s4pp/ls+aa+ema',
    'fpnas_l0': 'fpnas_l0/ls+aa+ema+sd',
    **{f'table_c3/{row}': toggles for row, toggles in TABLE_C3.items()},
}


def write_files(folder: Path) -> None:
    """Write every recipe as `folder/NAME.yaml`."""
    for recipe in FILES.values():
        path = folder / f'{recipe.name}.yaml'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(recipe.text(), encoding='utf-8')
