"""Processes whose Hub is a `HubServer`, with the real huggingface_hub client."""
import os
import subprocess
from pathlib import Path

import fpnas_timm  # noqa: F401
from tests.helpers.hub_server import HubServer
from tests.helpers.preloaded import run_python

ARCH = 'i32-cn_r1_k3_s2_c8_nsw-ir_r1_k3_s2_e3_c16_nre_sp2-ir_r1_k5_s1_e2_c24_nsw_sp1-cn_r1_k1_s1_c32_nsw'
ROOT = Path(__file__).parents[2]


def client(server: HubServer, home: Path, code: str, **env: str) -> subprocess.CompletedProcess:
    """Run Python code in a new process whose Hub is `server`, with its own cache under `home`."""
    settings = {
        **{k: v for k, v in os.environ.items() if not k.startswith(('HF_', 'FPNAS_'))},
        'HF_ENDPOINT': server.url,
        'HF_HOME': str(home),
        'HF_HUB_DISABLE_XET': '1',
        'HF_HUB_DISABLE_PROGRESS_BARS': '1',
        'HF_HUB_DISABLE_TELEMETRY': '1',
        'PYTHONPATH': str(ROOT),
        'OMP_NUM_THREADS': '1',
        **env,
    }
    return run_python(code, settings, home)


def hub(server: HubServer, home: Path, *argv: str, **env: str) -> subprocess.CompletedProcess:
    code = f'import sys; from fpnas_timm.cli.hub import main; sys.exit(main({list(argv)!r}))'
    return client(server, home, code, **env)


def logits(*names: str, **kwargs: object) -> str:
    """Code that prints the sum of a model's logits on ones, per name."""
    return (
        'import timm, torch, fpnas_timm\n'
        f'for name in {names!r}:\n'
        f'    model = timm.create_model(name, pretrained=True, **{kwargs!r}).eval()\n'
        '    with torch.inference_mode(): print(model(torch.ones(1, model.in_chans, 32, 32)).double().sum().item())\n'
    )


def repo_files(run_folder: Path) -> dict[str, bytes]:
    return {f.name: f.read_bytes() for f in (run_folder / 'export').iterdir()}


def one_line(run: subprocess.CompletedProcess, status: int = 1) -> str:
    """The error of a command line: one line, this exit status, no traceback."""
    lines = [line for line in run.stderr.splitlines() if line.startswith('error: ')]
    assert run.returncode == status, run.stderr
    assert 'Traceback' not in run.stderr
    assert len(lines) == 1, run.stderr
    return lines[0]
