"""A run's best weights as a `local-dir:` folder: timm's own format, with the string, the metrics and the recipe."""
import argparse
import json
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from timm.layers import SplitBatchNorm2d
from timm.models import clean_state_dict, save_for_hf
from torch import nn

from .checkpoints import read_training_checkpoint
from .errors import RunError
from .model import FPNAS

__all__ = ['export_best', 'export_model']

_logger = logging.getLogger('train')


def export_best(
        model: nn.Module,
        folder: Path,
        args: argparse.Namespace,
        history: Sequence[Mapping[str, Any]],
        data_config: Mapping[str, Any],
        label_names: Sequence[str],
) -> None:
    """Export a run's best checkpoint, if there is one, as `folder/export`.

    Args:
        model: a network of the run's architecture, not used by anyone else: it gets the best weights.
        folder: of the run.
        args: the run's options.
        history: its rows; that of the best epoch has the metrics.
        data_config: as for `export_model`.
        label_names: as for `export_model`.
    """
    best = folder / 'model_best.pth.tar'
    if not best.exists():
        return
    state = read_training_checkpoint(best)
    ema = 'state_dict_ema' in state and not args.model_ema_force_cpu  # only there it was the average that was validated
    model.load_state_dict(clean_state_dict(state['state_dict_ema' if ema else 'state_dict']))
    row = next((r for r in history if r['epoch'] == state['epoch']), {})
    metrics = {k.removeprefix('eval_'): v for k, v in row.items() if k.startswith('eval_')}
    training = {
        'recipe': args.recipe,
        'epoch': state['epoch'] + 1,
        'epochs': args.epochs,
        **metrics,
        'train_loss': row.get('train_loss'),
        'ema': ema,
        'seed': args.seed,
    }
    export_model(model, folder / 'export', data_config, label_names, training)
    shown = ', '.join(f'{k} {v:.5g}' for k, v in metrics.items())
    _logger.info(f'best: epoch {training["epoch"]} ({shown}), as local-dir:{folder / "export"}')


def export_model(
        model: nn.Module,
        folder: Path,
        data_config: Mapping[str, Any],
        label_names: Sequence[str],
        training: Mapping[str, Any],
) -> None:
    """Write `folder/config.json` and `folder/model.safetensors`; a folder that was there is replaced as a whole.

    A network of this package is written as `fpnas` with its architecture string, whatever name it was made by: a name
    is a reconstruction and may change, a string cannot.

    Args:
        model: the network with the weights to export; changed in place.
        folder: where to.
        data_config: of timm's `resolve_data_config`: input size, crop, mean and standard deviation.
        label_names: names of the classes, in order; empty if unknown.
        training: goes into `config.json` as `training`.

    Raises:
        RunError: it cannot be written.
    """
    config: dict[str, Any] = {'training': dict(training)}
    if label_names:
        config['label_names'] = list(label_names)
    model_args = None
    if isinstance(model, FPNAS):
        config['pretrained_cfg'] = {'architecture': 'fpnas'}
        model_args = {'arch': str(model.arch)}
    model = model.to(memory_format=torch.contiguous_format)  # safetensors takes no other
    for module in model.modules():
        if isinstance(module, SplitBatchNorm2d):  # its first batch norm is the one for inference
            module.aux_bn = nn.ModuleList()
    keys = ('input_size', 'interpolation', 'mean', 'std', 'crop_pct', 'crop_mode')
    temporary = folder.with_name(f'.{folder.name}.{os.getpid()}.tmp')
    try:
        save_for_hf(
            model,
            str(temporary),
            model_config=config,
            model_args=model_args,
            safe_serialization=True,
            data_config={k: data_config[k] for k in keys if k in data_config},
        )
        _drop_doubled_num_classes(temporary / 'config.json')
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    except (OSError, SafetensorError) as e:
        raise RunError(f'{folder}: cannot be written ({e}); the checkpoints are kept') from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _drop_doubled_num_classes(config_file: Path) -> None:
    """timm writes it into `model_args` too, and transformers' TimmWrapper does not take it twice."""
    config = json.loads(config_file.read_text(encoding='utf-8'))
    if config.get('model_args', {}).pop('num_classes', None) is not None:
        config_file.write_text(json.dumps(config, indent=2), encoding='utf-8')
