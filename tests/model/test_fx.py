"""torch.fx with its own tracer, torchvision's feature extraction, torch.ao's FX quantisation, TorchScript of graphs."""
import pytest
import timm
import torch
from torch.fx import symbolic_trace
from torchvision.models.feature_extraction import create_feature_extractor

from fpnas_timm.zoo import ARCHS
from tests.model.nets import LONG, SHORT, SMALL, close, images, make, no_grad  # noqa: F401

OPTIONS = [
    {},
    dict(drop_rate=0.1, drop_path_rate=0.2),
    dict(output_stride=8),
    dict(num_classes=0, global_pool=''),
    dict(features_only=True),
    dict(features_only=True, feature_cls='getter', out_indices=(0, 2)),
]


@pytest.mark.parametrize('options', OPTIONS, ids=lambda o: '-'.join(o) or 'plain')
@pytest.mark.parametrize('arch', [SMALL, SHORT, LONG], ids=['small', 'short', 'long'])
def test_own_tracer_gives_the_same_numbers(arch, options):
    model = make(arch, **options)
    graph = symbolic_trace(model)
    for x in (images(), images(3, (50, 70))):
        torch.testing.assert_close(graph(x), model(x), rtol=0, atol=0)


@pytest.mark.parametrize('name', ['fpnas', *ARCHS])
def test_every_model_can_be_traced(name):
    options = dict(arch=SMALL) if name == 'fpnas' else {}
    graph = symbolic_trace(timm.create_model(name, device='meta', **options))
    assert graph(torch.zeros(2, 3, 64, 64, device='meta')).shape == (2, 1000)


def test_graph_keeps_the_layout_of_eager_mode():
    graph = symbolic_trace(make(num_classes=0, global_pool=''))
    assert graph(images()).is_contiguous(memory_format=torch.channels_last)


def test_training_graph_has_the_same_gradients():
    x, grads = images(4), []
    for wrap in (lambda m: m, symbolic_trace):
        model = make(SHORT).train()
        wrap(model)(x).square().mean().backward()
        grads.append([p.grad for p in model.parameters()])
    torch.testing.assert_close(*grads, rtol=0, atol=0)


def test_torchvision_feature_extractor():
    model, x = make(drop_path_rate=0.1), images()
    first, _, third, *_ = (level['module'] for level in model.feature_info)
    extract = create_feature_extractor(model, {first: 'a', third: 'b', 'conv_head': 'c', 'classifier': 'd'})
    found = extract.eval()(x)
    output, maps = model.forward_intermediates(x)
    for name, want in dict(a=maps[0], b=maps[2], c=output, d=model(x)).items():
        torch.testing.assert_close(found[name], want, rtol=0, atol=0)
    assert extract.train()(x)['d'].shape == (2, 10)


@pytest.mark.filterwarnings('ignore')
def test_ao_fx_quantization():
    quantize_fx = pytest.importorskip('torch.ao.quantization.quantize_fx')
    from torch.ao.quantization import get_default_qconfig_mapping

    model, x = make(SHORT), images(8)
    prepared = quantize_fx.prepare_fx(model, get_default_qconfig_mapping('x86'), (x,))
    close(prepared(x), model(x))  # observers only
    int8 = quantize_fx.convert_fx(prepared)
    layers = {type(m) for m in int8.modules() if type(m).__module__.startswith('torch.ao.nn')}
    assert any('Conv' in layer.__name__ for layer in layers) and any('Linear' in layer.__name__ for layer in layers)
    want = model(x)
    error = (int8(x) - want).norm() / (want - want.mean(0)).norm()
    assert 0 < error < 0.5  # random weights lose more than trained ones


@pytest.mark.usefixtures('script_builtins')
def test_graph_goes_on_to_torchscript():
    model, x = make(), images(3, (50, 70))
    close(torch.jit.script(symbolic_trace(model))(x), model(x))
