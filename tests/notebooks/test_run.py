"""The notebooks run from start to end, and an interrupted kernel keeps what was done: make test-notebooks."""
import re
import time
from pathlib import Path
from queue import Empty
from typing import Any

import nbformat
import pytest
import timm
from jupyter_client import KernelManager
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / 'notebooks').glob('*.ipynb'))
MINUTES = 30  # for a cell or a wait; on an idle machine, a whole notebook takes one to three

pytestmark = pytest.mark.timeout(120 * MINUTES)


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)
def test_it_runs(path: Path, tmp_path: Path) -> None:
    """With as many outputs in each cell as are committed, and in one place while something runs."""
    committed, notebook = (nbformat.read(path, as_version=4) for _ in range(2))
    NotebookClient(notebook, timeout=60 * MINUTES, resources={'metadata': {'path': str(tmp_path)}}).execute()
    for found, wanted in zip(notebook.cells, committed.cells, strict=True):
        if found.cell_type == 'code':
            kinds = [[o.output_type for o in cell.outputs if o.get('name') != 'stderr'] for cell in (found, wanted)]
            assert set(kinds[0]) == set(kinds[1]), found.source
            assert not [o for o in found.outputs if o.output_type == 'error']


def test_quickstart_with_a_connection(tmp_path: Path) -> None:
    """As for a reader who can download: a folder with that network's shape, and random weights, is in its place."""
    name = 'mobilenetv2_050.lamb_in1k'
    timm.models.save_for_hf(timm.create_model(name), str(tmp_path / 'source'), safe_serialization=True)
    notebook = nbformat.read(ROOT / 'notebooks' / 'quickstart.ipynb', as_version=4)
    text = nbformat.writes(notebook)
    assert text.count(f"'{name}'") == 1 and text.count('if is_online():') == 1
    text = text.replace(f"'{name}'", "'source'").replace('if is_online():', 'if True:').replace('epochs=4', 'epochs=2')
    notebook = nbformat.reads(text, as_version=4)
    NotebookClient(notebook, timeout=60 * MINUTES, resources={'metadata': {'path': str(tmp_path)}}).execute()
    printed = ''.join(o.get('text', '') for c in notebook.cells for o in c.get('outputs', []))
    assert 'pretrained weights: source' in printed and 'from the source' in printed


SEARCH = """
from fpnas_timm.cli.demo import digits_folder, digits_space
from fpnas_timm.search import search
digits_folder(__import__('pathlib').Path('digits'))
given = dict(epochs=4, warmup_epochs=1, joint_epoch=None, weight_samples=1, finalists=1, lam=0.1, target_macs='1M')
search(digits_space(), data_dir='digits', img_size=16, batch_size=64, workers=0, output='out', **given)
"""
TRAIN = """
from fpnas_timm.train import train
arch = 'i16-cn_r1_k3_s1_c8_nsw-ir_r1_k3_s2_e2_c16_nsw-cn_r1_k1_s1_c64_nsw'
train('fpnas', arch=arch, data_dir='digits', num_classes=10, epochs=8, batch_size=64, workers=0, output='runs',
      experiment='one', resume='auto', img_size=16, warmup_epochs=0)
"""


class Kernel:
    """A kernel in a folder."""

    def __init__(self, folder: Path) -> None:
        self.manager = KernelManager(kernel_name='python3')
        self.manager.start_kernel(cwd=str(folder))
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=120)

    def run(self, code: str, interrupt_at: str | None = None) -> list[dict[str, Any]]:
        """The outputs of a cell; interrupted as soon as one of them matches `interrupt_at`."""
        asked, outputs, waited = self.client.execute(code), [], time.monotonic()
        while time.monotonic() - waited < 60 * MINUTES:
            try:
                message = self.client.get_iopub_msg(timeout=5)
            except Empty:
                continue
            if message['parent_header'].get('msg_id') != asked:
                continue
            if message['msg_type'] == 'status' and message['content']['execution_state'] == 'idle':
                return outputs
            outputs.append({'type': message['msg_type'], **message['content']})
            if interrupt_at and re.search(interrupt_at, str(message['content'])):
                self.manager.interrupt_kernel()
                interrupt_at = None
        raise AssertionError(f'not finished after {MINUTES} minutes: {outputs[-3:]}')

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


def test_an_interrupted_kernel_keeps_what_was_done(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path)
    try:
        outputs = kernel.run(SEARCH, interrupt_at=r'epoch 2/4 \(')
        [error] = [o for o in outputs if o['type'] == 'error']
        assert error['ename'] == 'KeyboardInterrupt' and "continue with search(resume='out')" in error['evalue']
        assert len([o for o in outputs if o['type'] == 'display_data']) == 1  # what is written again are updates
        assert [o for o in outputs if o['type'] == 'update_display_data']
        assert not [o for o in outputs if o['type'] == 'stream' and 'expected' in o['text']]  # no lines of the log
        outputs = kernel.run("result = search(resume='out'); print(len(result.history), result.macs)")
        [printed] = [o['text'] for o in outputs if o['type'] == 'stream' and o['name'] == 'stdout']
        epochs, macs = map(int, printed.split())
        assert epochs == 4 and 980_000 <= macs <= 1_000_000

        outputs = kernel.run(TRAIN, interrupt_at='epoch 3/8: ')
        [error] = [o for o in outputs if o['type'] == 'error']
        assert error['ename'] == 'KeyboardInterrupt'
        assert (tmp_path / 'runs' / 'one' / 'last.pth.tar').exists()
        outputs = kernel.run(TRAIN)
        assert not [o for o in outputs if o['type'] == 'error']
        history = (tmp_path / 'runs' / 'one' / 'history.jsonl').read_text().splitlines()
        assert len(history) == 8
    finally:
        kernel.close()
