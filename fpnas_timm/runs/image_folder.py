"""Image folders: a folder per class, with the images' order and the classes' indices of timm."""
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from timm.data.readers.class_map import load_class_map
from timm.data.readers.reader_image_folder import ReaderImageFolder

from ..errors import UsageError, one_line
from .splits import is_hidden

__all__ = ['IMG_EXTENSIONS', 'FolderReader', 'read_extensions', 'walk_folders']

_DIGITS = re.compile(r'(\d+)')
# those of them that the installed Pillow can read are read
IMG_EXTENSIONS = (
    '.png', '.jpg', '.jpeg', '.jfif', '.webp', '.tif', '.tiff', '.bmp', '.gif', '.ppm', '.pgm', '.pbm', '.pnm', '.jp2',
    '.avif',
)


def read_extensions(given: Sequence[str] | None) -> tuple[str, ...]:
    """The extensions of image files, in lower case with a dot.

    Args:
        given: as in `--img-extensions`; None or empty: those of `IMG_EXTENSIONS` that Pillow can read.

    >>> read_extensions(['PNG', '.webp'])
    ('.png', '.webp')
    """
    if not given:
        known = Image.registered_extensions()
        return tuple(e for e in IMG_EXTENSIONS if e in known)
    extensions = tuple(f'.{e.strip().lower().removeprefix(".")}' for e in given)
    if '.' in extensions:
        raise UsageError('--img-extensions: expected extensions such as png webp')
    return extensions


@dataclass
class Scan:
    """What a folder contains: the images, and what is left out."""

    paths: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)  # files by extension
    loose: list[str] = field(default_factory=list)  # images that are in no class folder
    unmapped: Counter[str] = field(default_factory=Counter)  # images by class folder that the class map does not have
    empty: list[str] = field(default_factory=list)  # class folders without images
    deeper: set[str] = field(default_factory=set)  # names of folders within class folders that have images


class FolderReader(ReaderImageFolder):
    """Reads an image folder: the class of an image is the first folder below `root`.

    Hidden files and folders, and those of the system, are left out. Order and indices are timm's; where timm's depend
    on the file system (names that differ only in case or leading zeros), the names decide.

    Args:
        root: the folder of the split.
        class_map: file or dict, class name -> index. With it, the class is the first folder whose name it contains;
            images of other folders are left out.
        extensions: from `read_extensions`.

    Raises:
        UsageError: no images, images outside the class folders, or a class map that cannot be read.
    """

    def __init__(
            self, root: str | Path, class_map: str | Mapping[str, int] = '', extensions: Sequence[str] | None = None
    ) -> None:
        self.root = str(root)
        self.extensions = read_extensions(extensions)
        mapped = _read_class_map(class_map, self.root) if class_map else None
        self.scan = _scan(self.root, frozenset(self.extensions), mapped)
        self._check()
        if mapped is None:
            names = sorted(set(self.scan.labels), key=lambda n: (_natural_key(n), n))
            mapped = {name: i for i, name in enumerate(names)}
        self.class_to_idx = mapped
        below = len(os.path.join(self.root, ''))  # the order is that of the whole paths, which all start alike
        order = sorted(
            zip(self.scan.paths, self.scan.labels), key=lambda item: (_natural_key(item[0][below:]), item[0])
        )
        self.samples = [(path, mapped[label]) for path, label in order]
        self.scan.paths, self.scan.labels = [], []  # not once more in every DataLoader worker

    def _check(self) -> None:
        """Raise UsageError if there are no images, or images without a class."""
        scan, types = self.scan, ', '.join(self.extensions)
        if scan.loose:
            shown = ', '.join(scan.loose[:3]) + (', ..' if len(scan.loose) > 3 else '')
            raise UsageError(
                f'{self.root}: {counted(len(scan.loose), "image")} in no class folder ({shown}): expected one folder '
                'per class'
            )
        if scan.paths:
            return
        if scan.unmapped:
            shown = ', '.join(list(scan.unmapped)[:5])
            raise UsageError(f'{self.root}: contains no images of the classes in the class map, only of {shown}')
        others = f', only {left_out(scan.left_out)} files' if scan.left_out else ''
        raise UsageError(
            f'{self.root}: contains no images in class folders{others}; files that are read: {types} (change it with '
            '--img-extensions)'
        )

    def _filename(self, index: int, basename: bool = False, absolute: bool = False) -> str:
        """As timm's, but faster: all paths start with the root."""
        path = self.samples[index][0]
        return os.path.basename(path) if basename else path if absolute else path[len(os.path.join(self.root, '')):]

    def notes(self) -> list[str]:
        """Sentences about what the folder has that a user may not expect; empty for an ordinary folder."""
        scan, notes = self.scan, []
        if scan.left_out:
            notes.append(f'left out {left_out(scan.left_out)} files (--img-extensions sets what is read)')
        if scan.unmapped:
            shown = ', '.join(list(scan.unmapped)[:5])
            number = sum(scan.unmapped.values())
            notes.append(f'left out {counted(number, "image")} of folders that are not in the class map: {shown}')
        if scan.empty:
            notes.append(f'folders without images are no classes: {", ".join(scan.empty[:5])}')
        if scan.deeper:
            shown = ', '.join(sorted(scan.deeper)[:5])
            notes.append(f'the class is the first folder; folders within it are not classes: {shown}')
        return notes


def left_out(counts: Mapping[str, int]) -> str:
    """'12 .heic, 3 .txt'.

    >>> left_out({'.txt': 3, '': 1, '.heic': 1200})
    '1,200 .heic, 3 .txt, 1 other'
    """
    return ', '.join(f'{n:,} {ext or "other"}' for ext, n in sorted(counts.items(), key=lambda item: -item[1])[:6])


def counted(number: int, noun: str) -> str:
    """'1 image', '1,200 images', '2 classes'."""
    plural = f'{noun}es' if noun.endswith('s') else f'{noun}s'
    return f'{number:,} {noun if number == 1 else plural}'


def _scan(root: str, extensions: frozenset[str], mapped: Mapping[str, int] | None) -> Scan:
    scan = Scan()
    with_images: set[str] = set()
    folders: list[str] = []
    for parts, files in walk_folders(root, (), ()):
        if len(parts) == 1:
            folders.append(parts[0])
        label = parts[0] if parts else ''
        if mapped is not None:
            label = next((part for part in parts if part in mapped), '')
        folder = os.path.join(root, *parts)
        for name in files:
            extension = os.path.splitext(name)[1].lower()
            if extension not in extensions:
                if parts:
                    scan.left_out[extension] += 1
            elif not parts:
                scan.loose.append(name)
            elif mapped is not None and not label:
                scan.unmapped[parts[0]] += 1
            else:
                scan.paths.append(os.path.join(folder, name))
                scan.labels.append(label)
                with_images.add(parts[0])
                if mapped is None and len(parts) > 1:
                    scan.deeper.add(parts[1])
    scan.empty = sorted(set(folders) - with_images - set(scan.unmapped))
    return scan


def walk_folders(
        root: str, parts: tuple[str, ...], above: tuple[tuple[int, int], ...]
) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """The folders below `root`, as the names that lead to them, and the names of their files; links are followed."""
    folder = os.path.join(root, *parts)
    try:
        status = os.stat(folder)
        with os.scandir(folder) as entries:
            visible = [(e.name, e.is_dir()) for e in entries if not is_hidden(e.name)]
    except OSError as e:
        raise UsageError(f'{folder}: cannot be read ({e.strerror})') from None
    here = (status.st_dev, status.st_ino)
    if here in above:  # a link to a folder above it
        return
    yield parts, [name for name, is_folder in visible if not is_folder]
    for name, is_folder in visible:
        if is_folder:
            yield from walk_folders(root, (*parts, name), (*above, here))


def _natural_key(text: str) -> list[int | str]:
    """timm's `natural_key`, for all digits."""
    parts: list[int | str] = list(_DIGITS.split(text.lower()))
    parts[1::2] = map(int, parts[1::2])
    return parts


def _read_class_map(class_map: str | Mapping[str, int], root: str) -> dict[str, int]:
    """The class map as timm reads it: class name -> index."""
    there = isinstance(class_map, str) and any(path.is_file() for path in (Path(class_map), Path(root, class_map)))
    if there and Path(str(class_map)).suffix.lower() not in ('.txt', '.pkl'):
        raise UsageError(
            f'--class-map {class_map}: expected a .txt file with a name per line, or a .pkl file with a dict of names '
            'and indices'
        )
    try:
        mapped = load_class_map(class_map, root)
    except (AssertionError, OSError, ValueError, EOFError, LookupError, TypeError) as e:
        raise UsageError(f'--class-map {class_map}: {one_line(e)}') from None
    except Exception as e:  # pickle's own errors
        raise UsageError(f'--class-map {class_map}: cannot be read ({one_line(e)})') from None
    _check_lines(class_map, root)
    mapped = {str(name).removeprefix('\ufeff'): index for name, index in mapped.items() if name != ''}  # of Windows
    if not mapped or not all(isinstance(i, int) and i >= 0 for i in mapped.values()):
        raise UsageError(f'--class-map {class_map}: expected a name per line, or a dict of names and indices')
    return mapped


def _check_lines(class_map: str | Mapping[str, int], root: str) -> None:
    """Raise UsageError for a name on two lines of a .txt file, or a blank line: timm would leave a number unused."""
    if not isinstance(class_map, str) or Path(class_map).suffix.lower() != '.txt':
        return
    path = Path(class_map) if Path(class_map).exists() else Path(root) / class_map
    lines: dict[str, int] = {}
    names = [line.strip() for line in path.read_text(encoding='utf-8').rstrip().splitlines()]
    if '' in names:
        raise UsageError(f'--class-map {class_map}: line {names.index("") + 1} is empty: leave it out')
    for number, name in enumerate(names, 1):
        first = lines.setdefault(name, number)
        if first != number:
            raise UsageError(
                f'--class-map {class_map}: {name!r} is on line {first} and on line {number}: leave one of them out'
            )
