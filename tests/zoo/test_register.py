"""`register_arch`: models with a name of the user's own."""
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models import save_for_hf

import fpnas_timm
import fpnas_timm.zoo.models as module
from fpnas_timm.cli.describe import info_main
from fpnas_timm.errors import UsageError
from fpnas_timm.weights.checks import sha256_of
from fpnas_timm.weights.manifest import ManifestEntry
from fpnas_timm.zoo import register_arch, resolve_arch

ARCH = 'i32-cn_r1_k3_s2_c8_nsw-ir_r1_k3_s2_e3_c16_nre_sp2-ir_r1_k5_s1_e2_c24_nsw_sp1-cn_r1_k1_s1_c32_nsw'


def test_register_arch(tmp_path: Path) -> None:
    register_arch('test_own_net', ARCH.replace('r1_', ''), description='For a test.')
    assert timm.list_models('test_own*') == ['test_own_net']
    model = timm.create_model('test_own_net', num_classes=5).eval()
    assert str(model.arch) == ARCH and model.pretrained_cfg['description'] == 'For a test.'
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 5)
    assert resolve_arch('test_own_net') == (model.arch, 'test_own_net')
    assert len(timm.create_model('test_own_net', features_only=True).feature_info) == 2
    with pytest.raises(RuntimeError, match='No pretrained weights exist for test_own_net: none are published'):
        timm.create_model('test_own_net', pretrained=True)
    save_for_hf(model, tmp_path, safe_serialization=True)
    sha256, about = sha256_of(tmp_path / 'model.safetensors'), dict(metrics={}, recipe='none', license='mit')
    place = dict(folder=str(tmp_path), pretrained_cfg={'num_classes': 5})
    weights = [ManifestEntry(f'test_own_net.{tag}', sha256, **about, **place) for tag in ('a', 'b')]
    with pytest.warns(UserWarning, match='Overwriting'):  # timm says so; a notebook's cell may run twice
        register_arch('test_own_net', ARCH, weights)
    assert timm.list_models('test_own*', pretrained=True) == ['test_own_net.a', 'test_own_net.b']
    x = torch.randn(2, 3, 32, 32)
    for name in ('test_own_net', 'test_own_net.b', f'local-dir:{tmp_path}'):
        assert torch.equal(timm.create_model(name, pretrained=True).eval()(x), model(x))
    with pytest.raises(RuntimeError, match=r'test_own_net\.c: there are test_own_net\.a, test_own_net\.b\.'):
        timm.create_model('test_own_net.c', pretrained=True)


def test_info_of_a_model_that_is_not_square(capsys: pytest.CaptureFixture) -> None:
    register_arch('test_wide_net', ARCH.replace('i32', 'i48x64'))
    assert info_main([]) == 0
    assert '\ntest_wide_net  48x64 ' in capsys.readouterr().out
    assert info_main(['test_wide_net']) == 0
    assert '48 x 64' in capsys.readouterr().out


@pytest.mark.parametrize('name, words', [
    ('MyNet', 'expected a name in lower case'), ('my.net', 'expected a name'), (3, 'expected a name'),
    ('resnet18', 'is taken'), ('fpnas_l0', 'is taken'), ('resolve_arch', 'is taken'),
])
def test_names_that_are_none(name: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        register_arch(name, ARCH)


def test_register_arch_errors() -> None:
    with pytest.raises(fpnas_timm.ArchError, match='k4'):
        register_arch('test_bad', ARCH.replace('k5', 'k4'))
    with pytest.raises(UsageError, match=r'expected test_bad\.TAG'):
        register_arch('test_bad', ARCH, [ManifestEntry('other.v1', '0' * 64, {}, 'none', 'mit', folder='x')])
    assert not timm.is_model('test_bad')


def test_register_arch_leaves_its_module_as_it_was() -> None:
    before = dict(vars(module)), list(module.__all__)
    register_arch('test_quiet_net', ARCH)
    assert (dict(vars(module)), list(module.__all__)) == before
    assert all(hasattr(module, name) for name in module.__all__)  # or `from fpnas_timm.zoo.models import *` fails
    assert timm.is_model('test_quiet_net') and timm.create_model('test_quiet_net').pretrained_cfg['pool_size'] == (8, 8)


def test_hash_of_a_registered_model_is_compared(tmp_path: Path) -> None:
    """Also if the folder is written again and the name registered again: the newest hash is the one that counts."""
    about = dict(metrics={}, recipe='none', license='mit', folder=str(tmp_path), pretrained_cfg={'num_classes': 5})
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = timm.create_model('fpnas', arch=ARCH, num_classes=5)
        save_for_hf(model, tmp_path, safe_serialization=True)
        entry = ManifestEntry('test_hash_net.a', sha256_of(tmp_path / 'model.safetensors'), **about)
        with pytest.warns(UserWarning, match='Overwriting') if seed else nullcontext():
            register_arch('test_hash_net', ARCH, [entry])
        loaded = timm.create_model('test_hash_net', pretrained=True)
        assert torch.equal(loaded.classifier.weight, model.classifier.weight)
    with pytest.warns(UserWarning, match='Overwriting'):
        register_arch('test_hash_net', ARCH, [ManifestEntry('test_hash_net.a', '1' * 64, **about)])
    with pytest.raises(RuntimeError, match='the manifest says 1111'):
        timm.create_model('test_hash_net', pretrained=True)
