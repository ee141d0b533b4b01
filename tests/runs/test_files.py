"""Atomic writes, and JSON lines."""
import os
from pathlib import Path

import pytest

from fpnas_timm.runs.files import read_jsonl, replacing, write_jsonl, write_text


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
