"""Files of weights: hash, size and shapes are compared before timm reads them."""
import hashlib
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
    for num_classes in (-1, 10**7, '4', None, True):
        with pytest.raises(RunError, match='its config says'):
            check_file(saved, {**CFG, 'num_classes': num_classes}, ARCH)
    save_file({**load_file(saved), 'more': torch.zeros(1 << 20)}, tmp_path / 'large.safetensors')
    with pytest.raises(RunError, match='bytes, and the weights of this network are at most'):
        check_file(tmp_path / 'large.safetensors', CFG, ARCH)
    (tmp_path / 'short.safetensors').write_bytes(saved.read_bytes()[:-10])
    with pytest.raises(RunError, match='damaged or no safetensors') as e:
        check_file(tmp_path / 'short.safetensors', CFG, ARCH)
    assert '\n' not in str(e.value)


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
