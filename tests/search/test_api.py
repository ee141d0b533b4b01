"""`search()` as a notebook user calls it: a dataset in memory, a space object, Ctrl-C, and bad input."""

import json
import shutil
import signal
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, create_transform
from torch.utils.data import Dataset, IterableDataset, Subset

from fpnas_timm.arch import Arch, Conv
from fpnas_timm.errors import UsageError
from fpnas_timm.search import decode_family
from fpnas_timm.search.dataset import check_images
from fpnas_timm.search.loop import Search
from fpnas_timm.search.run import SearchResult, search
from fpnas_timm.spaces import MBConvSpace, Row

MICRO = {'kernel': (0, 3), 'act': ('re', 'sw'), 'splits': (0, 2)}
SPACE = MBConvSpace.from_rows(
    'tiny', Conv(3, 2, 8, 'sw'), [Row((1, 2), (4, 8), 1, 1, **MICRO), Row((2,), (8, 12), 1, 2, **MICRO)],
    Conv(1, 1, 16, 'sw'), 16,
)
SETTINGS = dict(epochs=2, warmup_epochs=1, warmup_lr_epochs=0, batch_size=4, workers=0, calibration_batches=2)


class Colours(Dataset):
    """Fifteen noisy images of three colours."""

    classes = ('red', 'green', 'blue')

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.items = []
        for i in range(15):
            pixels = torch.randint(0, 160, (16, 16, 3), generator=generator)
            pixels[..., i % 3] += 90
            self.items.append((Image.fromarray(pixels.to(torch.uint8).numpy()), i % 3))

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int):
        return self.items[index]


@pytest.fixture(scope='module')
def found(tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    output = tmp_path_factory.mktemp('api') / 'out'
    return search(SPACE, Colours(), target_macs=30e3, tolerance=0.3, output=output, **SETTINGS)


def test_result(found: SearchResult, capsys: pytest.CaptureFixture) -> None:
    assert isinstance(found.arch, Arch)
    assert str(found.arch) == (found.folder / 'arch.txt').read_text().strip()
    assert found.arch in SPACE
    assert 21_000 <= found.macs <= 30_000
    model = found.model()
    assert not model.training
    assert str(model.arch) == str(found.arch)
    assert found.params == sum(p.numel() for p in model.parameters())
    logits = model(torch.randn(2, 3, 16, 16))
    assert logits.shape == (2, 3)
    assert logits.isfinite().all()
    assert [row['phase'] for row in found.history] == ['warmup', 'factorized']
    assert SPACE.describe(found.distribution.most_probable()) == found.history[-1]['most_probable']
    assert json.loads((found.folder / 'extract' / 'config.json').read_text())['label_names'] == ['red', 'green', 'blue']
    assert capsys.readouterr().out == ''
    # the accuracy of the extracted folder on the other half of the images, as anyone can count it
    half = json.loads((found.folder / 'halves.json').read_text())['val']
    transform = create_transform(16, mean=IMAGENET_DEFAULT_MEAN, std=IMAGENET_DEFAULT_STD, crop_pct=1.0,
                                 interpolation='bicubic')
    images = torch.stack([transform(Colours()[i][0]) for i in half])
    with torch.no_grad():
        right = (model(images).argmax(1) == torch.tensor([i % 3 for i in half])).sum()
    written = json.loads((found.folder / 'result.json').read_text())
    assert found.supernet_top1_images == written['supernet_top1_images'] == len(half) == 8
    assert found.supernet_top1 == written['supernet_top1'] == 100 * int(right) / 8
    assert repr(found).startswith(f"SearchResult('{found.arch}', macs={found.macs},")
    assert f'multiply-adds  {found.macs:,}\n' in str(found)
    assert f'distribution   {found.distribution!r}\n' in str(found)


def test_resume_needs_the_images_and_gives_the_same(found: SearchResult) -> None:
    with pytest.raises(UsageError, match=r'give it again, as in search\(resume=\.\., dataset=\.\.\)'):
        search(resume=found.folder)
    again = search(resume=found.folder, dataset=Colours())
    assert again.arch == found.arch
    assert torch.equal(again.distribution.alpha, found.distribution.alpha)
    with pytest.raises(UsageError, match='the search space changed since it started'):
        search(SPACE.with_img_size(16, 'other'), Colours(), resume=found.folder)
    with pytest.raises(UsageError, match='epochs is 2 there, 3 here'):
        search(resume=found.folder, dataset=Colours(), epochs=3)


def test_a_folder_that_is_taken_is_named_first(found: SearchResult) -> None:
    """Rather than what else is wrong with a search that would not start there anyway."""
    with pytest.raises(UsageError, match=r"^output='.*': already contains a search: continue it with resume="):
        search(SPACE, Colours(), output=found.folder, **{**SETTINGS, 'batch_size': 64})


def test_interrupted(found: SearchResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the second epoch saves; going on ends where the uninterrupted search did."""
    take_step = Search._take_step

    def interrupt(self: Search) -> dict[str, float]:
        if (self.epoch, self.step) == (1, 0):
            signal.raise_signal(signal.SIGINT)
        return take_step(self)

    out = tmp_path / 'out'
    with monkeypatch.context() as patch:
        patch.setattr(Search, '_take_step', interrupt)
        with pytest.raises(KeyboardInterrupt, match=r"epoch 2; continue with search\(resume='.*', dataset=\.\."):
            search(SPACE, Colours(), target_macs='30K', tolerance=0.3, output=out, resume='auto', **SETTINGS)
    again = search(SPACE, Colours(), target_macs='30K', tolerance=0.3, output=out, resume='auto', **SETTINGS)
    assert again.arch == found.arch
    assert torch.equal(again.distribution.alpha, found.distribution.alpha)


def test_same_as_the_command_line(found: SearchResult, tmp_path: Path) -> None:
    """A folder with the same images in the same order, and the options of a preset, YAML or call, give the same."""
    data, space = tmp_path / 'data', tmp_path / 'space.json'
    space.write_text(json.dumps(SPACE.to_dict()))
    config = tmp_path / 'c.yaml'
    config.write_text('epochs: 7\ntolerance: 0.3\n')
    for i, (image, target) in enumerate(Colours().items):
        folder = data / 'train' / f'{target}'
        folder.mkdir(parents=True, exist_ok=True)
        image.save(folder / f'{i}.png')
    result = search(
        space, data_dir=data, config=config, target_macs=30e3, output=tmp_path / 'out', seed=None, **SETTINGS
    )
    assert len(result.history) == 2  # the call wins over the file
    assert result.history[0]['most_probable'] == found.history[0]['most_probable']
    model = timm.create_model(f'local-dir:{result.folder / "extract"}', pretrained=True)
    assert str(model.arch) == str(result.arch)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'epoch': 3}, r"search\(\): unknown option 'epoch'; did you mean epochs\?"),
        ({'epochs': 'many'}, r"search\(\): epochs='many': expected a whole number"),
        ({'target_macs': -1}, r'search\(\): target_macs=-1: expected more than 0'),
        ({'preset': 'fpnas_s9'}, 'expected one of fpnas_s1pp'),
        ({'no_aug': 'yes'}, 'expected true or false'),
        ({'output': None}, '^output=OUT is required'),
        ({'seed': -1}, r'search\(\): seed=-1: expected 0 to 4294967295'),
        ({'space': 'fpnas_s9'}, 'unknown search space'),
    ],
)
def test_bad_options(options: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        search(**{'space': SPACE, 'dataset': Colours(), 'output': tmp_path / 'out', **options})
    assert not (tmp_path / 'out').exists()


def test_part_of_a_dataset() -> None:
    """`random_split` and the like: classes come from the whole dataset, and no image is read for them."""

    class Unreadable(Colours):
        targets = tuple(i % 3 for i in range(15))

        def __getitem__(self, index: int):
            assert index == 7, 'only the first image is looked at'
            return self.items[index]

    images = check_images(Subset(Unreadable(), [7, 2, 3]))
    assert images.targets == [1, 2, 0]
    assert len(images) == 3
    assert images.class_to_idx == {'red': 0, 'green': 1, 'blue': 2}


class Stream(IterableDataset):
    def __iter__(self):
        return iter(Colours().items)


@pytest.mark.parametrize(
    ('dataset', 'message'),
    [
        ([], 'contains no images'),
        (Stream(), 'expected a map-style torch dataset'),
        ([(torch.zeros(3, 16, 16), 0)], 'its first image is a Tensor: expected a PIL image'),
        ([{'image': None}], r'expected a pair \(PIL image, class\)'),
        ([(Image.new('RGB', (16, 16)), 'red')], "its first class is 'red': expected a whole number"),
        ([(Image.new('RGB', (16, 16)), 0)] * 8, 'all images are of one class'),
    ],
)
def test_bad_datasets(dataset, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        search(SPACE, dataset, output=tmp_path / 'out')


def test_a_folder_that_was_moved_is_resumed(found: SearchResult, tmp_path: Path) -> None:
    """The space is in the folder, wherever it is now."""
    moved = tmp_path / 'moved'
    shutil.copytree(found.folder, moved)
    hidden = found.folder / 'space.json'
    text = hidden.read_text()
    hidden.unlink()  # where the settings say that it is
    try:
        assert str(search(dataset=Colours(), resume=moved).arch) == str(found.arch)
    finally:
        hidden.write_text(text)


def test_a_dataset_and_a_folder_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match='either a dataset or data_dir'):
        search(SPACE, Colours(), data_dir=tmp_path, output=tmp_path / 'out', **SETTINGS)
    assert not (tmp_path / 'out').exists()


def test_a_family_of_a_search_on_a_dataset(found: SearchResult, tmp_path: Path) -> None:
    given = dict(tolerance=0.3, finalists=2, output=tmp_path / 'family')
    with pytest.raises(UsageError, match='given a dataset in Python'):
        decode_family(found.folder, [20e3, 30e3], **given)
    with pytest.raises(UsageError, match='the images changed'):
        decode_family(found.folder, [20e3, 30e3], dataset=Subset(Colours(), range(12)), **given)
    assert not (tmp_path / 'family').exists()
    family = decode_family(found.folder, [20e3, 30e3], dataset=Colours(), **given)
    for member, target in zip(family.members, (20e3, 30e3), strict=True):
        assert 0.7 * target <= member.macs <= target and member.images == found.supernet_top1_images
        model = timm.create_model(f'local-dir:{family.folder / member.name}', pretrained=True)
        assert model.pretrained_cfg['label_names'] == list(Colours.classes)
