"""Importing the package registers the models, in whichever order timm and the package are imported."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.preloaded import ROOT, run_python

CHECK = "import timm; assert 'fpnas_l0' in timm.list_models('fpnas*'), timm.list_models('fpnas*')\n"

ORDERS = {
    'package first': 'import sys, fpnas_timm; assert "timm" not in sys.modules and "torch" not in sys.modules\n',
    'timm first': 'import timm, fpnas_timm\n',
    'a part of timm': "import fpnas_timm\nfrom timm.models import create_model\ncreate_model('fpnas_s1pp')\n",
    'entrypoint': 'from fpnas_timm.zoo import fpnas_l0\n',
    'register_arch': 'from fpnas_timm import register_arch\n',
    'a room': 'from fpnas_timm.model import FPNAS\n',
    'what the models are made of': 'from fpnas_timm.model.network import FPNAS\n',
    'their weights': 'from fpnas_timm.weights.checks import sha256_of\n',
    'the search': 'from fpnas_timm.search.evaluator import SuperNetEvaluator\n',
    'as --device-modules': "import importlib; importlib.import_module('fpnas_timm')\n",
    'as --device-modules, timm first': "import timm, importlib; importlib.import_module('fpnas_timm')\n",
    'find_spec only looks': "import fpnas_timm, importlib.util\nassert importlib.util.find_spec('timm')\n"
                            "assert importlib.util.find_spec('timm')\n",
    'find_spec first': "import importlib.util; importlib.util.find_spec('timm'); import fpnas_timm\n",
    'package twice': "import sys, fpnas_timm\nfor n in [n for n in sys.modules if n.startswith('fpnas_timm')]: "
                     'del sys.modules[n]\nimport fpnas_timm\n',
    'another thread is importing timm': (
        'import sys, threading, time\n'
        "t = threading.Thread(target=__import__, args=('timm',)); t.start()\n"
        "while 'timm' not in sys.modules: time.sleep(0.001)\n"
        'import fpnas_timm; t.join()\n'
    ),
}


def run(code: str, **env: str) -> None:
    if env or '"torch" not in sys.modules' in code:  # a timm of one line, or none: quick without torch
        done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env={**os.environ, **env})
    else:
        done = run_python(code, {**os.environ, 'PYTHONPATH': str(ROOT)}, ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize('code', ORDERS.values(), ids=ORDERS)
def test_models_are_registered(code: str) -> None:
    run(code + CHECK)


FAKE = 'import os, sys\nassert os.environ.get("BREAK") != "before"\n{middle}\nVALUE = 1\n'


def fake_timm(folder: Path, middle: str = '') -> dict[str, str]:
    """A `timm` of one line in place of the real one, and PYTHONPATH to it."""
    (folder / 'timm').mkdir()
    (folder / 'timm' / '__init__.py').write_text(FAKE.format(middle=middle))
    return {'PYTHONPATH': ':'.join([str(folder), *filter(None, sys.path)])}


# counts how often, and with how much of timm, the models are registered
COUNT = (
    'import sys, types\nimport fpnas_timm._register as r\ncalls = []\n'
    "r._register = lambda: calls.append(getattr(sys.modules['timm'], 'VALUE', None))\n"
)


def test_timm_that_imports_the_package(tmp_path: Path) -> None:
    """Partially initialised: the models are registered when timm is done, not before."""
    env = fake_timm(tmp_path, 'import fpnas_timm._register as r; r.with_timm(); r.with_timm(); assert not sys.calls')
    run(COUNT + 'sys.calls = calls\nsys.meta_path[:] = [f for f in sys.meta_path if not isinstance(f, r._AfterTimm)]\n'
        'import timm, importlib.machinery\nassert calls == [1], calls\n'
        'assert type(timm.__spec__) is importlib.machinery.ModuleSpec', **env)


def test_real_timm_that_imports_the_package() -> None:
    """The same with the real one: its first submodule imports this package."""
    run(
        'import importlib.abc, sys\n'
        'class Early(importlib.abc.MetaPathFinder):\n'
        '    def find_spec(self, name, path, target=None):\n'
        "        if name == 'timm.version':\n"
        '            sys.meta_path.remove(self)\n'
        '            import fpnas_timm\n'
        "            assert 'fpnas_timm.zoo.models' not in sys.modules\n"
        'sys.meta_path.insert(0, Early())\n' + CHECK
    )


def test_an_import_that_fails_is_tried_again(tmp_path: Path) -> None:
    run(COUNT + (
        'import os, importlib\nos.environ["BREAK"] = "before"\n'
        'try:\n    import timm\nexcept AssertionError:\n    pass\nelse:\n    raise SystemExit("no error")\n'
        'os.environ["BREAK"] = ""\nimport timm\nassert calls == [1], calls\n'
        'assert not any(isinstance(f, r._AfterTimm) for f in sys.meta_path)\n'
        'importlib.reload(timm)\nassert calls == [1], calls\n'
    ), **fake_timm(tmp_path))


def test_an_error_in_the_registration_is_an_error_of_the_import(tmp_path: Path) -> None:
    run(COUNT + (
        'def bad():\n    raise ValueError("in the registration")\n'
        'good, r._register = r._register, bad\n'
        'try:\n    import timm\nexcept ValueError as e:\n    assert str(e) == "in the registration"\n'
        'else:\n    raise SystemExit("no error")\n'
        'r._register = good\nimport timm\nassert calls == [1], calls\n'
    ), **fake_timm(tmp_path))


def test_without_timm() -> None:
    run(
        'import importlib.abc, sys\n'
        'class Missing(importlib.abc.MetaPathFinder):\n'
        '    def find_spec(self, name, path, target=None):\n'
        "        if name == 'timm': raise ModuleNotFoundError(\"No module named 'timm'\", name='timm')\n"
        'sys.meta_path.insert(0, Missing())\nimport fpnas_timm\nfpnas_timm.Arch\n'
        'try:\n    import timm\nexcept ImportError as e:\n    assert e.name == "timm"\nelse:\n    raise SystemExit(1)\n'
    )


def test_pickle_and_spawn(tmp_path: Path) -> None:
    """A model pickled here is read by a new process that imports neither timm nor the package itself."""
    script = tmp_path / 'script.py'
    script.write_text(
        'import multiprocessing, pickle\nimport fpnas_timm\n\n'
        'def work(data):\n    import timm\n    return str(pickle.loads(data).arch), len(timm.list_models("fpnas*"))\n\n'
        'if __name__ == "__main__":\n'
        '    import timm\n'
        '    model = timm.create_model("fpnas_s1pp")\n'
        '    with multiprocessing.get_context("spawn").Pool(1) as pool:\n'
        '        assert pool.apply(work, (pickle.dumps(model),)) == (str(model.arch), 8)\n'
        f'    open({str(tmp_path / "model.pkl")!r}, "wb").write(pickle.dumps(model))\n'
    )
    env = {**os.environ, 'PYTHONPATH': ':'.join(filter(None, sys.path))}
    subprocess.run([sys.executable, str(script)], check=True, env=env)
    run(f'import pickle\nmodel = pickle.load(open({str(tmp_path / "model.pkl")!r}, "rb"))\n' + CHECK)


def test_a_function_named_as_its_module() -> None:
    """`hub.pull` is the function, whatever was imported before."""
    for first in ('', 'import fpnas_timm.hub.pull\n', 'from fpnas_timm.hub.pull import fetch\n'):
        run(first + 'from fpnas_timm.hub import pull, push, verify\nassert callable(pull) and callable(push)\n'
            "import fpnas_timm.hub as hub\nassert set(hub.__all__) <= set(dir(hub)) and 'card' not in hub.__all__\n"
            'try:\n    hub.nothing\nexcept AttributeError as e:\n    assert "fpnas_timm.hub" in str(e)\n')
