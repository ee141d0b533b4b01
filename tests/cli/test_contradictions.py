"""Options that contradict each other, and names that only timm, torch or the file system know: one line, exit status 2.

The data and the network are tiny, and whatever is wrong is found before the first step.
"""
import json
from pathlib import Path

import pytest

from fpnas_timm.arch import Conv
from fpnas_timm.cli import main
from fpnas_timm.errors import UsageError
from fpnas_timm.search import search
from fpnas_timm.spaces import MBConvSpace, Row
from fpnas_timm.train import train

ARCH = 'i16-cn_r1_k3_s2_c8_nsw-ir_r1_k3_s1_e2_c8_nre_sp1-cn_r1_k1_s1_c32_nsw'
TRAIN = ['--model', 'fpnas', '--model-kwargs', f'arch={ARCH}', '--num-classes', '3', '--device', 'cpu', '-b', '8',
         '-j', '0', '--epochs', '3', '--warmup-epochs', '0', '--opt', 'adamw']
SEARCH = ['--space', 'space.json', '--epochs', '4', '--warmup-epochs', '1', '--warmup-lr-epochs', '0', '-b', '4', '-j',
          '0', '--device', 'cpu', '--output', 'out']
VALIDATE = ['--model', 'fpnas', '--model-kwargs', f'arch={ARCH}', '--pretrained', '--num-classes', '3', '--device',
            'cpu', '-j', '0']

IMAGES = [  # of train and validate
    ('--img-size 32 --input-size 3 16 16', '--img-size 32 contradicts --input-size'),
    ('--in-chans 1 --input-size 3 16 16', '--in-chans 1 contradicts --input-size'),
    ('--in-chans 2', '--in-chans 2: expected 1, 3 or 4'),
    ('--in-chans 4 --input-img-mode RGB', '--input-img-mode RGB has 3 channels'),
    ('--in-chans 3 --mean 0.5 0.5', '--mean: expected one number, or 3'),
    ('--in-chans 3 --std 0.5 0.5', '--std: expected one number, or 3'),
    ('--input-img-mode rgb', "--input-img-mode 'rgb': expected one of"),
    ('--input-img-mode I', '--input-img-mode I: images are read as 8 bits per channel, without a palette: use L,'),
    ('--input-img-mode F', 'use L, to which 16-bit images are scaled'),
    ('--input-img-mode 1', 'use L, to which'),
    ('--input-img-mode P', 'use RGB or L, to which'),
    ('--input-img-mode PA', 'use RGBA or LA, to which'),
    ('elsewhere --data-dir images', 'the data folder is given twice'),
    ('--device abacus', '--device abacus: torch has no such device'),
    ('--device meta', '--device meta: torch has no such device'),
    ('--device-modules no_such_module', '--device-modules no_such_module: cannot be imported'),
    ('--torchcompile no_such_backend', "--torchcompile 'no_such_backend': torch has no such backend"),
    ('--arch-file nowhere.txt', '--arch-file nowhere.txt: cannot be read'),
]
WRONG: dict[str, list[tuple[str, str]]] = {
    'validate': IMAGES,
    'train': [
        *IMAGES,
        ('--opt adamx', "--opt 'adamx': timm has no such optimizer; did you mean"),
        ('--opt lookahead_adamx', "--opt 'lookahead_adamx': timm has no such optimizer"),
        ('--opt adamw --opt-kwargs colour=3', '--opt adamw: cannot be made with these options'),
        ('--aa rand-x', "--aa 'rand-x': timm has no such policy"),
        ('--aa nope', "--aa 'nope': timm has no such policy"),
        ('--input-img-mode RGBA --aa rand-m9-mstd0.5', 'images of 1 or 3 channels (L or RGB), not RGBA'),
        ('--input-img-mode HSV --aa original', '(L or RGB), not HSV'),
        ('--scale 1 0.5', '--scale 1 0.5: expected the smaller number first'),
        ('--ratio 2 1', '--ratio 2 1: expected the smaller number first'),
        ('--cutmix-minmax 0.8 0.2', '--cutmix-minmax 0.8 0.2: expected the smaller number first'),
        ('--mixup 0.2 -b 7', 'expected an even number'),
        ('--aug-splits 1', '--aug-splits 1: expected 0, or at least 2'),
        ('--split-bn', '--split-bn needs'),
        ('--jsd-loss', 'the jsd loss needs --aug-splits'),
        ('--loss ce --bce-loss', '--loss ce and --bce-loss are different losses: give one of them'),
        ('--jsd-loss --bce-loss --aug-splits 2', '--jsd-loss and --bce-loss are different losses'),
        ('--loss ce --bce-pos-weight 2', '--bce-pos-weight needs --bce-loss: it has no effect without it'),
        ('--train-batch-sizes 4 8', '--train-batch-sizes needs --train-img-sizes'),
        ('--train-steps-per-epoch 3', '--train-batches-per-epoch needs --train-img-sizes'),
        ('--train-size-schedule progressive', '--train-size-schedule needs --train-img-sizes'),
        ('--variable-batch-loss-scale sqrt', '--variable-batch-loss-scale needs --train-img-sizes'),
        ('--kd-temperature 2', '--kd-temperature needs --kd-model-name'),
        ('--task-loss-weight 0.5', '--task-loss-weight needs --kd-model-name'),
        ('--model-ema-decay 0.99', '--model-ema-decay needs --model-ema'),
        ('--no-aug --aa original', '--aa has no effect with --no-aug: give one of them'),
        ('--no-aug --hflip 0 --scale 0.5 1', '--scale has no effect with --no-aug'),
        ('--lr 0.1 --lr-base 0.2', '--lr-base has no effect with --lr: give one of them'),
        ('--amp-dtype bfloat16', '--amp-dtype needs --amp'),
        ('--mixup-prob 0.5', '--mixup or --cutmix or --cutmix-minmax: it has no effect without one of them'),
        ('--recount 2', '--recount needs --reprob'),
        ('--val-seed 3', '--val-seed needs --val-fraction'),
        ('--amp --model-dtype bfloat16', '--amp needs a float32 model'),
        ('--resume auto', '--resume auto needs --experiment'),
        ('--wandb-resume-id x', '--wandb-resume-id needs --resume'),
        ('--torchcompile-mode default', '--torchcompile-mode needs --torchcompile'),
        ('--epochs 3 --warmup-epochs 3', '--warmup-epochs 3: expected fewer than --epochs, 3'),
        ('--lr-noise 0.1 0.2 0.3', '--lr-noise: expected a start, or a start and an end'),
        ('--train-img-sizes 16 32 --train-size-probs 0 0', '--train-size-probs: expected a number above 0'),
        ('--train-img-sizes 16 32 --train-size-probs 1', 'incompatible data and augmentation options'),
        ('--freeze many', '--freeze many'),
        ('--resume nowhere.tar', 'nowhere.tar: no such checkpoint'),
        ('--initial-checkpoint nowhere.pth', 'nowhere.pth: no such file'),
        ('--class-map nowhere.txt', 'nowhere.txt'),
        ('--recipe nope', "unknown recipe 'nope'"),
        ('-c nowhere.yaml', 'nowhere.yaml: cannot be read'),
        ('--model-kwargs arch=nope', '--model fpnas'),
        ('--model-kwargs', 'needs an architecture string'),
        ('--dataset foo/bar', 'foo'),
        ('--train-split nope', 'nope'),
        ('--val-split nope', 'nope'),
        ('--num-classes 2', 'the data has 3 classes, the model 2'),
        ('-b 1000', 'less than a batch of 1000'),
    ],
    'search': [
        ('--opt adamx', "--opt 'adamx': timm has no such optimizer; did you mean"),
        ('--aa nope', "--aa 'nope': timm has no such policy"),
        ('--scale 1 0.5', '--scale 1 0.5: expected the smaller number first'),
        ('--mean 0.5 0.5', '--mean: expected one number, or 3'),
        ('--epochs 4 --warmup-epochs 4', '--warmup-epochs 4: expected fewer than --epochs, 4'),
        ('--epochs 4 --warmup-lr-epochs 4', '--warmup-lr-epochs 4: expected fewer than --epochs, 4'),
        ('--epochs 4 --joint-epoch 4', '--joint-epoch 4: expected fewer than --epochs, 4'),
        ('--device abacus', '--device abacus: torch has no such device'),
        ('--device mps', '--device mps'),
        ('--sched plateau', '--sched plateau: cannot be used in a search'),
        ('--space nowhere.json', '--space nowhere.json'),
        ('--space fpnas_l9', '--space fpnas_l9'),
        ('--target-macs 1', '--target-macs 1'),
        ('--class-map nowhere.txt', 'nowhere.txt'),
        ('--train-split nope', 'nope'),
        ('--num-classes 5', '--num-classes 5: the data has 3 classes'),
        ('--search-classes 7', 'search'),
        ('-b 1000', 'smaller than the 1000 of one step'),
        ('--resume nowhere', 'nowhere'),
        ('-c nowhere.yaml', 'nowhere.yaml: cannot be read'),
        ('--output ', '--output'),
    ],
}
BASE = {'train': [*TRAIN, '--output', 'runs', '--experiment', 'x'], 'search': SEARCH, 'validate': VALIDATE}


@pytest.fixture
def folder(tiny_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: `images` and `space.json`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'images').symlink_to(tiny_images)
    rows = [Row((1, 2), (8,), 1, 2, kernel=(0, 3), act=('re',), splits=(0, 1))]
    space = MBConvSpace.from_rows('tiny', Conv(3, 1, 8, 'sw'), rows, Conv(1, 1, 16, 'sw'), 16)
    (tmp_path / 'space.json').write_text(json.dumps(space.to_dict()))
    return tmp_path


@pytest.mark.parametrize(
    ('command', 'options', 'message'),
    [(command, *case) for command, cases in WRONG.items() for case in cases], ids=lambda v: v.replace(' ', '_')[:40],
)
def test_one_line(
        command: str, options: str, message: str, folder: Path, capsys: pytest.CaptureFixture
) -> None:
    base = BASE[command]
    if command == 'train' and options == '--resume auto':
        base = base[:-2]
    data = [] if 'elsewhere' in options else ['--data-dir', 'images']
    assert main([command, *base, *data, *options.split(' ')]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error: ')]
    assert len(lines) == 1
    assert message in lines[0] and 'Traceback' not in lines[0]
    assert sorted(f.name for f in folder.iterdir()) == ['images', 'space.json']


def test_a_constant_learning_rate(folder: Path, capsys: pytest.CaptureFixture) -> None:
    """timm has no schedule object for `none`."""
    assert main(['search', *SEARCH, '--data-dir', 'images', '--epochs', '2', '--sched', 'none']) == 0
    assert capsys.readouterr().out.startswith('i16-cn_')


@pytest.mark.parametrize(('options', 'message'), [
    ({'scale': 0.5}, r'search\(\): scale=0\.5: expected 2 values'),
    ({'epochs': 4, 'warmup_epochs': 4}, r'^warmup_epochs=4: expected fewer than epochs, 4$'),
    ({'device': 'abacus'}, r"^device='abacus': torch has no such device on this machine; use device='cpu'$"),
    ({'opt': 'adamx'}, r"^opt='adamx': timm has no such optimizer; did you mean \w+\?$"),
    ({'num_classes': 5}, r'^num_classes=5: the data has 3 classes$'),
    ({'output': None}, r'^output=OUT is required'),
    ({'target_macs': 'abc'}, r"^search\(\): target_macs='abc': expected a number such as 3M"),
])
def test_search_speaks_python(options: dict, message: str, folder: Path) -> None:
    with pytest.raises(UsageError, match=message) as e:
        search('space.json', data_dir='images', **{'output': 'out', 'batch_size': 4, 'workers': 0, **options})
    assert '--' not in str(e.value)


@pytest.mark.parametrize(('options', 'message'), [
    ({'model_kwargs': 'x'}, r"^train\(\): model_kwargs='x': expected KEY=VALUE$"),
    ({'arch': ARCH, 'model_kwargs': 'x'}, r"^train\(\): model_kwargs='x': expected a dict$"),
    ({'arch': ARCH, 'warmup_epochs': 2}, r'^warmup_epochs=2: expected fewer than epochs, 2 \(or warmup_prefix'),
    ({'arch': ARCH, 'opt': 'adamx'}, r"^opt='adamx': timm has no such optimizer"),
    ({'arch': ARCH, 'seed': -1}, r'^train\(\): seed=-1: expected 0 to'),
    ({'arch': ARCH, 'mixup': 0.2, 'batch_size': 7}, r'^mixup and cutmix mix pairs of images: batch_size=7: expected'),
])
def test_train_speaks_python(options: dict, message: str, folder: Path) -> None:
    rest = {'epochs': 2, 'batch_size': 8, 'workers': 0, 'num_classes': 3, 'output': 'runs', **options}
    with pytest.raises(UsageError, match=message) as e:
        train(data_dir='images', **rest)
    assert '--' not in str(e.value)
    assert not (folder / 'runs').exists()
