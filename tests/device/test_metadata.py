"""What a file says of itself: text and back, and files of others."""
import json
from typing import Any

import pytest

from fpnas_timm.device.metadata import Metadata, read_metadata
from fpnas_timm.errors import UsageError

CONFIG = dict(input_size=[3, 32, 32], interpolation='bicubic', crop_pct=0.9, crop_mode='center', mean=[0.5] * 3,
              std=[0.2] * 3)
ONE = Metadata('run', '', 2, ['cat', 'dog'], CONFIG, 'RGB', batch_size=1, versions={'torch': '2.14.1'})


def test_round_trip() -> None:
    assert read_metadata(ONE.to_json(), 'x.onnx') == ONE
    assert [ONE.label(1), Metadata('run', '', 2, [], CONFIG, 'RGB').label(1)] == ['dog', 'class 1']


@pytest.mark.parametrize('changes', [
    {'num_classes': 3}, {'num_classes': '2'}, {'label_names': [1, 2]}, {'precision': 'float16'}, {'img_mode': 'L'},
    {'batch_size': 0}, {'batch_size': True}, {'preprocessing': 1}, {'more': 1},
    {'data_config': {**CONFIG, 'std': [0, 1, 1]}}, {'data_config': {**CONFIG, 'mean': [0.5]}},
    {'data_config': {**CONFIG, 'input_size': [3, 32, -1]}}, {'data_config': {**CONFIG, 'interpolation': 'magic'}},
    {'data_config': {k: v for k, v in CONFIG.items() if k != 'crop_pct'}},
], ids=str)
def test_text_of_others(changes: dict[str, Any]) -> None:
    text = json.dumps({**json.loads(ONE.to_json()), **changes})
    with pytest.raises(UsageError, match=r'^x\.onnx: its metadata') as e:
        read_metadata(text, 'x.onnx')
    assert '\n' not in str(e.value)


@pytest.mark.parametrize('text', ['[]', 'null', '{', '{"model": 1, "model": 2}', '"\\ud800"'])
def test_no_metadata_at_all(text: str) -> None:
    with pytest.raises(UsageError, match=r'x\.onnx: its metadata'):
        read_metadata(text, 'x.onnx')
