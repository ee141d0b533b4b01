"""Classes are matched by name: in validation, in fine-tuning and between splits. The models are trained to 100 %."""
import json
import pickle
from pathlib import Path

import pytest
import timm
import torch

from fpnas_timm.cli.runs import validate_main
from fpnas_timm.errors import UsageError
from fpnas_timm.train import train
from fpnas_timm.train.classes import (
    Classifier,
    DataClasses,
    arrange_outputs,
    match_for_training,
    match_for_validation,
)

from .common import ARCH

SHORT = dict(model='fpnas', arch=ARCH, device='cpu', workers=0, batch_size=12, no_aug=True, opt='adamw', lr=0.02,
             warmup_epochs=0, smoothing=0.0)
MAPPED = ['red', 'blue', 'green']  # the order of the class map; that of the folders is blue, green, red


def named(*names: str, present: set[int] | None = None, mapped: bool = False) -> DataClasses:
    return DataClasses({i: [n] for i, n in enumerate(names)}, None if present is None else frozenset(present), mapped)


def export_of(folder: Path, **options: object) -> Path:
    return train(output=folder, experiment='run', **{**SHORT, **options}).export


@pytest.fixture(scope='module')
def mapped(tiny_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export of a run with a class map in another order than the folders'."""
    folder = tmp_path_factory.mktemp('mapped')
    (folder / 'map.txt').write_text('\n'.join(MAPPED) + '\n')
    options = dict(data_dir=tiny_images, class_map=str(folder / 'map.txt'), num_classes=3, epochs=5)
    export = export_of(folder, **options)
    config = json.loads((export / 'config.json').read_text())
    assert config['label_names'] == MAPPED and config['training']['top1'] == 100
    return export


def links(root: Path, images: Path, folders: dict[str, list[str]]) -> Path:
    """A data folder with links to some classes of some splits: `{'validation': ['red', 'teal=blue']}`."""
    for split, names in folders.items():
        (root / split).mkdir(parents=True)
        for name in names:
            here, _, there = name.partition('=')
            (root / split / here).symlink_to(images / split / (there or here))
    return root


def validated(
        capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, argv: list[str], status: int = 0
) -> tuple[dict, str]:
    """The result, and what was logged; for another status, the message instead."""
    caplog.clear()
    assert validate_main([*argv, '--device', 'cpu', '-j', '0', '-b', '12']) == status
    out, err = capsys.readouterr()
    return json.loads(out.removeprefix('--result\n') or '{}'), '\n'.join(caplog.messages) if status == 0 else err


def test_validation_is_by_name(
        mapped: Path, tiny_images: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Without the class map, with one in a third order, from the run's checkpoint and from the file of weights."""
    other = mapped.parent / 'other.txt'
    other.write_text('green\nred\nblue\n')
    with_string = ['--model', 'fpnas', '--model-kwargs', f'arch={ARCH}', '--checkpoint']
    for argv in (
        ['--model', f'local-dir:{mapped}', '--pretrained'],
        ['--model', f'local-dir:{mapped}', '--pretrained', '--class-map', str(other)],
        [*with_string, str(mapped.parent / 'model_best.pth.tar')],
        [*with_string, str(mapped / 'model.safetensors')],
    ):
        result, said = validated(capsys, caplog, [str(tiny_images), *argv])
        assert (result['top1'], result['images']) == (100, 12), argv
        assert 'by number' not in said


def test_a_folder_that_lacks_classes(
        mapped: Path, tiny_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
        caplog: pytest.LogCaptureFixture
) -> None:
    data = links(tmp_path / 'data', tiny_images, {'validation': ['green', 'red']})
    model = ['--model', f'local-dir:{mapped}', '--pretrained']
    result, said = validated(capsys, caplog, [str(data), *model])
    assert (result['top1'], result['images']) == (100, 8)
    assert f"{data}: no images of 1 of the 3 classes: 'blue'." in said
    _, said = validated(capsys, caplog, [str(data), *model, '--num-classes', '2'], status=2)
    assert 'error: --num-classes 2: the weights of ' in said and said.count('\n') == 1
    assert "are for 3 classes: 'red', 'blue', 'green', and a new classifier knows nothing: leave out" in said


def test_unknown_classes_are_refused_by_name(
        mapped: Path, tiny_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
        caplog: pytest.LogCaptureFixture
) -> None:
    data = links(tmp_path / 'data', tiny_images, {'validation': ['green', 'red', 'teal=blue']})
    model = ['--model', f'local-dir:{mapped}', '--pretrained']
    _, said = validated(capsys, caplog, [str(data), *model], status=2)
    assert "does not know the class 'teal'; it knows 'red', 'blue', 'green': list the classes to validate" in said
    (tmp_path / 'two.txt').write_text('green\nred\n')
    result, _ = validated(capsys, caplog, [str(data), *model, '--class-map', str(tmp_path / 'two.txt')])
    assert (result['top1'], result['images']) == (100, 8)


def test_a_model_without_names(
        mapped: Path, tiny_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
        caplog: pytest.LogCaptureFixture
) -> None:
    """An older folder is matched by number, which is said; if the numbers of classes differ, it is refused."""
    old = tmp_path / 'old'
    old.mkdir()
    config = json.loads((mapped / 'config.json').read_text())
    for key in ('label_names', 'input_img_mode'):
        del config[key]
    (old / 'config.json').write_text(json.dumps(config))
    (old / 'model.safetensors').symlink_to(mapped / 'model.safetensors')
    model = ['--model', f'local-dir:{old}', '--pretrained']
    result, said = validated(capsys, caplog, [str(tiny_images), *model])
    assert result['top1'] < 50  # the folders' order is not the class map's
    assert 'does not name its classes: matched by number.' in said
    class_map = ['--class-map', str(mapped.parents[1] / 'map.txt')]
    result, said = validated(capsys, caplog, [str(tiny_images), *model, *class_map])
    assert result['top1'] == 100
    data = links(tmp_path / 'data', tiny_images, {'validation': ['green', 'red']})
    _, said = validated(capsys, caplog, [str(data), *model], status=2)
    assert 'the data has 2 classes' in said and "list the model's classes in order in a --class-map" in said


def test_fine_tuning_starts_by_name(mapped: Path, tiny_images: Path, tmp_path: Path) -> None:
    """With a tiny learning rate, the first epoch has the accuracy of the weights; its export the data's order."""
    options = dict(model=f'local-dir:{mapped}', arch=None, pretrained=True, data_dir=tiny_images, epochs=1, lr=1e-9,
                   freeze='all')
    export = export_of(tmp_path, **options)
    config = json.loads((export / 'config.json').read_text())
    assert (config['training']['top1'], config['label_names']) == (100, ['blue', 'green', 'red'])
    assert 'label_names' not in config['pretrained_cfg']


def test_splits_are_matched_by_name(
        tiny_images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """timm would number the two folders of the validation split 0 and 1."""
    both = {'train': ['blue', 'green', 'red'], 'validation': ['green', 'red']}
    data = links(tmp_path / 'data', tiny_images, both)
    result = train(data_dir=data, num_classes=3, epochs=5, output=tmp_path, experiment='run', **SHORT)
    assert result.metrics['eval_top1'] == 100
    assert f"{data}: validation has no images of 'blue'." in caplog.messages
    more = links(tmp_path / 'more', tiny_images, {'train': ['blue', 'red'], 'validation': ['blue', 'green', 'red']})
    with pytest.raises(UsageError, match="validation has classes that train lacks: 'green': move them away, or list"):
        train(data_dir=more, num_classes=2, output=tmp_path, experiment='more', **SHORT)


def test_outputs_without_a_class_are_refused(tiny_images: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match='the data has 3 classes, the model 5: use num_classes=3; to leave room'):
        train(data_dir=tiny_images, num_classes=5, output=tmp_path, **SHORT)
    (tmp_path / 'map.txt').write_text('red\nblue\ngreen\nteal\n')
    export = export_of(
        tmp_path, data_dir=tiny_images, num_classes=4, class_map=str(tmp_path / 'map.txt'), epochs=1
    )
    assert json.loads((export / 'config.json').read_text())['label_names'] == ['red', 'blue', 'green', 'teal']
    with (tmp_path / 'map.pkl').open('wb') as file:
        pickle.dump({'red': 0, 'blue': 1, 'green': 3}, file)
    with pytest.raises(UsageError, match='the class map has no class number 2: expected all from 0 to 3'):
        train(data_dir=tiny_images, num_classes=4, class_map=str(tmp_path / 'map.pkl'), output=tmp_path, **SHORT)


def test_arranged_outputs() -> None:
    """Against the outputs themselves; the outputs that are left out are gone."""
    model = timm.create_model('fpnas', arch=ARCH, num_classes=4).eval()
    images = torch.randn(2, 3, 16, 16)
    with torch.inference_mode():
        before = model(images)
        arrange_outputs(model, [2, 0, 3])
        torch.testing.assert_close(model(images), before[:, [2, 0, 3]])
    assert model.num_classes == model.classifier.out_features == 3


def test_order_in_validation() -> None:
    match = match_for_validation(['a', 'b', 'c', 'd'], 4, named('d', 'b', present={0, 1}), 'model', 'data')
    assert match.order == [3, 1, 0, 2] and match.names == ['d', 'b', 'a', 'c']
    assert match.notes == ["data: no images of 2 of the 4 classes: 'a', 'c'."]
    merged = DataClasses({0: ['b'], 1: ['x', 'a']}, frozenset({0, 1}), mapped=True)  # folder x is class a, too
    assert match_for_validation(['a', 'b'], 2, merged, 'model', 'data').order == [1, 0]
    with pytest.raises(UsageError, match="does not know the class 'a, b'"):  # one class of two of the model's
        both = DataClasses({0: ['c'], 1: ['a', 'b']}, frozenset({0, 1}))
        match_for_validation(['a', 'b', 'c'], 3, both, 'model', 'data')
    numbers = named('zero', 'one', present={0, 1}, mapped=True)
    match = match_for_validation(['cat', 'dog'], 2, numbers, 'model', 'data')
    assert match.order == [0, 1] and 'its numbers are taken as the outputs' in match.notes[0]
    unnamed = DataClasses(present=frozenset({0, 2}))
    assert match_for_validation(['a', 'b', 'c'], 3, unnamed, 'model', None).order == [0, 1, 2]
    with pytest.raises(UsageError, match='the data: has class number 2, model has 2 outputs'):
        match_for_validation(['a', 'b'], 2, unnamed, 'model', None)


def test_order_in_training() -> None:
    """A class that the classifier does not know takes the place of one that the data lacks, which is said."""
    trained = Classifier('model', 3, True, ['cat', 'dog', 'fish'])
    match = match_for_training(trained, named('bird', 'cat', 'dog'), 'data')
    assert match.order == [2, 0, 1] and match.names == ['bird', 'cat', 'dog']
    assert "does not know the class 'bird': their outputs start from those of 'fish'" in match.notes[0]
    two = named('dog', 'cat')
    with pytest.raises(UsageError, match=r'use --num-classes 2 \(a new classifier\), or --num-classes 3 \(the one it'):
        match_for_training(trained, two, 'data')
    kept = match_for_training(Classifier('model', 3, True, ['cat', 'dog', 'fish'], asked_for=True), two, 'data')
    assert kept.order == [1, 0, 2] and kept.names == ['dog', 'cat', 'fish']
    assert match_for_training(Classifier('model', 3), DataClasses(), None).names == []


def test_splits_of_torchvisions_folders(
        mapped: Path, tiny_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
        caplog: pytest.LogCaptureFixture
) -> None:
    """They number their classes on their own: validated by name, and refused where both splits are needed."""
    data = links(tmp_path / 'data', tiny_images, {'train': ['blue', 'green', 'red'], 'validation': ['green', 'red']})
    model = ['--model', f'local-dir:{mapped}', '--pretrained', '--dataset', 'torch/image_folder']
    result, _ = validated(capsys, caplog, [str(data), *model])
    assert (result['top1'], result['images']) == (100, 8)
    with pytest.raises(UsageError, match='validation and train have different classes, so that their numbers differ'):
        train(data_dir=data, dataset='torch/image_folder', num_classes=3, output=tmp_path, **SHORT)
