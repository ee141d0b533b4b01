"""State dicts: from training, saved and loaded, and refused if they are of another architecture."""
import json
import re

import pytest
import timm
import torch
from timm.data import resolve_data_config
from timm.models import save_for_hf

import fpnas_timm  # noqa: F401
from fpnas_timm.arch import ArchError
from fpnas_timm.model.network import checkpoint_filter_fn
from tests.model.nets import SHORT, SMALL, close, images, make, no_grad  # noqa: F401


def test_checkpoint_filter_fn():
    model = make()
    sd = model.state_dict()
    for prefix in ('', 'module.', '_orig_mod.', 'module._orig_mod.', '_orig_mod.module.'):
        named = {prefix + n: t for n, t in sd.items()}
        for checkpoint in (named, {'state_dict': named, 'epoch': 3}, {'model': named}):
            out = checkpoint_filter_fn(checkpoint, model)
            assert list(out) == list(sd) and all(out[n] is t for n, t in sd.items())


@pytest.mark.parametrize('prefix', ['', 'module.', '_orig_mod.', 'module._orig_mod.'])
def test_pretrained_from_a_training_checkpoint(tmp_path, prefix):
    model = make()
    path = tmp_path / 'last.pth.tar'
    torch.save({'epoch': 1, 'state_dict': {prefix + n: t for n, t in model.state_dict().items()}}, path)
    overlay = dict(file=str(path), num_classes=10)
    by_cfg = timm.create_model(
        'fpnas', arch=SMALL, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=10
    ).eval()
    assert torch.equal(by_cfg(images()), model(images()))
    by_path = timm.create_model('fpnas', arch=SMALL, num_classes=10, checkpoint_path=str(path)).eval()
    assert torch.equal(by_path(images()), model(images()))


def test_save_for_hf_and_load(tmp_path):
    model, x = make(), images()
    save_for_hf(model, tmp_path, safe_serialization=True)
    assert (tmp_path / 'model.safetensors').is_file()
    config = json.loads((tmp_path / 'config.json').read_text())
    assert config['architecture'] == 'fpnas'
    assert config['model_args']['arch'] == SMALL
    assert config['num_classes'] == 10
    assert config['pretrained_cfg']['input_size'] == [3, 64, 64]

    name = f'local-dir:{tmp_path}'
    loaded = timm.create_model(name, pretrained=True).eval()
    assert str(loaded.arch) == SMALL
    assert torch.equal(loaded(x), model(x))
    assert resolve_data_config({}, model=loaded)['input_size'] == (3, 64, 64)

    other = timm.create_model(name, pretrained=True, num_classes=3).eval()
    assert other(x).shape == (2, 3)
    assert torch.equal(other.forward_features(x), model.forward_features(x))
    gray = timm.create_model(name, pretrained=True, in_chans=1).eval()
    close(gray.stem.conv.weight, model.stem.conv.weight.sum(1, keepdim=True))
    six = timm.create_model(name, pretrained=True, in_chans=6).eval()
    close(six(torch.cat([x, x], 1)), model(x))
    features = timm.create_model(name, pretrained=True, features_only=True, out_indices=(1, 3)).eval()
    for y, want in zip(features(x), model.forward_intermediates(x, [1, 3], intermediates_only=True)):
        close(y, want)
    assert not torch.equal(timm.create_model(name, pretrained=False).eval()(x), model(x))


def test_options_survive_saving(tmp_path):
    model = make(in_chans=1, output_stride=16, bn_eps=1e-3)
    save_for_hf(model, tmp_path, safe_serialization=True)
    loaded = timm.create_model(f'local-dir:{tmp_path}', pretrained=True).eval()
    x = images(chans=1)
    assert torch.equal(loaded(x), model(x))


OTHERS = {
    'wider': SMALL.replace('c16_nre', 'c32_nre'),
    'one block more': SMALL.replace('ir_r2_k5_s2_e3_', 'ir_r3_k5_s2_e3_'),
    'one block less': SMALL.replace('ir_r2_k5_s2_e3_', 'ir_r1_k5_s2_e3_'),
    'other kernel': SMALL.replace('k5_s2_e2.25', 'k3_s2_e2.25'),
    'more splits': SMALL.replace('_sp2', '_sp4'),
    'other attention': SMALL.replace('_sp1', ''),
    'added attention': SMALL.replace('e1_c8_nre', 'e1_c8_nre_sp1'),
    'group added': SMALL.replace('-cn_r1_k1', '-ir_r1_k3_s1_e3_c40_nre-cn_r1_k1'),
    'group gone': re.sub('-ir_r2_k5_s2_e2.25.*-cn', '-cn', SMALL),
    'identity': re.sub('ir_r1_k3_s1_e1_c8_nre', 'ir_r1_k0_s1_e1_c8_nre', SMALL),
    'not bypassed': SMALL.replace('ir_r1_k0_s2_e1_c32_nsw', 'ir_r1_k3_s2_e2_c32_nsw'),
    'wider head': SMALL.replace('c96', 'c128'),
    'other stem': SMALL.replace('cn_r1_k3_s2_c8', 'cn_r1_k5_s2_c8'),
    'short': SHORT,
}


@pytest.mark.parametrize('way', ['load_state_dict', 'checkpoint_path', 'fine-tuning'])
@pytest.mark.parametrize('other', OTHERS)
def test_weights_of_another_architecture(tmp_path, other, way):
    assert OTHERS[other] != SMALL
    weights = make(OTHERS[other]).state_dict()
    path = tmp_path / 'other.pth'
    torch.save(weights, path)
    with pytest.raises(RuntimeError) as e:
        if way == 'load_state_dict':
            make().load_state_dict(weights)
        elif way == 'checkpoint_path':
            timm.create_model('fpnas', arch=SMALL, num_classes=10, checkpoint_path=str(path))
        else:  # timm loads with strict=False here
            overlay = dict(file=str(path), num_classes=10)
            timm.create_model('fpnas', arch=SMALL, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=3)
    message = str(e.value)
    assert 'another architecture' in message and '\n' not in message and len(message) < 300 + len(SMALL)
    assert SMALL in message
    (tensor,) = re.findall(r'(?:stem|blocks|conv_head)\S+weight', message)
    assert tensor in weights or tensor in make().state_dict()


def test_other_mistakes_keep_the_words_of_torch():
    model = make()
    with pytest.raises(RuntimeError, match='Missing key'):
        model.load_state_dict({})
    with pytest.raises(RuntimeError, match='size mismatch for classifier'):
        model.load_state_dict(make(num_classes=3).state_dict())
    with pytest.raises(RuntimeError, match='size mismatch for stem'):
        model.load_state_dict(make(in_chans=1).state_dict())
    result = model.load_state_dict(make(num_classes=0).state_dict(), strict=False)
    assert sorted(result.missing_keys) == ['classifier.bias', 'classifier.weight']


def test_parts_of_a_network_load_without_strict():
    model, part = make(), make()
    part.prune_intermediate_layers([2])
    result = part.load_state_dict(model.state_dict(), strict=False)
    assert not result.missing_keys and any(n.startswith('blocks.5') for n in result.unexpected_keys)
    result = model.load_state_dict(part.state_dict(), strict=False)
    assert not result.unexpected_keys and any(n.startswith('conv_head') for n in result.missing_keys)
    stem = {n: t for n, t in model.state_dict().items() if n.startswith('stem')}
    assert len(model.load_state_dict(stem, strict=False).unexpected_keys) == 0


def test_pretrained_without_weights():
    for name, kwargs in (('fpnas', dict(arch=SMALL)), ('fpnas_s1pp', {})):
        with pytest.raises(RuntimeError, match=f'No pretrained weights exist for {name}\\b'):
            timm.create_model(name, pretrained=True, **kwargs)


@pytest.mark.parametrize(('arch', 'words'), [
    (None, 'needs an architecture string'),
    ('', 'needs an architecture string'),
    (5, 'got 5'),
    (['ir'], 'list'),
    ('resnet', 'resnet'),
    (SMALL.replace('_sp2', '_sp3'), 'token 6'),
    (SMALL.removesuffix('-cn_r1_k1_s1_c96_nsw'), 'token 9'),
])
def test_bad_arch(arch, words):
    with pytest.raises(ArchError, match=re.escape(words)):
        timm.create_model('fpnas', arch=arch)


def test_arch_is_needed():
    with pytest.raises(ArchError, match='arch=STRING'):
        timm.create_model('fpnas')
