"""Teachers: their own size and normalisation, checked against the computation by hand; teachers that do not fit."""
import re
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.models import save_for_hf

from fpnas_timm.cli.runs import train_main
from fpnas_timm.train.task import create_teacher

from .common import ARCH, TRAIN, fails

STUDENT = 'i16-cn_r1_k3_s2_c8_nsw-ir_r1_k3_s1_e2_c8_nre_sp1-cn_r1_k1_s1_c32_nsw'
TEACHER = STUDENT.replace('i16', 'i28').replace('c32', 'c48')


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher at 28 pixels, with another normalisation than the student's."""
    torch.manual_seed(0)
    model = timm.create_model('fpnas', arch=TEACHER, num_classes=3)
    path = tmp_path_factory.mktemp('teacher') / 'model'
    cfg = {'mean': (0.5, 0.4, 0.3), 'std': (0.2, 0.3, 0.4)}
    config = {'label_names': ['blue', 'green', 'red']}
    save_for_hf(model, str(path), model_config=config, safe_serialization=True, data_config=cfg)
    return path


def test_the_teacher_sees_its_own_size_and_normalisation(folder: Path) -> None:
    student = timm.create_model('fpnas', arch=STUDENT, num_classes=3)
    teacher = create_teacher(f'local-dir:{folder}', student, torch.device('cpu'), classes=['blue', 'green', 'red'])
    teacher.train()  # timm's task keeps it in evaluation mode; its gradients are off in any case
    teacher.eval()
    assert not any(p.requires_grad for p in teacher.parameters())
    pixels = torch.rand(4, 3, 16, 16)
    mean, std = (torch.tensor(student.pretrained_cfg[k]).view(1, 3, 1, 1) for k in ('mean', 'std'))
    logits = teacher(teacher.normalize_input((pixels - mean) / std, mean, std))
    own_mean, own_std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)))
    big = F.interpolate(pixels, (28, 28), mode='bicubic', antialias=True)
    loaded = timm.create_model(f'local-dir:{folder}', pretrained=True).eval()
    with torch.inference_mode():
        assert torch.allclose(logits, loaded((big - own_mean) / own_std), atol=1e-4)


def test_the_teachers_classes_are_put_into_the_students_order(
        folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By name; classes that the student does not have are left out. Without names by number, which is said."""
    student = timm.create_model('fpnas', arch=STUDENT, num_classes=2)
    images = torch.randn(2, 3, 28, 28)
    loaded = timm.create_model(f'local-dir:{folder}', pretrained=True).eval()  # blue, green, red
    teacher = create_teacher(f'local-dir:{folder}', student, torch.device('cpu'), classes=['red', 'blue']).eval()
    with torch.inference_mode():
        torch.testing.assert_close(teacher(images), loaded(images)[:, [2, 0]])
    save_for_hf(loaded, str(tmp_path / 'unnamed'), model_config={'pretrained_cfg': {'label_names': None}},
                safe_serialization=True)
    student = timm.create_model('fpnas', arch=STUDENT, num_classes=3)
    name = f'local-dir:{tmp_path / "unnamed"}'
    teacher = create_teacher(name, student, torch.device('cpu'), classes=['red', 'green', 'blue']).eval()
    with torch.inference_mode():
        torch.testing.assert_close(teacher(images), loaded(images))
    assert f'teacher {name} does not name its classes: matched by number.' in caplog.messages


@pytest.mark.parametrize('options', [[], ['--kd-distill-type', 'feature'], ['--in-chans', '1'], ['--mean', '0.5']])
def test_distillation_trains(folder: Path, tiny_images: Path, tmp_path: Path, options: list[str]) -> None:
    argv = ['--model', 'fpnas', '--model-kwargs', f'arch={STUDENT}', '--num-classes', '3', '--device', 'cpu']
    argv += ['-j', '0', '-b', '12', '--epochs', '1', '--warmup-epochs', '0', '--data-dir', str(tiny_images)]
    teacher = ['--kd-model-name', f'local-dir:{folder}', '--task-loss-weight', '0.5', '--kd-temperature', '2']
    assert train_main([*argv, *teacher, *options, '--output', str(tmp_path), '--experiment', 'run']) == 0
    weights = torch.load(tmp_path / 'run' / 'last.pth.tar', weights_only=True)['state_dict']
    assert not any('teacher' in n for n in weights)


def test_teacher(capsys: pytest.CaptureFixture[str], tiny_images: Path, tmp_path: Path) -> None:
    argv = [*TRAIN, '--data-dir', str(tiny_images), '--output', str(tmp_path)]
    assert re.match(
        'teacher local-dir:nowhere: its weights cannot be loaded',
        fails(capsys, [*argv, '--kd-model-name', 'local-dir:nowhere']),
    )
    assert re.match(
        'teacher fpnas_l2: its weights cannot be loaded: No pretrained weights exist',
        fails(capsys, [*argv, '--kd-model-name', 'fpnas_l2']),
    )
    for name, classes, labels, message in (
        ('five', 5, None, r'teacher .*five knows 5 classes, the student 3: it must have been trained on the same'),
        ('other', 3, ['red', 'green', 'teal'], r"teacher .*other does not know 'blue' of the data; it knows 'red', "),
    ):
        teacher = timm.create_model('fpnas', arch=ARCH, num_classes=classes)
        config = {'label_names': labels} if labels else {}
        save_for_hf(teacher, str(tmp_path / name), model_config=config, safe_serialization=True)
        assert re.match(message, fails(capsys, [*argv, '--kd-model-name', f'local-dir:{tmp_path / name}']))
