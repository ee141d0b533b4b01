"""Image files of a user: what is in a folder."""
from pathlib import Path

from PIL import Image

from fpnas_timm.device.image_files import image_files


def test_links_are_followed_and_hidden_files_left_out(tmp_path: Path) -> None:
    for name in ('data/a/1.png', 'elsewhere/2.PNG', 'data/.hidden/3.png'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (4, 4)).save(tmp_path / name, format='PNG')
    (tmp_path / 'data' / 'linked').symlink_to(tmp_path / 'elsewhere')
    (tmp_path / 'elsewhere' / 'back').symlink_to(tmp_path / 'data')
    (tmp_path / 'data' / 'notes.txt').touch()
    data = tmp_path / 'data'
    assert image_files([str(data)]) == [str(data / 'a' / '1.png'), str(data / 'linked' / '2.PNG')]
