"""Weights of one network in another on the GPU: remap, least-squares fit, new blocks, supernets, `--init-from`."""
import copy
import logging
from pathlib import Path

import pytest
import timm
import torch

from fpnas_timm.model.network import FPNAS
from fpnas_timm.model.supernet import SuperNet
from fpnas_timm.spaces.around import space_around
from fpnas_timm.train.run import train
from fpnas_timm.transfer.remap import transfer
from fpnas_timm.transfer.supernet import start_supernet
from fpnas_timm.transfer.timm_weights import from_timm

from .common import ARCH, DEVICE, error, images, lively

SOURCE = 'i32-cn_k3_s2_c8_nsw-ir_k3_s1_e1_c8_nre-ir_r2_k5_s2_e4_c16_nsw_sp1-ir_k5_s1_e3_c24_nre_sp2-cn_k1_c24_nsw'
TARGETS = {
    'smaller': 'i32-cn_k3_s2_c8_nsw-ir_k3_s1_e1_c8_nre-ir_k3_s2_e3_c12_nsw_sp1-ir_k3_s1_e2_c16_nre_sp2-cn_k1_c24_nsw',
    'deeper': 'i32-cn_k3_s2_c8_nsw-ir_r2_k3_s1_e1_c8_nre-ir_r4_k5_s2_e4_c16_nsw_sp1-ir_r3_k5_s1_e3_c24_nre_sp2-'
    'cn_k1_c24_nsw',
    'other': 'i32-cn_k3_s2_c8_nre-ir_k3_s1_e2_c12_nsw_sp2-ir_r3_k3_s2_e4_c16_nsw_sp4-ir_r2_k0_s1_e1_c24_nre-'
    'ir_k5_s1_e3_c24_nre_sp1-cn_k1_c32_nsw',
}


@pytest.mark.parametrize('name', TARGETS)
@pytest.mark.parametrize('batches', ['tensor on the GPU', 'batches on the CPU', 'none'])
def test_the_same_as_on_the_cpu(gpu: torch.device, name: str, batches: str) -> None:
    """In double precision, to 1e-6 of the outputs: the fit solves linear systems."""
    source = lively(FPNAS(SOURCE, num_classes=4)).double()
    torch.manual_seed(0)
    target = lively(FPNAS(TARGETS[name], num_classes=4), seed=1).double()
    own = copy.deepcopy(target).to(gpu)
    x = images(24, 32)
    given = {'tensor on the GPU': x.to(gpu), 'batches on the CPU': x.split(8), 'none': None}[batches]
    torch.manual_seed(1)
    found = transfer(copy.deepcopy(source).to(gpu), own, given)
    torch.manual_seed(1)
    expected = transfer(source, target, None if given is None else x)
    assert str(found) == str(expected)
    with torch.no_grad():
        assert error(own.eval()(x.to(gpu)), target.eval()(x)) < 1e-6


@pytest.mark.parametrize('name', TARGETS)
def test_in_single_precision(gpu: torch.device, name: str) -> None:
    """A source on the CPU, a target on the GPU that is ready to be trained: all of it there, and finite."""
    target = FPNAS(TARGETS[name], num_classes=4).to(gpu, memory_format=torch.channels_last)
    x = images(24, 32).float()
    transfer(lively(FPNAS(SOURCE, num_classes=4)), target, x)
    assert {t.device.type for t in target.state_dict().values()} == {gpu.type}
    logits = target.train()(x.to(gpu))
    logits.square().mean().backward()
    assert logits.isfinite().all()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in target.parameters())


@pytest.mark.parametrize('name', ['efficientnet_lite0', 'mobilenetv3_small_050'])
def test_a_timm_network(gpu: torch.device, name: str) -> None:
    source = lively(timm.create_model(name, num_classes=10)).eval()
    x = images(16, 64).float()
    with torch.no_grad():
        own, expected = from_timm(copy.deepcopy(source).to(gpu)), from_timm(source)
        assert error(own.eval()(x.to(gpu)), expected.eval()(x)) < 1e-5
    target = timm.create_model('fpnas_s1pp', num_classes=10).to(gpu)
    found = transfer(source.to(gpu), target, x)
    assert found.fitted == 16 and found.weights > 0.2
    with torch.no_grad():
        assert target.eval()(x.to(gpu)).isfinite().all()


def test_a_supernet_around_a_network(gpu: torch.device) -> None:
    source = lively(FPNAS(SOURCE, num_classes=3)).double()
    net = SuperNet(space_around(source.arch), num_classes=3).double().to(gpu)
    assert start_supernet(net, source)
    x = images(4, 64)
    with torch.no_grad():
        assert error(net(x.to(gpu), source.arch), source.train()(x)) < 1e-9
        model = net.float().extract(source.arch, [x.float().to(gpu)])
        assert error(model(x.float().to(gpu)), source(x)) < 1e-5


@pytest.mark.parametrize('options', [{}, dict(amp=True, channels_last=True), dict(model_dtype='bfloat16')],
                         ids=['float32', 'float16', 'bfloat16 weights'])
def test_init_from(
        trained: Path, tiny_images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, options: dict
) -> None:
    """A deeper and narrower network starts from a trained one, and knows the classes after an epoch."""
    arch = ARCH.replace('r1_k3_s1_e2_c8', 'r2_k3_s1_e2_c8').replace('r2_k3_s2_e2_c16', 'r3_k3_s2_e2_c12')
    with caplog.at_level(logging.INFO, 'train'):
        result = train(
            arch=arch, init_from=trained / 'export', num_classes=3, data_dir=tiny_images, epochs=2, output=tmp_path,
            experiment='run', device=DEVICE, batch_size=8, workers=0, no_aug=True, opt='adamw', lr=0.002,
            warmup_epochs=0, **options,
        )
    assert '2 of 7 blocks are new' in caplog.text and 'fitted to 36 images' in caplog.text
    assert result.metrics['eval_top1'] >= 60
