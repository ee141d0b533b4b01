"""Searches for images that are not square and for four channels: costs, windows, images and what is extracted."""
import json
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image

from fpnas_timm.arch import Arch
from fpnas_timm.arch.cost import cost
from fpnas_timm.errors import UsageError
from fpnas_timm.search.options import parse_search_args, search_options
from fpnas_timm.search.run import search
from fpnas_timm.search.setup import set_up
from fpnas_timm.spaces import get_space
from fpnas_timm.spaces.decode import decode
from fpnas_timm.zoo.report import count

from .test_api import SETTINGS, SPACE

WIDE = SPACE.with_img_size((16, 24))


@pytest.fixture(scope='module')
def clear(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grey images, 16 high and 24 wide, of two classes: the 4 columns on either side are transparent or not."""
    root = tmp_path_factory.mktemp('clear')
    for name, alpha in (('clear', 0), ('opaque', 255)):
        (root / 'train' / name).mkdir(parents=True)
        for i in range(24):
            image = Image.new('RGBA', (24, 16), (90 + i, 90 + i, 90 + i, 255))
            for left in (0, 20):
                image.paste((90 + i, 90 + i, 90 + i, alpha), (left, 0, left + 4, 16))
            image.save(root / 'train' / name / f'{i}.png')
    return root


def test_a_search_at_another_height_than_width_with_transparency(clear: Path, tmp_path: Path) -> None:
    """The classes can only be told apart by the fourth channel, and only if the images are not cut to squares."""
    given = {**SETTINGS, 'epochs': 8, 'lr': 0.1}
    result = search(
        SPACE, data_dir=clear, input_size=(4, 16, 24), output=tmp_path / 'out', hflip=0.0,
        scale=(1, 1), ratio=(1.5, 1.5), target_macs=45e3, tolerance=0.3, **given,
    )
    assert result.arch.img_size == (16, 24)
    assert str(result.arch).startswith('i16x24-')
    assert Arch.parse((tmp_path / 'out' / 'arch.txt').read_text().strip()) == result.arch
    assert result.supernet_top1 == 100
    model = result.model()
    counted = count(model, (16, 24), 4).macs
    assert counted == result.macs == cost(result.arch, num_classes=2, in_chans=4).macs
    assert 0.7 * 45e3 <= counted <= 45e3
    config = json.loads((tmp_path / 'out' / 'extract' / 'config.json').read_text())
    assert config['pretrained_cfg']['input_size'] == [4, 16, 24]
    assert config['input_img_mode'] == 'RGBA'
    data = timm.data.resolve_data_config({}, model=model)
    assert data['input_size'] == (4, 16, 24)
    assert json.loads((tmp_path / 'out' / 'space.json').read_text())['img_size'] == [16, 24]
    again = search(resume=tmp_path / 'out')
    assert torch.equal(again.distribution.alpha, result.distribution.alpha)


def test_the_decode_keeps_its_window_by_fvcores_count() -> None:
    """Windows of a few per cent over the range of the space, at both orientations of the image."""
    zeros = [{v: [0.0] * len(c) for v, c in group.items()} for group in WIDE.groups]
    found = set()
    for size in ((16, 24), (24, 16), (17, 31)):
        space = SPACE.with_img_size(size)
        for high in (60_000, 90_000):
            result = decode(space, zeros, macs=(int(0.8 * high), high), num_classes=2, in_chans=4)
            arch = space.to_arch(result.choices)
            model = timm.create_model('fpnas', arch=str(arch), num_classes=2, in_chans=4)
            assert 0.8 * high <= count(model, size, 4).macs <= high
            assert count(model, size, 4).macs == result.cost.macs
            found.add(str(arch))
    assert len(found) > 2


def test_files_of_spaces(tmp_path: Path) -> None:
    """One number for a square, as before; [height, width] otherwise."""
    path = tmp_path / 'space.json'
    for size, written in ((16, 16), ((16, 16), 16), ((16, 24), [16, 24])):
        path.write_text(json.dumps(SPACE.with_img_size(size).to_dict()))
        assert json.loads(path.read_text())['img_size'] == written
        assert get_space(str(path)) == SPACE.with_img_size(size)
    for wrong, message in (([16], 'of 1 numbers'), ([16, 2], 'below the total stride'), ([16, 'a'], "i is 'a'")):
        path.write_text(json.dumps({**SPACE.to_dict(), 'img_size': wrong}))
        with pytest.raises(ValueError, match=message):
            get_space(str(path))


@pytest.mark.parametrize(('options', 'message'), [
    (['--in-chans', '2'], 'give --input-img-mode, one of LA'),
    (['--in-chans', '5'], 'images have 1 to 4'),
    (['--in-chans', '4', '--input-img-mode', 'RGB'], 'RGB has 3 channels, the model 4'),
    (['--in-chans', '3', '--input-img-mode', 'L'], 'L has 1 channels, the model 3'),
    (['--input-size', '2', '16', '24'], 'give --input-img-mode'),
    (['--input-size', '3', '16', '24', '--in-chans', '1'], 'contradicts --input-size 3 16 24'),
    (['--input-size', '3', '16', '24', '--img-size', '32'], 'contradicts --input-size 3 16 24'),
    (['--input-size', '4', '16', '24', '--input-img-mode', 'RGBA', '--aa', 'original'], 'images of 1 or 3 channels'),
    (['--input-size', '3', '16', '24', '--mean', '1', '2'], 'expected one number, or 3'),
])
def test_options_that_contradict_each_other(options: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_search_args(['--data-dir', 'x', '--output', 'y', *options])


def test_channels_follow_from_the_mode() -> None:
    for mode, channels in (('L', 1), ('RGBA', 4), ('CMYK', 4), ('RGB', 3)):
        args = parse_search_args(['--data-dir', 'x', '--output', 'y', '--input-img-mode', mode])
        assert args.in_chans == channels


def test_an_input_size_replaces_that_of_a_preset() -> None:
    args = parse_search_args(['--preset', 'fpnas_l0', '--input-size', '3', '96', '128', '--data-dir', 'x',
                              '--output', 'y'])
    assert (args.img_size, args.input_size, args.in_chans) == (None, [3, 96, 128], 3)


def test_an_image_that_is_too_small(clear: Path, tmp_path: Path) -> None:
    args = search_options({'data_dir': str(clear), 'output': str(tmp_path), 'input_size': (3, 16, 3), **SETTINGS})
    with pytest.raises(UsageError, match='i16x3: the input size is below the total stride'):
        set_up(args, SPACE)
