"""The runtimes that latencies are measured in: each makes a call of a network, ready to be timed.

Networks have random weights, since a time does not depend on them. What a runtime gets is what `fpnas export` writes:
folded batch norms, a fixed input size, float32.
"""
import contextlib
import importlib
import io
import logging
import os
import platform
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from .._version import __version__
from ..arch import Arch
from ..arch.sizes import hw
from ..errors import UsageError, did_you_mean, one_line
from .latency_table import Setting

__all__ = ['RUNTIMES', 'Machine', 'Run', 'check_runtime', 'machine_name', 'own_setting', 'why_not_here']

Run = Callable[[], object]  # one call of a network


class Runtime(NamedTuple):
    """A runtime.

    Attributes:
        packages: what is needed beside torch.
        extra: of this package, which installs them.
        open: (network in eval mode with folded batch norms, images, threads, device) -> a call of the network.
        in_thread: with one thread, the network runs in the thread that calls it.
    """

    packages: tuple[str, ...]
    extra: str
    open: Callable[[Any, Any, int, str], Run]
    in_thread: bool = True


def _open_torch(network: Any, images: Any, threads: int, device: str, compiled: bool = False) -> Run:
    import torch

    network, images = network.to(device), images.to(device)
    if compiled:
        torch._dynamo.reset()  # else networks after the first few are not compiled
        network = torch.compile(network)
    wait = torch.cuda.synchronize if device == 'cuda' else (lambda: None)

    def run() -> None:
        with torch.inference_mode():
            network(images)
        wait()

    return run


def _open_compiled(network: Any, images: Any, threads: int, device: str) -> Run:
    return _open_torch(network, images, threads, device, compiled=True)


def _open_onnxruntime(network: Any, images: Any, threads: int, device: str) -> Run:
    onnxruntime: Any = importlib.import_module('onnxruntime')
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    provider = 'CUDAExecutionProvider' if device == 'cuda' else 'CPUExecutionProvider'
    session = onnxruntime.InferenceSession(_as_onnx(network, images), options, providers=[provider])
    given = {session.get_inputs()[0].name: images.numpy()}
    return lambda: session.run(None, given)


def _as_onnx(network: Any, images: Any) -> bytes:
    """The network as an ONNX file, by torch's older exporter: the newer one takes ten seconds and more for a network.

    ONNX Runtime makes the same operations of both (docs/latency.md).
    """
    import torch

    file: Any = io.BytesIO()  # which this exporter takes as well
    torch.onnx.export(network, (images,), file, dynamo=False)
    return file.getvalue()


def _open_openvino(network: Any, images: Any, threads: int, device: str) -> Run:
    openvino: Any = importlib.import_module('openvino')
    model = openvino.convert_model(network, example_input=images, input=[tuple(images.shape)])
    settings = {'INFERENCE_PRECISION_HINT': 'f32', 'INFERENCE_NUM_THREADS': threads, 'NUM_STREAMS': 1}
    request = openvino.Core().compile_model(model, 'CPU', settings).create_infer_request()
    given = [images.numpy()]
    return lambda: request.infer(given)


RUNTIMES = {
    'torch': Runtime((), '', _open_torch),
    'compile': Runtime((), '', _open_compiled),
    'onnxruntime': Runtime(('onnx', 'onnxruntime'), 'onnx', _open_onnxruntime),
    'openvino': Runtime(('openvino',), 'openvino', _open_openvino, in_thread=False),
}


class Machine:
    """This machine with a runtime: opens networks, and has a clock for them.

    With one thread of a CPU the clock is the processor time of that thread, which is the time on a machine that does
    nothing else: what other programs take in between does not count.
    """

    def __init__(self, setting: Setting) -> None:
        """Raises UsageError as `check_runtime`."""
        check_runtime(setting.runtime, setting.device)
        self.setting = setting
        one = RUNTIMES[setting.runtime].in_thread and setting.threads == 1 and setting.device == 'cpu'
        fine = time.get_clock_info('thread_time').resolution < 1e-6
        self.clock = time.thread_time if one and fine else time.perf_counter

    def open(self, arch: Arch) -> Run:
        """A call of a network with random weights."""
        import timm
        import torch
        from timm.utils import reparameterize_model

        from .. import zoo  # noqa: F401  (registers the models)

        setting = self.setting
        torch.manual_seed(0)
        network = timm.create_model(
            'fpnas', arch=str(arch), num_classes=setting.num_classes, in_chans=setting.in_chans
        ).eval()
        images = torch.randn(setting.batch_size, setting.in_chans, *hw(arch.img_size))
        with torch.no_grad(), warnings.catch_warnings(), _quiet('torch.onnx'):
            warnings.simplefilter('ignore')  # about exporters to come
            folded = reparameterize_model(network, inplace=True)
            return RUNTIMES[setting.runtime].open(folded, images, setting.threads, setting.device)

    @contextlib.contextmanager
    def ready(self) -> Iterator[None]:
        """Set torch's number of threads, and restore it."""
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(self.setting.threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def own_setting(
        runtime: str, device: str = 'cpu', threads: int = 1, batch_size: int = 1, num_classes: int = 1000,
        in_chans: int = 3,
) -> Setting:
    """The setting of this machine; UsageError as `check_runtime`."""
    check_runtime(runtime, device)
    versions = {'fpnas_timm': __version__, 'python': platform.python_version()}
    for name in ('torch', *RUNTIMES[runtime].packages):
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return Setting(machine_name(device), runtime, device, threads, batch_size, num_classes, in_chans, versions)


def check_runtime(runtime: str, device: str) -> None:
    """Raise UsageError for an unknown runtime, a package that is missing, or a device that is not there."""
    if runtime not in RUNTIMES:
        raise UsageError(f'--runtime {runtime}: expected one of {", ".join(RUNTIMES)}{did_you_mean(runtime, RUNTIMES)}')
    found = RUNTIMES[runtime]
    for name in found.packages:
        try:
            importlib.import_module(name)
        except ImportError as e:
            raise UsageError(
                f"--runtime {runtime} needs {name} ({one_line(e)}): pip install 'fpnas-timm[{found.extra}]'"
            ) from None
    if device not in ('cpu', 'cuda'):
        raise UsageError(f'--device {device}: expected cpu or cuda{did_you_mean(device, ["cpu", "cuda"])}')
    if device == 'cpu':
        return
    if runtime == 'openvino':
        raise UsageError('--device cuda: openvino has none: expected --device cpu')
    import torch

    if not torch.cuda.is_available():
        raise UsageError('--device cuda: torch finds no CUDA GPU on this machine: use --device cpu')
    if runtime == 'onnxruntime':
        onnxruntime: Any = importlib.import_module('onnxruntime')
        if 'CUDAExecutionProvider' not in onnxruntime.get_available_providers():
            raise UsageError('--device cuda: this onnxruntime is for CPUs: pip install onnxruntime-gpu')


def machine_name(device: str = 'cpu') -> str:
    """The processor with its number of cores, or the GPU."""
    if device == 'cuda':
        import torch

        return torch.cuda.get_device_name()
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path('/proc/cpuinfo').read_text(encoding='utf-8', errors='replace').splitlines()
        name = next((line.partition(':')[2].strip() for line in lines if line.startswith('model name')), name)
    cores = os.cpu_count() or 1
    return f'{name}, {cores} core{"s" * (cores > 1)}'


def why_not_here(setting: Setting) -> str | None:
    """Why times of this setting cannot be measured on this machine, in words; None if they can."""
    try:
        check_runtime(setting.runtime, setting.device)
    except UsageError as e:
        return str(e)
    here = machine_name(setting.device)
    return None if here == setting.machine else f'the table is of {setting.machine}, this machine is {here}'


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
