"""A model's folder as `--model local-dir:` and its weights as `--pretrained-path`."""
import json
from pathlib import Path

import pytest
import timm
import torch
from timm.models import save_for_hf

from fpnas_timm.errors import UsageError
from fpnas_timm.train.network import NetworkConfig, create_network

from .common import ARCH


@pytest.mark.parametrize('text, words', [
    ('[' * 100_000, 'not JSON that can be used: nested too deeply'), ('{', 'not JSON: '),
    (json.dumps({'num_classes': 3}), "not timm's format"),
    (json.dumps({'architecture': 'fpnas', 'num_classes': 3, 'pretrained_cfg': {'input_size': 5}}), 'input_size is 5'),
    (json.dumps({
        'architecture': 'fpnas', 'num_classes': 3, 'pretrained_cfg': {'input_size': [3, 32, 32]},
        'model_args': {'arch': ARCH, 'pretrained': 1},
    }), "unknown entry 'pretrained'"),
])
def test_a_config_that_timm_cannot_use(text: str, words: str, tmp_path: Path) -> None:
    """timm reads it itself, and raises errors of many kinds."""
    (tmp_path / 'config.json').write_text(text)
    with pytest.raises(UsageError) as e:
        create_network(NetworkConfig(f'local-dir:{tmp_path}', pretrained=True))
    assert f'--model local-dir:{tmp_path}: {tmp_path}/config.json: ' in str(e.value) and words in str(e.value)
    assert '\n' not in str(e.value)


def test_weights_of_a_folder_with_a_new_classifier(tmp_path: Path) -> None:
    """`--pretrained-path model.safetensors`: timm's number of classes for it is -1."""
    saved = timm.create_model('fpnas', arch=ARCH, num_classes=3)
    save_for_hf(saved, tmp_path, safe_serialization=True)
    path = str(tmp_path / 'model.safetensors')
    model = create_network(NetworkConfig('fpnas', {'arch': ARCH}, num_classes=5, pretrained_path=path))
    assert torch.equal(model.state_dict()['stem.conv.weight'], saved.stem.conv.weight)
    assert model.state_dict()['classifier.weight'].shape[0] == 5
