"""Class weights and balanced sampling, against scikit-learn, torch and a computation by hand; files of weights."""
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from fpnas_timm.errors import UsageError
from fpnas_timm.runs.imbalance import (
    WeightedCrossEntropy,
    class_weights,
    count_classes,
    draw_balanced,
    read_class_weights,
)


@given(st.lists(st.integers(1, 50), min_size=2, max_size=8))
@settings(max_examples=50, deadline=None)
def test_balanced_is_scikit_learns(counts: list[int]) -> None:
    targets = np.repeat(np.arange(len(counts)), counts)
    expected = compute_class_weight('balanced', classes=np.arange(len(counts)), y=targets)
    assert class_weights('balanced', count_classes(targets, len(counts))) == pytest.approx(expected)
    assert sum(n * w for n, w in zip(counts, class_weights('balanced', counts))) == pytest.approx(sum(counts))


def test_by_hand() -> None:
    """Two classes, uniform logits: each image costs log 2 times its weight."""
    loss = WeightedCrossEntropy([0.5, 3.0])
    logits = torch.zeros(4, 2)
    assert loss(logits, torch.tensor([0, 0, 0, 1])).item() == pytest.approx((3 * 0.5 + 3.0) / 4 * math.log(2))
    mixed = torch.tensor([[0.75, 0.25]] * 4)
    assert loss(logits, mixed).item() == pytest.approx((0.75 * 0.5 + 0.25 * 3.0) * math.log(2))
    peaked = torch.tensor([[2.0, 0.0]])  # log p = -log(1 + e^-2) and -2 - log(1 + e^-2)
    p = math.log(1 + math.exp(-2))
    smoothed = WeightedCrossEntropy([0.5, 3.0], smoothing=0.2)(peaked, torch.tensor([1])).item()
    assert smoothed == pytest.approx(0.9 * 3.0 * (2 + p) + 0.1 * 0.5 * p)


@pytest.mark.parametrize('smoothing', [0.0, 0.1])
def test_over_all_images_it_is_torchs(smoothing: float) -> None:
    """Over the images that the weights come from; and in parts of any size it is the same sum, torch's is not."""
    generator = torch.Generator().manual_seed(0)
    target = torch.tensor([0] * 12 + [1] * 4 + [2] * 8)[torch.randperm(24, generator=generator)]
    logits = torch.randn(24, 3, generator=generator, dtype=torch.float64)
    weights = class_weights('balanced', count_classes(target.tolist(), 3))
    ours = WeightedCrossEntropy(weights, smoothing)
    torchs = torch.nn.CrossEntropyLoss(torch.tensor(weights), label_smoothing=smoothing)
    assert ours(logits, target).item() == pytest.approx(torchs(logits.float(), target).item(), rel=1e-6)
    parts = [ours(logits[i : i + 6], target[i : i + 6]).item() for i in range(0, 24, 6)]
    assert sum(parts) / 4 == pytest.approx(ours(logits, target).item(), rel=1e-6)
    soft = F.softmax(torch.randn(24, 3, generator=generator), 1)
    expected = torch.nn.CrossEntropyLoss(torch.tensor(weights))(logits.float(), soft)
    assert ours(logits, soft).item() == pytest.approx(expected.item(), rel=1e-6)


def test_weights_of_one_are_the_plain_loss() -> None:
    logits, target = torch.randn(8, 5), torch.arange(8) % 5
    weighted = WeightedCrossEntropy([1.0] * 5)(logits, target).item()
    assert weighted == pytest.approx(F.cross_entropy(logits, target).item())
    low = WeightedCrossEntropy([1.0] * 5)(logits.bfloat16(), target)
    assert low.dtype == torch.float32


@pytest.mark.parametrize(('name', 'text'), [
    ('w.json', '{"no": 1, "1": 4, "b,c": 2.5}'),
    ('w.yaml', '# weights\nno: 1\n1: 4\nb,c: 2.5\n'),
    ('w.yml', '{no: 1, 1: 4, "b,c": 2.5}'),
    ('w.csv', 'no,1\n1,4\n"b,c",2.5\n'),
    ('w.csv', '\ufeffclass,weight\r\nno, 1\r\n1,4\r\n\r\n"b,c",2.5\r\n'),
])
def test_files(tmp_path: Path, name: str, text: str) -> None:
    """Names are text, also where YAML has values of its own for them."""
    path = tmp_path / name
    path.write_text(text, encoding='utf-8')
    assert read_class_weights(path) == {'no': 1.0, '1': 4.0, 'b,c': 2.5}


def test_matched_by_name_and_scaled(tmp_path: Path) -> None:
    """By hand: 1 and 4 for 6 and 2 images have a mean of 14/8. The file may name classes that are not searched on."""
    path = tmp_path / 'w.json'
    path.write_text(json.dumps({'dog': 4, 'cat': 1, 'cow': 9}))
    assert class_weights(str(path), [6, 2], ['cat', 'dog'], ['cow']) == pytest.approx([8 / 14, 32 / 14])
    path.write_text(json.dumps({'dog': 400, 'cat': 100}))
    assert class_weights(str(path), [6, 2], ['cat', 'dog']) == pytest.approx([8 / 14, 32 / 14])
    assert class_weights(str(path), [6, 2, 0], ['cat', 'dog', 'cow']) == pytest.approx([8 / 14, 32 / 14, 8 / 1400])
    assert class_weights('balanced', [6, 2, 0]) == pytest.approx([8 / 12, 2, 1])


@pytest.mark.parametrize(('name', 'text', 'message'), [
    ('w.json', '{"cat": 1, "dgo": 2}', "has no class 'dgo'; did you mean dog"),
    ('w.json', '{"cat": 1, "dog": 2, "x": 1, "y": 1}', r"has no class 'x' \(nor 1 more\)"),
    ('w.yaml', 'cat: 1', "has no weight for class 'dog': expected one for each class with images, 2 in all"),
    ('w.json', '{"cat": 1, "cat": 2, "dog": 1}', 'appears twice'),
    ('w.yaml', 'cat: 1\ncat: 2\ndog: 1', "class 'cat' appears twice"),
    ('w.csv', 'cat,1\ncat,2', "class 'cat' appears twice"),
    ('w.json', '{"cat": 0, "dog": 1}', "class 'cat' has weight 0: expected a number above 0"),
    ('w.json', '{"cat": -1, "dog": 1}', 'expected a number above 0'),
    ('w.json', '{"cat": true, "dog": 1}', 'expected a number above 0'),
    ('w.json', '{"cat": null, "dog": 1}', 'expected a number above 0'),
    ('w.json', '{"cat": NaN, "dog": 1}', 'expected a number above 0'),
    ('w.json', '{"cat": [1], "dog": 1}', 'expected a number above 0'),
    ('w.json', f'{{"cat": 1{"0" * 400}, "dog": 1}}', 'expected a number above 0'),
    ('w.yaml', 'cat: inf\ndog: 1', 'expected a number above 0'),
    ('w.yaml', 'cat: many\ndog: 1', "class 'cat' has weight 'many'"),
    ('w.yaml', 'cat: {a: 1}', 'not a mapping of names to numbers'),
    ('w.yaml', '- 1\n- 2', 'not a mapping of names to numbers'),
    ('w.yaml', 'cat: [', 'expected class names with one weight each'),
    ('w.yaml', '[' * 5000, 'expected class names with one weight each'),
    ('w.json', '[' * 100_000, 'expected class names with one weight each'),
    ('w.json', '[1, 2]', 'not a JSON object'),
    ('w.json', '', 'not JSON'),
    ('w.yaml', '', 'is empty'),
    ('w.csv', 'class,weight\n', 'is empty'),
    ('w.csv', 'cat\ndog', 'row 1 has 1 columns, not 2'),
    ('w.csv', 'cat,1\nname,dog', "class 'name' has weight 'dog'"),
    ('w.csv', '"cat,1', 'expected class names with one weight each'),
    ('w.txt', 'cat 1', r"expected 'balanced', or a file that ends in \.json, \.yaml, \.yml or \.csv"),
])
def test_files_that_are_wrong(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UsageError, match=message) as raised:
        class_weights(str(path), [6, 2], ['cat', 'dog'])
    assert str(raised.value).startswith(f'--class-weights {path}: ')
    assert '\n' not in str(raised.value)


def test_no_file_and_no_names(tmp_path: Path) -> None:
    for name, message in (('none.json', 'cannot be read .No such file'), ('balance', "expected 'balanced', or a file")):
        with pytest.raises(UsageError, match=message):
            class_weights(name, [1, 2], ['a', 'b'])
    (tmp_path / 'w.json').write_bytes(b'\xff\xfe')
    with pytest.raises(UsageError, match='not text'):
        class_weights(str(tmp_path / 'w.json'), [1, 2], ['a', 'b'])
    with pytest.raises(UsageError, match='the data has no class names'):
        class_weights('w.json', [1, 2])


def test_every_class_is_drawn_equally_often() -> None:
    """90, 9 and 1 images: each class within four standard deviations of a third, and each image of a class too."""
    targets = [0] * 90 + [2] * 9 + [1]
    drawn = draw_balanced(targets, 30_000, np.random.default_rng(0))
    counts = np.bincount([targets[i] for i in drawn])
    assert abs(counts - 10_000).max() < 4 * math.sqrt(30_000 * 2 / 9)
    images = np.bincount(drawn, minlength=100)
    assert abs(images[90:99] - 10_000 / 9).max() < 4 * math.sqrt(10_000 / 9)
    assert images[99] == counts[1]
    assert drawn == draw_balanced(targets, 30_000, np.random.default_rng(0))
