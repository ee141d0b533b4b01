"""A `.tar` of images, which timm reads: what it would get wrong without a word."""
import logging
import tarfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from timm.data.readers.img_extensions import get_img_extensions

from ..errors import UsageError
from .image_folder import counted, read_extensions
from .processes import log_on_primary
from .splits import is_hidden, kind_of

__all__ = ['check_tar']

_logger = logging.getLogger(__name__)


def check_tar(file: str | Path | None, quiet: bool = False, extensions: Sequence[str] | None = None) -> None:
    """Check that timm reads a .tar of images as a folder of one split would be read; others may be given.

    Unless `quiet`, it logs which images timm does not read from a .tar.

    Raises:
        UsageError: it has splits, hidden images or images in no folder, it cannot be read, or it is another kind of
            file; or there are `extensions`, which timm does not use here.
    """
    if file is None or Path(file).is_dir():
        return
    if Path(file).suffix != '.tar':
        raise UsageError(f'{file}: not a folder: expected an image folder, or a .tar of it')
    if extensions:
        raise UsageError(f'--img-extensions: has no effect on a .tar, {file}: leave it out')
    try:
        with tarfile.open(file, 'r:') as tar:
            names = [m.name for m in tar if m.isfile()]
    except (OSError, tarfile.TarError) as e:
        reason = e.strerror if isinstance(e, OSError) else 'damaged, compressed or of another format'
        raise UsageError(f'{file}: cannot be read as a .tar ({reason})') from None
    parts = {Path(name).parts[:2] for name in names}
    tops = {p[0] for p in parts if len(p) > 1}
    inner = {p[1] for p in parts if len(p) > 1} if len(tops) == 1 and not any(map(kind_of, tops)) else set()
    for folders in (tops, inner):
        if len({kind for name in folders if (kind := kind_of(name))}) > 1:
            raise UsageError(
                f'{file}: has the splits {", ".join(sorted(folders))}, but a .tar is read as one: unpack it'
            )
    images = [PurePosixPath(name) for name in names if name.lower().endswith(get_img_extensions())]
    for odd, why in (
        ([p for p in images if _is_hidden(p)], 'hidden, and timm would read them'),
        ([p for p in images if len(p.parts) == 1], 'in no folder: it would be a class without a name'),
    ):
        if odd:
            number = f'{counted(len(odd), "image")}, such as {odd[0]},'
            verb = 'is' if len(odd) == 1 else 'are'
            raise UsageError(f'{file}: {number} {verb} {why}: pack the others only, or unpack the file')
    kinds = Counter(path.suffix.lower() for path in map(PurePosixPath, names) if not _is_hidden(path))
    left_out = sorted(kind for kind in {*read_extensions(None)} - {*get_img_extensions()} if kind in kinds)
    shown = ', '.join(f'{kinds[kind]:,} {kind}' for kind in left_out)
    if left_out and not any(name.lower().endswith((*get_img_extensions(), '.tar')) for name in names):
        raise UsageError(f'{file}: contains {shown} files only, and timm reads PNG and JPEG from a .tar: unpack it')
    if left_out and not quiet:
        note = f'{file}: left out {shown} files: timm reads PNG and JPEG from a .tar; unpack it to use all images'
        log_on_primary(_logger, note, logging.WARNING)


def _is_hidden(path: PurePosixPath) -> bool:
    """Whether a file in a .tar is hidden, or in a hidden folder."""
    return any(map(is_hidden, path.parts))
