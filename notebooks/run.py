"""Run the notebooks in a scratch folder and write their outputs into them: make notebooks."""
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent


def main(names: list[str]) -> None:
    for path in sorted(HERE.glob('*.ipynb')):
        if names and path.stem not in names:
            continue
        notebook, started = nbformat.read(path, as_version=4), time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            NotebookClient(notebook, timeout=None, resources={'metadata': {'path': folder}}).execute()
        for cell in notebook.cells:
            cell.metadata.pop('execution', None)  # when each cell ran
        nbformat.write(notebook, path)
        print(f'{path.name}: {time.monotonic() - started:.0f} s, {path.stat().st_size / 1e3:.0f} kB', flush=True)


if __name__ == '__main__':
    main(sys.argv[1:])
