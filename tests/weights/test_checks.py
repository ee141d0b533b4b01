"""Files of weights: hash, size and shapes are compared before timm reads them."""
import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.models import save_for_hf

import fpnas_timm  # noqa: F401
from fpnas_timm.errors import RunError, UsageError
from fpnas_timm.weights.checks import check_file, sha256_of
from fpnas_timm.weights.folder import check_empty, drop_doubled_num_classes, read_config
from tests.weights.test_manifest import ARCH

CFG = {'num_classes': 4, 'input_size': (3, 32, 32)}


@pytest.fixture(scope='module')
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('saved')
    save_for_hf(timm.create_model('fpnas', arch=ARCH, num_classes=4), folder, safe_serialization=True)
    return folder / 'model.safetensors'


def test_sha256_is_that_of_hashlib(saved: Path) -> None:
    assert sha256_of(saved) == hashlib.sha256(saved.read_bytes()).hexdigest()


def test_good_weights_pass(saved: Path, tmp_path: Path) -> None:
    check_file(saved, CFG, ARCH)
    check_file(saved, CFG, ARCH, sha256_of(saved))
    wrapped = {f'module.{name}': t.double() for name, t in load_file(saved).items()}  # from DDP, in the widest type
    save_file(wrapped, tmp_path / 'wrapped.safetensors')
    check_file(tmp_path / 'wrapped.safetensors', CFG, ARCH)


def test_weights_of_something_else_are_refused(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match='the manifest says 0000'):
        check_file(saved, CFG, ARCH, '0' * 64)
    with pytest.raises(RunError, match='of another architecture'):
        check_file(saved, CFG, ARCH.replace('c24', 'c40'))
    with pytest.raises(RunError, match='has 4 classes, and its config says 5'):
        check_file(saved, {**CFG, 'num_classes': 5}, ARCH)
    check_file(saved, {**CFG, 'num_classes': -1}, ARCH)  # train --pretrained-path FILE, with a new classifier
    for num_classes in (-2, 10**7, '4', None, True):
        with pytest.raises(RunError, match='its config says'):
            check_file(saved, {**CFG, 'num_classes': num_classes}, ARCH)
    save_file({**load_file(saved), 'more': torch.zeros(1 << 20)}, tmp_path / 'large.safetensors')
    with pytest.raises(RunError, match='bytes, and the weights of this network are at most'):
        check_file(tmp_path / 'large.safetensors', CFG, ARCH)
    (tmp_path / 'short.safetensors').write_bytes(saved.read_bytes()[:-10])
    with pytest.raises(RunError, match='damaged or no safetensors') as e:
        check_file(tmp_path / 'short.safetensors', CFG, ARCH)
    assert '\n' not in str(e.value)


COUNTER = 'stem.bn.num_batches_tracked'


@pytest.mark.parametrize('change, words', [
    (lambda t: t.pop('classifier.bias'), '1 tensors of this network are missing, such as classifier.bias'),
    (lambda t: [t.pop(k) for k in [*t] if k.endswith('bn.bias')], 'tensors of this network are missing'),
    (lambda t: t.update(more=torch.zeros(1)), "1 tensors are not of this network, such as 'more'"),
    (lambda t: t.update({'classifier.bias': torch.zeros(5)}), 'classifier.bias is (5,), expected (4,)'),
    (lambda t: t.update({'classifier.weight': torch.zeros(4, 64)}), 'classifier.weight is (4, 64), expected (4, 32)'),
    (lambda t: t.update({'classifier.weight': torch.tensor(1.0)}), 'classifier.weight is (), expected (4, 32)'),
    (lambda t: t.update({'stem.bn.weight': torch.zeros(9)}), 'stem.bn.weight is (9,) in the weights'),
    (lambda t: t.update({'module.stem.bn.weight': torch.ones(8)}), 'some tensors are there twice'),
    *((lambda t, d=d: t.update({'classifier.weight': t['classifier.weight'].to(d)}), f'is of type {name}: weights are')
      for d, name in ((torch.int64, 'I64'), (torch.bool, 'BOOL'), (torch.uint8, 'U8'), (torch.complex64, 'C64'),
                      (torch.float8_e4m3fn, 'F8_E4M3'), (torch.float8_e5m2, 'F8_E5M2'))),
    (lambda t: t.update({COUNTER: torch.tensor(True)}), f'{COUNTER} is of type BOOL'),
    (lambda t: t.pop(COUNTER), ''),
    (lambda t: t.update({k: v.half() for k, v in t.items()}), ''),
    (lambda t: t.update({k: v.bfloat16() for k, v in t.items()}), ''),
])
def test_the_tensors_are_those_of_the_network(
        saved: Path, tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], object], words: str
) -> None:
    """Every one, of a float type: timm would convert the others without a word, and skip what it does not need."""
    tensors = load_file(saved)
    change(tensors)
    save_file(tensors, tmp_path / 'model.safetensors')
    (tmp_path / 'config.json').write_bytes((saved.parent / 'config.json').read_bytes())
    for classes in (4, 7):  # with another number of classes, timm reads what fits
        create = partial(timm.create_model, f'local-dir:{tmp_path}', pretrained=True, num_classes=classes)
        if words:
            with pytest.raises(RunError) as e:
                create()
            assert words in str(e.value) and '\n' not in str(e.value)
        else:
            assert torch.equal(create().stem.conv.weight, tensors['stem.conv.weight'].float())


def test_headers_that_lie(saved: Path, tmp_path: Path) -> None:
    """Sizes and offsets of a safetensors header that do not fit its file."""
    path, data = tmp_path / 'lie.safetensors', saved.read_bytes()
    length = int.from_bytes(data[:8], 'little')
    for bad in (
        (2**63).to_bytes(8, 'little') + data[8:], data[:8] + b'[' * length, b'', data[:7], data + b'x',
        data.replace(b'"F32"', b'"X99"', 1), data.replace(b'data_offsets":[0', b'data_offsets":[9', 1),
    ):
        path.write_bytes(bad)
        with pytest.raises(RunError, match='damaged or no safetensors'):
            check_file(path, CFG, ARCH)


def test_a_state_dict_in_a_config_brings_no_pickle_in(saved: Path, tmp_path: Path) -> None:
    config = json.loads((saved.parent / 'config.json').read_text())
    config['pretrained_cfg']['state_dict'] = {'a': 1}
    (tmp_path / 'config.json').write_text(json.dumps(config))
    torch.save(load_file(saved), tmp_path / 'pytorch_model.bin')
    with pytest.raises(UsageError, match='pretrained_cfg has an entry state_dict, which names other weights'):
        timm.create_model(f'local-dir:{tmp_path}', pretrained=True)
    weights = load_file(saved)  # of the caller, in memory: timm's API
    overlay = {'state_dict': weights, 'num_classes': 4}
    model = timm.create_model('fpnas', arch=ARCH, num_classes=4, pretrained=True, pretrained_cfg_overlay=overlay)
    assert torch.equal(model.classifier.bias, weights['classifier.bias'])


def test_a_folder_with_a_pickle_alone_is_refused(tmp_path: Path) -> None:
    save_for_hf(timm.create_model('fpnas', arch=ARCH), tmp_path, safe_serialization=False)
    with pytest.raises(RuntimeError, match=r'holds no model\.safetensors; weights are read from safetensors only'):
        timm.create_model(f'local-dir:{tmp_path}', pretrained=True)


def test_num_classes_stands_in_the_config_once(saved: Path) -> None:
    """timm's own writer doubles it; if this fails, the helper has nothing left to do."""
    config = read_config(saved.parent)
    assert config['num_classes'] == config['model_args']['num_classes'] == 4
    dropped = drop_doubled_num_classes(config)
    assert dropped['model_args'].keys() == config['model_args'].keys() - {'num_classes'} and dropped['num_classes'] == 4
    assert drop_doubled_num_classes({'num_classes': 4}) == {'num_classes': 4}


def test_check_empty(tmp_path: Path) -> None:
    assert check_empty(tmp_path) == tmp_path and check_empty(str(tmp_path / 'new')) == tmp_path / 'new'
    assert not (tmp_path / 'new').exists()
    (tmp_path / 'file').touch()
    for path in (tmp_path, tmp_path / 'file'):
        with pytest.raises(UsageError, match='not empty'):
            check_empty(path)
