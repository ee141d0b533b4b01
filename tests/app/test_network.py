"""What the page shows of architectures: figures against `arch`, errors as sentences, nothing that is injected."""
import json
import random
import re
import subprocess
import sys

import pytest

from fpnas_timm.arch import Arch, ArchError
from fpnas_timm.arch.cost import cost, group_costs
from fpnas_timm.arch.edit import edit_group
from fpnas_timm.spaces import get_space
from fpnas_timm.zoo.strings import ARCHS

from .client import TINY, Page, page  # noqa: F401


def test_an_architecture(page: Page) -> None:  # noqa: F811
    arch = Arch.parse(TINY)
    found = page.ask('network', a=TINY, space='fpnas_l0')
    assert (found['a']['arch'], found['a']['macs'], found['a']['params']) == (str(arch), *cost(arch))
    assert found['a']['figure'].count('role="button"') == 4
    assert re.findall(r'data-at="([\d.]+)"', found['a']['figure']) == ['0.0', '0.1', '0.2', '1.0']
    assert 'img_size is 224, not 64' in found['a']['where']
    for part in group_costs(arch).values():
        assert f'{part.macs:,}</span>' in found['html']['costs']


def test_classes_and_channels(page: Page) -> None:  # noqa: F811
    found = page.ask('network', a=TINY, classes=10, channels=1)
    assert (found['a']['macs'], found['a']['params']) == cost(TINY, None, 10, 1)
    assert '10 classes' in found['html']['costs']
    for wrong in (0, 1.5, '10', True, 10**6):
        assert 'classes: expected a whole number' in page.ask('network', a=TINY, classes=wrong)['error']


def test_a_name_and_a_comparison(page: Page) -> None:  # noqa: F811
    found = page.ask('network', a='fpnas_l0', b='fpnas_l1', space='fpnas_l0')
    assert [found[name]['arch'] for name in 'ab'] == [ARCHS['fpnas_l0'], ARCHS['fpnas_l1']]
    assert 'in space' in found['a']['where'] and 'not in space' in found['b']['where']
    assert 'role="button"' not in found['b']['figure']
    assert found['html']['costs'].count('<tr class="chosen">') == 13  # the groups of L1, which all differ
    assert '>A</text>' in found['html']['scatter'] and '>B</text>' in found['html']['scatter']


@pytest.mark.parametrize(('string', 'said'), [
    (TINY.replace('k5', 'k4'), 'k4: expected one of k0, k3, k5'),
    ('fpnas_l9', 'did you mean fpnas_l'),
    ('', 'is neither a model'),
    ('x' * 8200, 'is neither a model'),
    ('<img src=x onerror=alert(1)>', 'is neither a model'),
])
def test_a_wrong_string(string: str, said: str, page: Page) -> None:  # noqa: F811
    assert said in page.ask('network', a=string)['a']['error']
    found = page.ask('network', a=TINY, b=string or 'x')  # the other one is still shown
    assert 'figure' in found['a'] and 'error' in found['b']


def test_a_block_is_changed(page: Page) -> None:  # noqa: F811
    found = page.ask('network', a=TINY, edit={'group': 0, 'block': 1, 'changes': {'kernel': 5}})
    assert '_r1_k3_s2_e3_c24_nre-ir_r1_k5_s1_e3_c24_nre-ir_r1_k3_s1_e3_c24_nre-' in found['a']['arch']
    said = page.ask('network', a=TINY, edit={'group': 1, 'changes': {'kernel': 4}})['a']['error']
    assert said == 'group 1: k4: expected one of k0, k3, k5, k7, k9, k11; did you mean k3?'
    for edit in ({'group': 9, 'changes': {}}, {'group': 0, 'changes': {'kernels': 3}},
                 {'group': 0, 'changes': {'act': 5}}, {'group': 0, 'changes': {'channels': None}},
                 {'group': 0, 'changes': {'channels': 1e300}}):
        assert page.ask('network', a=TINY, edit=edit)['a']['error']
    for edit in ([], {'group': '0', 'changes': {}}, {'changes': {}}):
        assert 'edit: expected' in page.ask('network', a=TINY, edit=edit)['error']


def test_edits_keep_the_network() -> None:
    """One block with its own values, changed to them: the costs do not change."""
    rng, space = random.Random(0), get_space('fpnas_s1pp')
    for _ in range(50):
        arch = space.sample_arch(rng)
        group = rng.randrange(len(arch.groups))
        block = rng.randrange(arch.groups[group].repeats)
        same = edit_group(arch, group, {'kernel': arch.groups[group].kernel}, block)
        assert cost(same) == cost(arch)
        assert [b for g in same.blocks for b in g] == [b for g in arch.blocks for b in g]
    with pytest.raises(ArchError, match='group 0 has no block 5'):
        edit_group(Arch.parse(TINY), 0, {}, 5)
    with pytest.raises(ArchError, match='group 1: r0'):
        edit_group(Arch.parse(TINY), 1, {'repeats': 0})


def test_no_torch() -> None:
    code = (
        'import sys; from fpnas_timm.app.network import network_answer; from fpnas_timm.app.server import create_app\n'
        'network_answer({"a": "fpnas_l0", "space": "fpnas_l0"}); create_app("x", 1)\n'
        'print([name for name in ("torch", "timm", "numpy", "matplotlib") if name in sys.modules])'
    )
    said = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == '[]'


def test_nothing_is_injected(page: Page) -> None:  # noqa: F811
    evil = '<script>alert(1)</script>'
    space = get_space('fpnas_s1pp').to_dict() | {'name': evil}
    found = page.ask('network', a='fpnas_s1pp', space=json.dumps(space))
    html = ''.join([*found['html'].values(), found['a']['where'], found['a']['figure']])
    assert evil not in html and '&lt;script&gt;' in html
