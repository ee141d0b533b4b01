"""Run any timm script unchanged, with this package's models known to it: `python -m fpnas_timm.run SCRIPT args..`.

timm's `train.py` has `--device-modules fpnas_timm` for that; `validate.py`, `benchmark.py`, `inference.py` and
`onnx_export.py` do not all have it. Under torchrun: `torchrun --nproc-per-node 2 -m fpnas_timm.run SCRIPT args..`.
"""
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from .errors import UsageError, exit_status

__all__ = ['main']

USAGE = "usage: python -m fpnas_timm.run SCRIPT args..  (SCRIPT: a file of timm's repository, such as validate.py)"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script that is named first, with the rest as its arguments; its own exit status is passed on."""
    argv = list(sys.argv[1:] if argv is None else argv)

    def run() -> int:
        if argv and argv[0] in ('-h', '--help'):
            print(USAGE)
            return 0
        if not argv:
            raise UsageError(USAGE)
        script = Path(argv[0])
        if not script.is_file():
            raise UsageError(f"{script}: no such script (timm's are in its repository, not in its wheel)")
        sys.argv = [str(script), *argv[1:]]
        sys.path.insert(0, str(script.resolve().parent))
        runpy.run_path(str(script), run_name='__main__')
        return 0

    return exit_status(run)


if __name__ == '__main__':
    sys.exit(main())
