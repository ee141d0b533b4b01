"""Int8 after training with torchao's pt2e: how large and how fast, against float32 compiled in the same run.

    python benchmarks/int8.py fpnas_s1pp fpnas_l0

One process, one thread; the two take turns, the figures are medians. Size is that of the exported program's file.
"""
import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import timm
import torch
import torch._inductor.config as inductor
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
    X86InductorQuantizer,
    get_default_x86_inductor_quantization_config,
)

import fpnas_timm  # noqa: F401


def quantize(model: torch.nn.Module, calibration: Sequence[torch.Tensor]) -> torch.fx.GraphModule:
    """A network in int8: weights per channel, activations per tensor, ranges from the calibration batches.

    Args:
        model: in eval mode.
        calibration: image batches (B, C, H, W) of all classes, preprocessed as for inference.
    """
    program = torch.export.export(model, (calibration[0],), dynamic_shapes=({0: torch.export.Dim('batch')},)).module()
    quantizer = X86InductorQuantizer().set_global(get_default_x86_inductor_quantization_config())
    prepared = prepare_pt2e(program, quantizer)
    with torch.no_grad():
        for x in calibration:
            prepared(x)
    int8 = convert_pt2e(prepared)
    used = {str(node.target) for node in int8.graph.nodes if node.op == 'get_attr'}
    for name in [name for name, _ in int8.named_parameters() if name not in used]:  # the float weights stay otherwise
        owner, _, leaf = name.rpartition('.')
        delattr(int8.get_submodule(owner), leaf)
    return int8


def file_size(model: torch.nn.Module, x: torch.Tensor) -> int:
    """Bytes of the exported program's file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'model.pt2'
        torch.export.save(torch.export.export(model, (x[:2].clone(),)), path)
        return path.stat().st_size


def measure(name: str, batch: int, rounds: int) -> None:
    size = timm.get_pretrained_cfg(name).input_size[-1]
    torch.manual_seed(0)
    model = timm.create_model(name).eval()
    x = torch.randn(batch, 3, size, size)
    calibration = [torch.randn(4, 3, size, size) for _ in range(2)]
    int8 = quantize(model, calibration)
    nets = {'float32': torch.compile(model), 'int8': torch.compile(int8)}
    times: dict[str, list[float]] = {key: [] for key in nets}
    with torch.no_grad():
        for i in range(rounds + 3):
            for key, net in nets.items():
                start = time.perf_counter()
                net(x)
                if i >= 3:
                    times[key].append(time.perf_counter() - start)
    f, q = (statistics.median(times[key]) for key in ('float32', 'int8'))
    sizes = [file_size(m, calibration[0]) / 1e6 for m in (model, int8)]
    row = (name, batch, f'{1e3 * f:.1f}', f'{1e3 * q:.1f}', f'{f / q:.2f}', *(f'{s:.1f}' for s in sizes))
    print(f'| {" | ".join(map(str, row))} |', flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('models', nargs='*', default=['fpnas_s1pp', 'fpnas_l0'])
    parser.add_argument('--rounds', type=int, default=15)
    args = parser.parse_args()
    torch.set_num_threads(1)
    inductor.freezing = True
    print(f'torch {torch.__version__}, 1 thread, both compiled with inductor and freezing\n')
    print('| model | batch | float32, ms | int8, ms | ratio | float32 file, MB | int8 file, MB |')
    print('|---|---|---|---|---|---|---|')
    for name in args.models:
        for batch in (1, 16):
            measure(name, batch, args.rounds)


if __name__ == '__main__':
    main()
