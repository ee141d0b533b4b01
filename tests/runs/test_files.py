"""Atomic writes, their permissions, and JSON lines."""
import os
import stat
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from fpnas_timm.runs.files import read_jsonl, replacing, replacing_folder, write_jsonl, write_text


def test_an_error_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / 'f.txt'
    write_text(path, 'old')
    with pytest.raises(KeyError), replacing(path) as temporary:
        temporary.write_text('half')
        raise KeyError
    assert path.read_text() == 'old'
    assert os.listdir(tmp_path) == ['f.txt']
    write_jsonl(path, [{'a': 1}, {'b': 2}])
    assert path.read_text() == '{"a": 1}\n{"b": 2}\n'
    assert read_jsonl(path) == [{'a': 1}, {'b': 2}]
    assert read_jsonl(tmp_path / 'nowhere') == []


@pytest.mark.parametrize('umask', [0o022, 0o027, 0o077])
def test_the_umask_decides_who_may_read(tmp_path: Path, umask: int) -> None:
    """Whatever wrote the file: safetensors alone makes it readable for its owner only."""
    before = os.umask(umask)
    try:
        (tmp_path / 'plain').touch()
        with replacing(tmp_path / 'f.safetensors') as temporary:
            save_file({'x': torch.ones(1)}, temporary)
        with replacing_folder(tmp_path / 'export') as temporary:
            save_file({'x': torch.ones(1)}, temporary / 'model.safetensors')
    finally:
        os.umask(before)
    for name in ('plain', 'f.safetensors', 'export/model.safetensors'):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o666 & ~umask, name


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / 'export'
    for names in (('a', 'b'), ('b', 'c')):
        with replacing_folder(folder) as temporary:
            for name in names:
                (temporary / name).write_text(name)
        assert {p.name for p in folder.iterdir()} == set(names)
    with pytest.raises(KeyError), replacing_folder(folder) as temporary:
        (temporary / 'd').write_text('half')
        raise KeyError
    assert {p.name for p in folder.iterdir()} == {'b', 'c'}
    assert os.listdir(tmp_path) == ['export']


def test_an_error_names_the_file(tmp_path: Path) -> None:
    """A write to a full disk says only that no space is left."""
    for replace in (replacing, replacing_folder):
        with pytest.raises(OSError, match='No space') as caught, replace(tmp_path / 'f'):
            raise OSError(28, 'No space left on device')
        assert caught.value.filename == str(tmp_path / 'f')
