"""A line more in `choices.py` is all that a new non-linearity or kernel takes."""
import subprocess
import sys
from pathlib import Path

import fpnas_timm

# The tables are changed before anything else is imported, as if the two lines stood in the file.
CODE = """
import sys, types
for name, folder in (('fpnas_timm', sys.argv[1]), ('fpnas_timm.arch', sys.argv[1] + '/arch')):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [folder]
from fpnas_timm.arch import choices
choices.ACTS['ge'] = choices.Act('gelu', 'GELU', 'xx', ('gelu',))
choices.KERNELS[13] = ''
del sys.modules['fpnas_timm'], sys.modules['fpnas_timm.arch']

import torch
from fpnas_timm.arch import Arch, ArchError
from fpnas_timm.arch.cost import cost
from fpnas_timm.draw.arch import draw_arch
from fpnas_timm.model.network import FPNAS

text = 'i32-cn_r1_k3_s2_c8_nge-ir_r1_k13_s2_e2_c8_nge_sp2-cn_r1_k1_s1_c16_nge'
arch = Arch.parse(text)
assert str(arch) == text
model = FPNAS(text, num_classes=10).eval()
assert any(type(m).__name__ == 'GELU' for m in model.modules())
assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
assert cost(arch, num_classes=10).params == sum(p.numel() for p in model.parameters())
print([t.get_text() for t in draw_arch(arch).legends[0].get_texts()])
for wrong in ('ngelu', 'gelu', 'nxx'):
    try:
        Arch.parse(text.replace('nge', wrong))
    except ArchError as e:
        print(e)
try:
    Arch.parse(text.replace('k13', 'k14'))
except ArchError as e:
    print(e)
"""


def test_a_new_non_linearity_and_kernel_are_one_line_each():
    folder = Path(fpnas_timm.__file__).parent
    done = subprocess.run([sys.executable, '-c', CODE, str(folder)], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    legend, *hints, unknown, kernel = done.stdout.strip().splitlines()
    assert legend == "['13x13 depthwise', 'GELU', 'stem, 1x1 head', '2 splits']"
    assert all(hint.endswith('; did you mean nge?') for hint in hints) and len(hints) == 2
    assert 'expected r, k, s, c, nre|nsw|nhs|nr6|nge with their values' in unknown
    assert kernel.endswith('k14: expected one of k0, k3, k5, k7, k9, k11, k13; did you mean k13?')
