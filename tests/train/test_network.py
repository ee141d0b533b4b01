"""The network of a run: its weights, frozen layers, converted batch norms."""
from pathlib import Path

import pytest
import timm
import torch
from timm.layers import SplitBatchNorm2d, convert_sync_batchnorm

from fpnas_timm.errors import UsageError
from fpnas_timm.runs.device import Precision, Process
from fpnas_timm.train.network import NetworkConfig, create_network, freeze, to_device
from fpnas_timm.train.options import parse_train_args
from fpnas_timm.train.setup import setup
from fpnas_timm.train.task import trainable_module

from .common import ARCH, TRAIN, at


def test_sync_bn_needs_gpus() -> None:
    process = Process(torch.device('cpu'), distributed=True, world_size=2)
    with pytest.raises(UsageError, match='--sync-bn: torch synchronises batch norms on GPUs only'):
        to_device(torch.nn.BatchNorm2d(3), process, Precision(), sync_bn=True)


def small() -> torch.nn.Module:
    torch.manual_seed(0)
    return create_network(NetworkConfig('fpnas', {'arch': ARCH}, num_classes=3))


def test_the_defaults_are_the_models_own() -> None:
    ours = small()
    torch.manual_seed(0)
    theirs = timm.create_model('fpnas', arch=ARCH, num_classes=3)
    assert all(torch.equal(v, theirs.state_dict()[k]) for k, v in ours.state_dict().items())
    scaled = create_network(NetworkConfig('fpnas', {'arch': ARCH}, 3, head_init_scale=0.0, head_init_bias=-1.5))
    assert scaled(torch.randn(2, 3, 16, 16)).tolist() == [[-1.5] * 3] * 2


@pytest.mark.parametrize(('layers', 'learning'), [
    ('all', {'classifier'}), ('1', {'blocks', 'conv_head', 'classifier'}),
])
def test_freeze(layers: str, learning: set[str]) -> None:
    """A step changes neither weights nor statistics of the frozen layers, and the others learn."""
    model = small()
    frozen = freeze(model, layers)
    assert frozen.num_params == sum(p.numel() for p in model.parameters() if not p.requires_grad)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.train()
    frozen.eval()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model(torch.randn(8, 3, 16, 16)).square().sum().backward()
    optimizer.step()
    changed = {k.partition('.')[0] for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == learning


@pytest.mark.parametrize('layers', ['all', '2'])
@pytest.mark.parametrize('convert', ['split', 'sync'])
def test_freeze_converted_batch_norms(
    layers: str, convert: str, tiny_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that `--split-bn` and `--sync-bn` put in place of the model's own, and their parts, are frozen too."""
    argv = [*TRAIN, '--data-dir', str(tiny_images), '--freeze', layers, *at(tmp_path)]
    if convert == 'split':
        argv = [*(a for a in argv if a != '--no-aug'), '--split-bn', '--aug-splits', '2']
    else:  # needs GPUs, so only the conversion is made
        monkeypatch.setattr('fpnas_timm.train.setup.to_device', lambda model, *_: convert_sync_batchnorm(model))
    trainer = setup(parse_train_args(argv)).trainer
    model = trainable_module(trainer.task)
    model.train()
    trainer.frozen.eval()
    kind = SplitBatchNorm2d if convert == 'split' else torch.nn.SyncBatchNorm
    assert {isinstance(m, kind) for n, m in model.named_modules() if n.endswith('.bn')} == {True}
    free = ('classifier',) if layers == 'all' else ('classifier', 'conv_head', 'blocks.1', 'blocks.2')
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            assert module.training == name.startswith(free), name
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {
        n for n, _ in model.named_parameters() if n.startswith(free)
    }


def test_two_heads() -> None:
    """A model with a distillation token has two: neither is frozen, both are initialised."""
    name, kwargs = 'deit_tiny_distilled_patch16_224', {'depth': 1}
    model = create_network(NetworkConfig(name, kwargs, num_classes=2, head_init_scale=0.0, head_init_bias=0.5))
    freeze(model, 'all')
    learning = {n for n, p in model.named_parameters() if p.requires_grad}
    assert learning == {'head.weight', 'head.bias', 'head_dist.weight', 'head_dist.bias'}
    for head in (model.head, model.head_dist):
        assert (head.weight.abs().max(), set(head.bias.tolist())) == (0, {0.5})


def test_a_head_without_a_bias(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small()
    model.classifier = torch.nn.Linear(32, 3, bias=False)
    monkeypatch.setattr('fpnas_timm.train.network._create_model', lambda config: model)
    assert create_network(NetworkConfig('x', head_init_scale=0.0)).classifier.weight.abs().max() == 0
    with pytest.raises(UsageError, match='--head-init-bias: the classifier, a Linear, has no bias'):
        create_network(NetworkConfig('x', head_init_bias=1.0))


@pytest.mark.parametrize('layers', ['0', '-1', 'some', '99'])
def test_freeze_errors(layers: str) -> None:
    with pytest.raises(UsageError, match=rf'--freeze {layers}: expected 1 to \d+ layers'):
        freeze(small(), layers)


def test_precision() -> None:
    model = to_device(small(), Process(torch.device('cpu')), Precision(dtype=torch.bfloat16, channels_last=True))
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert model.stem.conv.weight.is_contiguous(memory_format=torch.channels_last)
