"""The folders of the splits: usual names in any case, one folder too deep, none at all."""
from pathlib import Path

import pytest

from fpnas_timm.errors import UsageError
from fpnas_timm.runs.splits import NoSplitError, find_split, kind_of


def tree(root: Path, *folders: str) -> Path:
    for folder in folders:
        (root / folder).mkdir(parents=True)
    return root


@pytest.mark.parametrize(('folders', 'train', 'validation'), [
    (('train', 'validation'), 'train', 'validation'),
    (('Train', 'Valid'), 'Train', 'Valid'),
    (('TRAINING', 'VAL', 'Test'), 'TRAINING', 'VAL'),
    (('train2017', 'val2017'), 'train2017', 'val2017'),
    (('training_set', 'validation_set'), 'training_set', 'validation_set'),
    (('trainset', 'valset'), 'trainset', 'valset'),
    (('train', 'trainset', 'val', 'valid'), 'train', 'val'),  # timm's order
    (('data/train/cat', 'data/val/cat'), 'data/train', 'data/val'),
    (('.git', '__MACOSX/train', 'a/b/Train', 'a/b/Eval'), 'a/b/Train', 'a/b/Eval'),
    (('train/train/cat', 'val/val/cat'), 'train/train', 'val/val'),
    (('train/Test', 'val/Test'), 'train', 'val'),  # a class called Test
])
def test_found(tmp_path: Path, folders: tuple[str, ...], train: str, validation: str) -> None:
    root = tree(tmp_path, *folders)
    assert find_split(root, 'train') == root / train
    assert find_split(root, 'validation') == root / validation


def test_names_as_given(tmp_path: Path) -> None:
    root = tree(tmp_path, 'seg_train/seg_train/sea', 'seg_test', 'Fold1', 'train')
    assert find_split(root, 'seg_train') == root / 'seg_train' / 'seg_train'
    assert find_split(root, 'fold1') == root / 'Fold1'
    assert find_split(root, 'train') == root / 'train'


@pytest.mark.parametrize('folders', [('cat', 'dog'), ('cat', 'dog', 'train station'), ('cat/am', 'dog/am'), ()])
def test_no_splits(tmp_path: Path, folders: tuple[str, ...]) -> None:
    """The folder of one split itself, as timm's scripts take it."""
    assert find_split(tree(tmp_path, *folders), 'validation') == tmp_path


@pytest.mark.parametrize(('folders', 'split', 'message'), [
    (('train', 'test'), 'validation', "has no folder for the split 'validation', only for others: test, train"),
    (('Valid', 'x'), 'train', "has no folder for the split 'train', only for others: Valid"),
    (('cat', 'dog'), 'fold1', "has no folder for the split 'fold1', only cat, dog"),
    ((), 'fold1', "has no folder for the split 'fold1', no folders at all"),
    (('train',), 'train[:10%]', r"has no folder 'train\[:10%\]'; of an image folder, no part of a split"),
    (('seg_train', 'seg_test'), 'train', 'seg_train and seg_test look like splits: give their names'),
    (('amazon/train', 'dslr/train'), 'train', 'amazon and dslr have such folders: use one of them .*/amazon'),
    (('Train', 'TRAIN'), 'train', "TRAIN and Train could be the split 'train': give one of these names"),
    (('train_a', 'train2', 'train-3'), 'train', "train-3 and train2 could be the split 'train'"),
    (('train', 'val'), '', "has no folder for the split '', only for others: train, val"),
])
def test_refused(tmp_path: Path, folders: tuple[str, ...], split: str, message: str) -> None:
    with pytest.raises(UsageError, match=f'^{tmp_path}: .*{message}'):
        find_split(tree(tmp_path, *folders), split)


def test_the_splits_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(NoSplitError) as e:
        find_split(tree(tmp_path, 'train', 'test'), 'val')
    assert e.value.splits == ['test', 'train']


def test_kinds() -> None:
    assert [kind_of(name) for name in ('Validation', 'testing', 'train_images', 'dev', 'training data')] == [
        'validation', 'test', 'train', 'validation', 'train'
    ]
    assert [kind_of(name) for name in ('trains', 'car', 'contest', 'test tube', '2017')] == [None] * 5
