"""Image folders: timm's order and indices, the first folder is the class, and what is left out is said."""
import logging
from pathlib import Path

import pytest
from PIL import Image
from timm.data import create_dataset

from fpnas_timm.errors import UsageError
from fpnas_timm.runs.datasets import class_indices, class_names, open_dataset
from fpnas_timm.runs.image_folder import FolderReader


def put(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() in ('.png', '.webp', '.tif', '.bmp', '.jpg'):
            Image.new('RGB', (4, 4)).save(path)
        else:
            path.write_text('x')
    return root


def test_as_timm(tmp_path: Path) -> None:
    """Order, classes and indices of timm's own reader: numbers by value, no matter the case."""
    names = [f'train/{c}/{i}.{e}' for c in ('n10', 'n9', 'Zebra', 'ant', 'é') for i, e in (
        ('10', 'png'), ('9', 'PNG'), ('a-2', 'jpg'), ('B', 'png'), ('img_0100', 'png'), ('img_99', 'JPEG'),
    )]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b'')
    theirs, ours = create_dataset('', str(tmp_path), 'train').reader, FolderReader(tmp_path / 'train')
    assert ours.samples == theirs.samples
    assert ours.class_to_idx == theirs.class_to_idx
    assert ours.filenames() == theirs.filenames()


def test_the_order_does_not_depend_on_the_file_system(tmp_path: Path) -> None:
    """Names that timm takes for equal."""
    reader = FolderReader(put(tmp_path, 'a1/01.png', 'a1/1.png', 'a01/x.png', 'A1/1.PNG'))
    assert list(reader.class_to_idx) == ['A1', 'a01', 'a1']
    assert reader.filenames() == ['A1/1.PNG', 'a1/01.png', 'a1/1.png', 'a01/x.png']


def test_the_first_folder_is_the_class(tmp_path: Path) -> None:
    root = put(tmp_path, 'cat/am/1.png', 'cat/pm/1.png', 'cat/2.png', 'dog/am/1.png')
    reader = FolderReader(root)
    assert reader.class_to_idx == {'cat': 0, 'dog': 1}
    assert [c for _, c in reader.samples] == [0, 0, 0, 1]
    assert reader.notes() == ['the class is the first folder; folders within it are not classes: am, pm']


def test_hidden_and_system_folders(tmp_path: Path) -> None:
    hidden = ('.git', '__MACOSX', '.ipynb_checkpoints', '@eaDir', '$RECYCLE.BIN', 'lost+found')
    root = put(tmp_path, 'cat/1.png', 'dog/1.png', 'cat/._1.png', 'dog/.ipynb_checkpoints/1.png', 'Thumbs.db',
               'cat/Thumbs.db', '.DS_Store', *(f'{name}/1.png' for name in hidden))
    reader = FolderReader(root)
    assert reader.class_to_idx == {'cat': 0, 'dog': 1}
    assert reader.filenames() == ['cat/1.png', 'dog/1.png']
    assert reader.notes() == []


def test_extensions(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = put(tmp_path, 'train/cat/1.png', 'train/cat/2.webp', 'train/cat/3.TIF', 'train/cat/4.bmp',
               'train/dog/1.heic', 'train/dog/2.heic', 'train/dog/readme', 'train/dog/1.xml', 'train/labels.csv')
    with caplog.at_level(logging.INFO):
        dataset = open_dataset('', root, 'train')
    assert len(class_indices(dataset)) == 4
    folder = root / 'train'
    assert f'train: 4 images, 1 class (cat), {folder}' in caplog.messages
    left = f'{folder}: left out 2 .heic, 1 other, 1 .xml files (--img-extensions sets what is read)'
    assert any(sorted(left) == sorted(message) for message in caplog.messages)  # in some order
    assert f'{folder}: folders without images are no classes: dog' in caplog.messages
    assert len(class_indices(open_dataset('', root, 'train', ['webp', '.BMP']))) == 2
    assert class_names(open_dataset('', root, 'train', ['png', 'heic'])) == ['cat', 'dog']
    with pytest.raises(UsageError, match=r'only 2 .webp files; files that are read: .png \(change it'):
        FolderReader(put(tmp_path / 'only', 'cat/1.webp', 'cat/2.webp'), extensions=['png'])
    with pytest.raises(UsageError, match='--img-extensions: expected extensions such as png webp'):
        FolderReader(root, extensions=['.'])


def test_images_without_a_class(tmp_path: Path) -> None:
    root = put(tmp_path, 'cat/1.png', *(f'{i}.png' for i in range(1200)))
    with pytest.raises(UsageError, match=r'1,200 images in no class folder \(.*, ..\): expected one folder per class'):
        FolderReader(root)


def test_class_map(tmp_path: Path) -> None:
    root = put(tmp_path / 'data', 'cat/1.png', 'dog/1.png', 'pets/fish/1.png', 'pets/fish/2.png', 'other/1.png')
    (root / 'map.txt').write_text('fish\ncat\ndog\n\n')
    for given in ('map.txt', str(root / 'map.txt'), {'fish': 0, 'cat': 1, 'dog': 2}):
        reader = FolderReader(root, given)
        assert [c for _, c in reader.samples] == [1, 2, 0, 0]
        assert reader.notes() == ['left out 1 image of folders that are not in the class map: other']
    theirs = create_dataset('', str(root), '', class_map=str(root / 'map.txt')).reader
    (root / 'windows.txt').write_bytes(b'\xef\xbb\xbf' + (root / 'map.txt').read_bytes())
    assert FolderReader(root, 'windows.txt').samples == theirs.samples
    assert FolderReader(root, 'map.txt').samples == theirs.samples
    for content, message in (
        ('fish\n\ncat\n', 'line 2 is empty: leave it out'),
        ('a\nb\n', 'contains no images of the classes in the class map, only of'), ('\n', 'expected a name per line'),
    ):
        (root / 'map.txt').write_text(content)
        with pytest.raises(UsageError, match=message):
            FolderReader(root, 'map.txt')
    (root / 'map.pkl').write_text('damaged')
    for name, message in (('map.pkl', 'cannot be read|Invalid'), ('nowhere.txt', 'Cannot locate'), ('a.csv', 'Cannot')):
        with pytest.raises(UsageError, match=f'--class-map {name}: .*({message})'):
            FolderReader(root, name)


def test_links(tmp_path: Path) -> None:
    """A link to a folder above is not followed without end, one to another folder is."""
    root = put(tmp_path / 'data', 'cat/1.png')
    put(tmp_path / 'elsewhere', '1.png')
    (root / 'cat' / 'up').symlink_to(root)
    (root / 'dog').symlink_to(tmp_path / 'elsewhere')
    assert FolderReader(root).filenames() == ['cat/1.png', 'dog/1.png']


@pytest.mark.parametrize(('name', 'options', 'message'), [
    ('wds', {}, '--dataset wds: expected TYPE/NAME with a TYPE of torch, hfds, hfids, tfds, wds; for an image folder'),
    ('tochr/cifar10', {}, 'did you mean torch'),
    ('', {'num_samples': 5, 'is_training': True}, '--train-num-samples: has no effect on image folders, only'),
    ('torch/cifar10', {'num_samples': 5}, '--val-num-samples: has no effect on torch/ datasets'),
    ('', {'repeats': 2.0}, '--epoch-repeats: has no effect on image folders'),
    ('torch/cifar10', {'class_map': 'x'}, '--class-map: has no effect on torch/ datasets'),
    ('', {'target_key': 'label'}, '--input-key and --target-key: image folders have no fields'),
    ('', {'input_key': 'image'}, '--input-key and --target-key: image folders have no fields'),
])
def test_options_without_effect(tiny_images: Path, name: str, options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_dataset(name, tiny_images, 'train', **options)


def test_timms_input_key_for_folders(tiny_images: Path) -> None:
    """In timm, extensions."""
    assert len(class_indices(open_dataset('', tiny_images, 'train', input_key='.png;.webp'))) == 36
