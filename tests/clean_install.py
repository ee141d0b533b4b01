"""Run by `make package` in an environment that holds nothing but the wheel: what a user gets from `pip install`."""
import subprocess
import sys
import sysconfig
import zipfile
from importlib.metadata import metadata
from pathlib import Path

ARCH = 'i32-cn_r1_k3_s2_c8_nsw-ir_r1_k3_s1_e3_c16_nre-cn_r1_k1_s1_c32_nsw'


def fpnas(*argv: str) -> str:
    command = Path(sysconfig.get_path('scripts')) / 'fpnas'
    return subprocess.run([command, *argv], capture_output=True, text=True, check=True, cwd='/').stdout


def main() -> None:
    wheel = Path(sys.argv[1])
    with zipfile.ZipFile(wheel) as z:
        names = z.namelist()
    assert wheel.stat().st_size < 1_000_000, wheel.stat().st_size
    assert 'fpnas_timm/py.typed' in names and 'fpnas_timm/weights/weights.json' in names
    assert {'fpnas_timm/draw/page.css', 'fpnas_timm/draw/page.js'} <= set(names)
    assert {n.partition('/')[0] for n in names if '.dist-info' not in n} == {'fpnas_timm'}
    about = metadata('fpnas-timm')
    assert about['License-Expression'] == 'Apache-2.0' and 'Typing :: Typed' in about.get_all('Classifier')
    assert fpnas('--version') == f'fpnas_timm {about["Version"]}\n'
    assert 'fpnas_l2' in fpnas('info') and '"agrees": true' in fpnas('flops', ARCH, '--json')
    assert fpnas('hub', 'list').startswith('No weights are published')
    code = (
        'import timm, fpnas_timm, torch; '
        f"print(timm.create_model('fpnas', arch={ARCH!r})(torch.ones(1, 3, 32, 32)).shape)"
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True, cwd='/')
    assert done.stdout == 'torch.Size([1, 1000])\n'
    print(f'{wheel.name}: {wheel.stat().st_size:,} bytes, installs into a clean environment and runs there')


if __name__ == '__main__':
    main()
