"""Out of eager mode: TorchScript, FX, export, compile, ONNX and fused batch norms."""
import inspect

import pytest
import torch
from timm.models import FeatureGraphNet, create_feature_extractor
from timm.utils import reparameterize_model
from torch import nn

import fpnas_timm  # noqa: F401
from fpnas_timm.model.blocks import SplitAttention
from fpnas_timm.model.fused import FusedSplitAttention
from tests.model.nets import LONG, SHORT, SMALL, close, images, make, no_grad  # noqa: F401

pytestmark = pytest.mark.usefixtures('script_builtins')


def test_torchscript():
    model, x = make(), images()
    scripted = torch.jit.script(model)
    close(scripted(x), model(x))
    close(scripted(images(3, (50, 70))), model(images(3, (50, 70))))
    traced = torch.jit.trace(model, x)
    close(traced(images(3)), model(images(3)))


def test_fx():
    model, x = make(), images(3, (50, 70))
    out = create_feature_extractor(model, {'blocks.1': 'a', 'conv_head': 'b', 'classifier': 'logits'})(x)
    assert set(out) == {'a', 'b', 'logits'}
    close(out['logits'], model(x))
    close(out['b'], model.forward_features(x))
    levels = FeatureGraphNet(make(), (0, 2, 4))(x)
    for y, want in zip(levels, model.forward_intermediates(x, [0, 2, 4], intermediates_only=True)):
        close(y, want)


def test_torch_export():
    model = make()
    batch = torch.export.Dim('batch', min=1, max=64)
    program = torch.export.export(model, (images(),), dynamic_shapes=({0: batch},))
    for n in (1, 2, 5):
        close(program.module()(images(n)), model(images(n)))


@pytest.mark.skipif(not hasattr(torch.compiler, 'is_exporting'), reason='torch does not say that it exports')
@pytest.mark.parametrize('strict', [False, True])
def test_exported_graph_is_free_of_layouts(strict):
    """ExecuTorch's portable kernels refuse a channels_last copy, Core ML's converter an addcmul."""
    model, x = make(SHORT), images()
    program = torch.export.export(model, (x,), strict=strict)
    for graph in (program.graph, program.run_decompositions().graph):
        calls = [node for node in graph.nodes if node.op == 'call_function']
        assert not [node for node in calls if 'memory_format' in node.kwargs]
        names = {str(node.target).split('.')[1] for node in calls if str(node.target).startswith('aten.')}
        assert 'sigmoid' in names or 'softmax' in names or '_softmax' in names
        assert not names & {'contiguous', 'clone', 'to', '_to_copy', 'addcmul'}
    close(program.module()(x), model(x))
    last = x.contiguous(memory_format=torch.channels_last)
    close(program.module()(last), model(last))


def test_scripted_and_traced_networks_keep_the_fast_layout():
    model, x = make(SHORT, num_classes=0, global_pool=''), images()
    for net in (torch.jit.script(model), torch.jit.trace(model, x)):
        assert net(x).is_contiguous(memory_format=torch.channels_last)


def test_torch_compile_without_graph_breaks():
    torch.compiler.reset()
    model = make()
    compiled = torch.compile(model, backend='eager', fullgraph=True)
    close(compiled(images()), model(images()))
    close(compiled(images(5)), model(images(5)))
    features = make(features_only=True, out_indices=(1, 4))
    compiled = torch.compile(features, backend='eager', fullgraph=True)
    for y, want in zip(compiled(images()), features(images())):
        close(y, want)
    torch.compiler.reset()


def test_torch_compile_backward_is_the_same():
    torch.compiler.reset()
    x, grads = images(4), []
    for wrap in (lambda m: m, lambda m: torch.compile(m, backend='aot_eager', fullgraph=True)):
        model = make(SHORT).train()
        wrap(model)(x).square().mean().backward()
        grads.append([p.grad for p in model.parameters()])
    for a, b in zip(*grads):
        close(a, b)
    torch.compiler.reset()


@pytest.mark.filterwarnings('ignore')
@pytest.mark.skipif(
    'dynamic_shapes' not in inspect.signature(torch.onnx.export).parameters,
    reason=f'torch {torch.__version__} exports to ONNX in another way',
)
def test_onnx(tmp_path):
    onnx = pytest.importorskip('onnx')
    pytest.importorskip('onnxscript')
    onnxruntime = pytest.importorskip('onnxruntime')
    model, path = make(), tmp_path / 'model.onnx'
    batch = torch.export.Dim('batch', min=1, max=64)
    torch.onnx.export(
        model, (images(),), str(path), dynamo=True, dynamic_shapes=({0: batch},), input_names=['x'], verbose=False
    )
    onnx.checker.check_model(str(path))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
    for n in (1, 2, 5):
        (out,) = session.run(None, {'x': images(n).numpy()})
        close(torch.from_numpy(out), model(images(n)))


@pytest.mark.parametrize('arch', [SMALL, SHORT, LONG], ids=['small', 'short', 'long'])
def test_reparameterize_model(arch):
    model, x = make(arch), images()
    fused = reparameterize_model(model)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in fused.modules())
    assert any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    close(fused(x), model(x))
    for y, want in zip(fused.forward_intermediates(x)[1], model.forward_intermediates(x)[1]):
        close(y, want)


@pytest.mark.parametrize('splits', [1, 2, 3, 4])
def test_fused_attention(splits):
    """The softmax over the splits from one logit less, to the precision of the numbers."""
    attention = SplitAttention(12, splits, 'sw', dtype=torch.float64)
    for p in attention.parameters():
        nn.init.normal_(p)
    xs = [torch.randn(3, 12, 5, 4, dtype=torch.float64) for _ in range(splits)]
    fused = attention.fuse()
    torch.testing.assert_close(fused(xs), attention(xs), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(torch.jit.script(fused)(xs), attention(xs), rtol=1e-9, atol=1e-9)
    assert isinstance(fused, FusedSplitAttention)
    assert fused.fc2.out_channels == max(splits - 1, 1) * 12
    assert all(p.dtype == torch.float64 and p.device.type == 'cpu' for p in fused.parameters())


@pytest.mark.parametrize('arch', [SMALL, LONG], ids=['small', 'long'])
def test_fused_attention_is_in_the_fused_network(arch):
    model = make(arch)
    fused = reparameterize_model(model)
    kinds = [type(m) for m in fused.modules()]
    assert SplitAttention not in kinds
    assert kinds.count(FusedSplitAttention) == sum(isinstance(m, SplitAttention) for m in model.modules())
    double = reparameterize_model(make(arch).double())
    close(double(images().double()), model.double()(images().double()), tol=1e-9)
