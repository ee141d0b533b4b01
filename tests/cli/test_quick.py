"""What answers at once: help, version, and commands that need no network are free of torch and other heavy packages."""
import json
import subprocess
import sys
from pathlib import Path

import pytest

from fpnas_timm.arch import Arch
from fpnas_timm.arch.cost import cost
from fpnas_timm.cli import COMMANDS, main
from fpnas_timm.zoo import ARCHS

HEAVY = ('torch', 'torchvision', 'timm', 'numpy', 'scipy', 'matplotlib', 'sklearn', 'PIL', 'fvcore', 'huggingface_hub')
DISTINCT = 'i32-cn_r1_k3_s2_c8_nsw-ir_r1_k3_s1_e1_c8_nre-cn_r1_k1_s1_c64_nsw'

# runs every command line in one process and prints, for each, its status and the heavy packages it has imported
SCRIPT = """
import contextlib, io, json, sys
from fpnas_timm.cli import main
results = []
for argv in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            status = main(argv)
        except SystemExit as e:
            status = e.code
    found = sorted(set(json.loads(sys.argv[2])) & {name.partition('.')[0] for name in sys.modules})
    results.append([argv, status, bool(out.getvalue()), found])
print(json.dumps(results))
"""


def test_nothing_heavy_is_imported(tmp_path: Path) -> None:
    lines = [
        ['--help'], ['--version'], *[[name, '--help'] for name in COMMANDS],
        *[['hub', verb, '--help'] for verb in ('push', 'pull', 'verify', 'list')],
        ['train', '--list-recipes'], ['flops', DISTINCT, '--no-check'], ['flops', '--no-check', '--json'],
        ['flops', 'fpnas_l2', '--no-check', '--img-size', '64'],
    ]
    run = subprocess.run(
        [sys.executable, '-c', SCRIPT, json.dumps(lines), json.dumps(HEAVY)], capture_output=True, text=True, check=True
    )
    assert json.loads(run.stdout) == [[argv, 0, True, []] for argv in lines]


def test_pictures_need_no_torch(tmp_path: Path) -> None:
    """`draw`, and all of `arch`, `spaces` and `draw` from Python; matplotlib brings NumPy."""
    code = (
        'import sys; from fpnas_timm.cli import main; from fpnas_timm.draw import draw_arch; '
        'import fpnas_timm.arch.cost, fpnas_timm.spaces, fpnas_timm.spaces.decode, fpnas_timm.zoo.reconstruct; '
        f"assert main(['draw', 'fpnas_l0', '-o', {str(tmp_path / 'l0.png')!r}]) == 0; "
        f"assert main(['draw', {DISTINCT!r}, '-o', {str(tmp_path / 'own.svg')!r}]) == 0; "
        "assert not {'torch', 'timm'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, '-c', code], check=True, capture_output=True)
    assert (tmp_path / 'l0.png').exists() and (tmp_path / 'own.svg').exists()


def test_own_names_of_a_manifest_need_no_torch(tmp_path: Path) -> None:
    manifest = tmp_path / 'own.json'
    entry = {
        'model': 'quick_net.a', 'sha256': '0' * 64, 'metrics': {}, 'recipe': 'none', 'license': 'mit',
        'folder': 'nowhere', 'arch': DISTINCT,
    }
    manifest.write_text(json.dumps({'weights': [entry]}))
    code = (
        'import sys; from fpnas_timm.zoo import resolve_arch; arch, label = resolve_arch("quick_net"); '
        f'assert (str(arch), label) == ({str(Arch.parse(DISTINCT))!r}, "quick_net"); assert "torch" not in sys.modules'
    )
    env = {'FPNAS_MANIFEST': str(manifest), 'PYTHONPATH': ':'.join(filter(None, sys.path))}
    subprocess.run([sys.executable, '-c', code], check=True, capture_output=True, env=env)


def test_flops_without_check(capsys: pytest.CaptureFixture) -> None:
    assert main(['flops', 'fpnas_s1pp', '--json']) == 0
    checked, = json.loads(capsys.readouterr().out)
    assert main(['flops', 'fpnas_s1pp', '--no-check', '--json']) == 0
    row, = json.loads(capsys.readouterr().out)
    assert row == {**checked, 'fvcore_macs': None, 'params': None, 'others': {}, 'agrees': None}
    assert (row['cost_macs'], row['cost_params']) == (checked['fvcore_macs'], checked['params'])
    assert main(['flops', '--no-check', '--json']) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(r['model'], r['cost_macs']) for r in rows] == [(n, cost(Arch.parse(s)).macs) for n, s in ARCHS.items()]
    assert main(['flops', DISTINCT, '--no-check']) == 0
    out = capsys.readouterr().out
    assert 'not checked' in out and str(Arch.parse(DISTINCT).head) in out
    assert main(['flops', 'nonet', '--no-check']) == 2


def test_pictures_and_costs_as_data(capsys: pytest.CaptureFixture) -> None:
    assert main(['draw', DISTINCT, '--json']) == 0
    drawn = json.loads(capsys.readouterr().out)
    assert [box['height'] for boxes in drawn['groups'] for box in boxes] == [
        block.out_chs for blocks in Arch.parse(DISTINCT).blocks for block in blocks
    ]
    assert main(['draw', DISTINCT, '--json', '-o', 'x.png']) == 2
    assert main(['flops', DISTINCT, '--json', '--no-check']) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert sum(part['macs'] for part in row['parts']) == row['cost_macs']
    assert '-'.join(part['token'] for part in row['parts'])[:-1] == str(Arch.parse(DISTINCT)).partition('-')[2]
