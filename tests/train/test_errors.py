"""Bad input of a training run: one sentence that says what and what to do, the right exit status, and nothing lost."""
import json
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
import yaml
from timm.models import save_for_hf

from fpnas_timm.cli.runs import train_main

ROOT = Path(__file__).parents[2]
ARCH = 'i16-cn_r1_k3_s2_c8_nsw-ir_r1_k3_s1_e2_c8_nre_sp1-ir_r2_k3_s2_e2_c16_nsw_sp2-cn_r1_k1_s1_c32_nsw'
OTHER = ARCH.replace('c16', 'c24')
BASE = [
    '--model', 'fpnas', '--num-classes', '3', '--device', 'cpu', '-b', '8', '-j', '0', '--epochs', '2', '--no-aug',
    '--opt', 'adamw', '--lr', '0.01', '--warmup-epochs', '0',
]
TRAIN = [*BASE, '--model-kwargs', f'arch={ARCH}']


def fails(capsys: pytest.CaptureFixture[str], argv: list[str], status: int = 2) -> str:
    """The one sentence on stderr."""
    assert train_main(argv) == status
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error: ')]
    assert len(lines) == 1
    assert 'Traceback' not in lines[0]
    return lines[0].removeprefix('error: ')


@pytest.mark.parametrize(('argv', 'message'), [
    (['--recipe', 'fpnas_l0/ls+a'], r"unknown recipe 'fpnas_l0/ls\+a'; did you mean fpnas_l0/ls\+aa\?"),
    (['--recipe', 'fpnas_l0', '--model', 'fpnas_s1pp'], r'recipe fpnas_l0 is for fpnas_l0, not fpnas_s1pp: .*ls\+aa'),
    (['--warmup-epoch-s', '3'], r'unknown option --warmup-epoch-s; did you mean --warmup-epochs\?'),
    (['--naflex-loader'], r'--naflex-loader is not supported here: NaFlex is for vision transformers'),
    (['--torchscript'], r'--torchscript is not supported here: use --torchcompile'),
    (['--drop-connect', '0.2'], r'--drop-connect is not supported here: .*--drop-path'),
    (['--task', 'multilabel'], r'--task multilabel is not supported here'),
    (['--resume', 'auto'], r'--resume auto needs --experiment'),
    (['--resume', 'nowhere.pth.tar'], r'nowhere.pth.tar: no such checkpoint'),
    (['--initial-checkpoint', 'nowhere.pth'], r'nowhere.pth: no such file of weights'),
    (['--model', 'efficientnet_b00'], r'--model efficientnet_b00: no model .* did you mean efficientnet_b0\?'),
    (['--model', 'fpnas'], r'--model fpnas: fpnas needs an architecture string'),
    (['--model', 'fpnas_s1pp', '--pretrained'], r'--model fpnas_s1pp: No pretrained weights'),
    (['--model', 'fpnas_s1pp', '--drop-block', '0.1'], r'--model fpnas_s1pp: .*drop_block_rate'),
    (['--arch-file', 'nowhere.txt'], r'--arch-file nowhere.txt: cannot be read \(No such file'),
    (['--model', 'fpnas_s1pp', '--num-classes', '3', '--freeze', '99'], r'--freeze 99: expected 1 to \d+ layers'),
    (['--loss', 'poly', '--smoothing', '0.1', '--sched', 'polly'], r"--sched polly: Unknown scheduler"),
])
def test_options(
    capsys: pytest.CaptureFixture[str], tiny_images: Path, tmp_path: Path, argv: list[str], message: str
) -> None:
    where = ['--data-dir', str(tiny_images), '--output', str(tmp_path)]
    rest = ['--device', 'cpu', '-j', '0', '-b', '8', '--epochs', '1']
    if 'polly' in argv:
        argv = [*TRAIN, *argv]
    assert re.match(message, fails(capsys, [*rest, *argv, *where]))


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU here')
def test_no_such_device(capsys: pytest.CaptureFixture[str], tiny_images: Path) -> None:
    said = fails(capsys, [*TRAIN, '--data-dir', str(tiny_images), '--device', 'cuda'])
    assert said == '--device cuda: torch has no such device on this machine; use --device cpu'


@pytest.mark.parametrize(('options', 'message'), [
    ({'warmup_epoch': 3}, r".*\.yaml: unknown option 'warmup_epoch'; did you mean warmup_epochs\?"),
    ({'lr': 'fast'}, r".*\.yaml: lr: 'fast': could not convert"),
    ({'amp': 'yes'}, r'.*\.yaml: amp: expected true or false'),
    ({'naflex_loader': True}, r'--naflex-loader is not supported here'),
    ({'recipe': 'fpnas_l9'}, r"unknown recipe 'fpnas_l9'"),
])
def test_yaml(capsys: pytest.CaptureFixture[str], tmp_path: Path, options: dict, message: str) -> None:
    path = tmp_path / 'options.yaml'
    path.write_text(yaml.safe_dump(options))
    assert re.match(message, fails(capsys, ['-c', str(path), *TRAIN]))


def test_data(capsys: pytest.CaptureFixture[str], tiny_images: Path, tmp_path: Path) -> None:
    assert 'no such folder' in fails(capsys, [*TRAIN, '--data-dir', str(tmp_path / 'nowhere')])
    assert 'no such folder' in fails(capsys, TRAIN)
    (tmp_path / 'empty' / 'train' / 'red').mkdir(parents=True)
    assert re.search('empty.*(no image|Found 0 images)', fails(capsys, [*TRAIN, '--data-dir', str(tmp_path / 'empty')]))
    said = fails(capsys, [*TRAIN, '--num-classes', '2', '--data-dir', str(tiny_images)])
    assert said.endswith('the data has 3 classes, the model 2: use --num-classes 3')
    without = [a for a in TRAIN if a not in ('--num-classes', '3')]
    said = fails(capsys, [*without, '--data-dir', str(tiny_images)])
    assert said.endswith('the data has 3 classes, the model 1000: use --num-classes 3')
    said = fails(capsys, [*TRAIN, '-b', '64', '--data-dir', str(tiny_images)])
    assert said.endswith('36 training images make no batch of 64: lower --batch-size')

    uneven = tmp_path / 'uneven'
    for split, names in (('train', ('red', 'green', 'blue')), ('validation', ('red', 'blue'))):
        (uneven / split).mkdir(parents=True)
        for name in names:
            (uneven / split / name).symlink_to(tiny_images / split / name)
    said = fails(capsys, [*TRAIN, '--data-dir', str(uneven)])
    assert "train and validation have other classes ('green')" in said


@pytest.mark.parametrize('workers', ['0', '1'])
def test_an_unreadable_image(
    capsys: pytest.CaptureFixture[str], tiny_images: Path, tmp_path: Path, workers: str
) -> None:
    data = tmp_path / 'data'
    for source in tiny_images.glob('*/*/*.png'):
        copy = data / source.relative_to(tiny_images)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes())
    bad = data / 'train' / 'red' / '3.png'
    good = bad.read_bytes()
    argv = [*TRAIN, '-j', workers, '--data-dir', str(data), '--output', str(tmp_path), '--experiment', 'run']
    assert train_main([*argv, '--stop-epoch', '1']) == 0
    capsys.readouterr()
    bad.write_bytes(good[:60])
    said = fails(capsys, [*argv, '--resume', 'auto'], status=1)
    assert re.match(rf'{bad}: this image cannot be read \(.*\): fix it, then resume$', said)
    bad.write_bytes(good)
    assert train_main([*argv, '--resume', 'auto']) == 0
    assert len((tmp_path / 'run' / 'history.jsonl').read_text().splitlines()) == 2


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
        ('order', 3, ['red', 'green', 'blue'], r"teacher .*order: its class 0 is 'red', the data's is 'blue'"),
    ):
        teacher = timm.create_model('fpnas', arch=ARCH, num_classes=classes)
        config = {'label_names': labels} if labels else {}
        save_for_hf(teacher, str(tmp_path / name), model_config=config, safe_serialization=True)
        assert re.match(message, fails(capsys, [*argv, '--kd-model-name', f'local-dir:{tmp_path / name}']))


def test_a_checkpoint_of_another_architecture(
    capsys: pytest.CaptureFixture[str], tiny_images: Path, tmp_path: Path
) -> None:
    where = ['--data-dir', str(tiny_images), '--output', str(tmp_path)]
    assert train_main([*TRAIN, *where, '--experiment', 'run', '--epochs', '1']) == 0
    capsys.readouterr()
    last = str(tmp_path / 'run' / 'last.pth.tar')
    other = [*BASE, '--model-kwargs', f'arch={OTHER}', *where]
    said = fails(capsys, [*other, '--resume', last])
    assert said == f'{last} is a checkpoint of another architecture: it has {ARCH}, this model is {OTHER}'
    said = fails(capsys, [*other, '--initial-checkpoint', last])
    assert said.startswith(f'{last}: These weights are of another architecture')
    assert said.endswith(f'it is of {ARCH}')
    vit = ['--model', 'test_vit', '--num-classes', '3', '--device', 'cpu', '-b', '8', '-j', '0']
    said = fails(capsys, [*vit, *where, '--resume', last])
    assert re.match(f'{last} does not fit this model \\(there: fpnas\\)', said)
    said = fails(capsys, [*TRAIN, *where, '--resume', last, '--opt', 'sgd', '--layer-decay', '0.5'])
    assert re.match(f'{last}: its optimizer state does not fit .*--no-resume-opt', said)


def test_the_loss_is_not_finite(capsys: pytest.CaptureFixture[str], tiny_images: Path, tmp_path: Path) -> None:
    argv = [*TRAIN, '--data-dir', str(tiny_images), '--output', str(tmp_path), '--experiment', 'run']
    assert train_main([*argv, '--stop-epoch', '1']) == 0
    before = (tmp_path / 'run' / 'last.pth.tar').read_bytes()
    capsys.readouterr()
    # a resumed run keeps its optimizer's learning rates unless a schedule sets them
    said = fails(capsys, [*argv, '--resume', 'auto', '--no-resume-opt', '--opt', 'sgd', '--lr', '1e30'], status=1)
    assert re.match(r'the loss is (nan|inf) in epoch 2, update \d, at learning rate 5e\+29: try a lower --lr', said)
    assert said.endswith(f'the last good checkpoint is {tmp_path / "run" / "last.pth.tar"}')
    assert (tmp_path / 'run' / 'last.pth.tar').read_bytes() == before


def test_a_full_disk(tiny_images: Path, tmp_path: Path) -> None:
    """The second epoch cannot be saved (no file may grow beyond half a checkpoint): the first stays, and goes on."""
    argv = [*TRAIN, '--data-dir', str(tiny_images), '--output', str(tmp_path), '--experiment', 'run', '--epochs', '2']
    assert train_main([*argv, '--stop-epoch', '1']) == 0
    last = tmp_path / 'run' / 'last.pth.tar'
    before = last.read_bytes()
    limit = len(before) // 2
    done = subprocess.run(
        [sys.executable, '-m', 'fpnas_timm', 'train', *argv, '--resume', 'auto'],
        capture_output=True, text=True, check=False, env={'PYTHONPATH': str(ROOT), 'PATH': '/usr/bin:/bin'},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode == 1
    error = [line for line in done.stderr.splitlines() if line.startswith('error: ')]
    assert len(error) == 1
    assert re.search(r'cannot be written \(.*\)', error[0])
    assert last.read_bytes() == before
    assert not list((tmp_path / 'run').glob('.*'))
    assert train_main([*argv, '--resume', 'auto']) == 0
    rows = [json.loads(line) for line in (tmp_path / 'run' / 'history.jsonl').read_text().splitlines()]
    assert [row['epoch'] for row in rows] == [0, 1]


def test_a_folder_that_cannot_be_written(capsys: pytest.CaptureFixture[str], tiny_images: Path, tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    said = fails(capsys, [*TRAIN, '--data-dir', str(tiny_images), '--output', str(tmp_path / 'file')])
    assert re.search(r'cannot be written \(Not a directory\): choose another --output', said)
