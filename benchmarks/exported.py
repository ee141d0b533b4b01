"""Milliseconds of exported CPU programs, with and without a conversion of the images to channels_last in the graph.

One thread; the columns of a row take turns in one process, and the table shows medians. `copy in the graph` is how
eager mode runs the network. Exported programs have no such copy, so that the layout of the images counts: `contiguous`
and `channels_last` are programs without a copy, on images of that layout. `ratio` is the time of `channels_last` over
that of `copy in the graph`: below 1, the program without a copy is the faster one.

    python benchmarks/exported.py                       # the table of docs/performance.md
    python benchmarks/exported.py fpnas_s1pp --rounds 9
"""

import argparse
import logging
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest.mock import patch

import timm
import torch
from inference import interleaved
from torch import nn

import fpnas_timm  # noqa: F401  (registers the models)

Program = Callable[[torch.Tensor], torch.Tensor]


def export(model: nn.Module, images: torch.Tensor, with_copy: bool = False) -> torch.export.ExportedProgram:
    """The program of `torch.export`; `with_copy` leaves the conversion in it."""
    with patch('fpnas_timm.model.blocks._is_exporting', lambda: not with_copy):
        return torch.export.export(model, (images,))


def eager(program: torch.export.ExportedProgram, folder: Path) -> Program:
    return program.module()


def aot_inductor(program: torch.export.ExportedProgram, folder: Path) -> Program:
    """Compiled to a package, which does not need Python to run; loaded again."""
    package = tempfile.NamedTemporaryFile(suffix='.pt2', dir=folder, delete=False)
    return torch._inductor.aoti_load_package(
        torch._inductor.aoti_compile_and_package(program, package_path=package.name)
    )


def onnx_runtime(program: torch.export.ExportedProgram, folder: Path) -> Program:
    """ONNX has no memory layouts; the images are made contiguous."""
    import onnxruntime

    path = folder / f'{len(list(folder.iterdir()))}.onnx'
    torch.onnx.export(program, (), path, input_names=['image'], dynamo=True, verbose=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
    return lambda x: torch.from_numpy(session.run(None, {'image': x.contiguous().numpy()})[0])


RUNTIMES = {'torch.export': eager, 'AOTInductor': aot_inductor, 'ONNX Runtime': onnx_runtime}


def table(names: list[str], rounds: int, folder: Path) -> None:
    print(f'torch {torch.__version__}, timm {timm.__version__}, 1 thread; milliseconds')
    print('| model | batch | runtime | copy in the graph | contiguous | channels_last | ratio |')
    print('|---|---|---|---|---|---|---|')
    for name in names:
        model = timm.create_model(name).eval()
        for batch in (1, 16):
            images = torch.randn(batch, *model.default_cfg['input_size'])
            last = images.contiguous(memory_format=torch.channels_last)
            before, after = export(model, images, with_copy=True), export(model, images)
            after_last = export(model, last)
            for label, runtime in RUNTIMES.items():
                cases = [(before, images), (after, images), (after_last, last)]
                functions = [partial(runtime(program, folder), x) for program, x in cases]
                for function in functions:
                    torch.testing.assert_close(function(), model(images), rtol=1e-3, atol=1e-3)
                seconds = interleaved(functions, rounds if batch == 1 else max(rounds // 5, 5))
                columns = ' | '.join(f'{s * 1e3:.1f}' for s in seconds)
                print(f'| {name} | {batch} | {label} | {columns} | {seconds[2] / seconds[0]:.2f} |', flush=True)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('models', nargs='*', default=['fpnas_s1pp', 'fpnas_l0'], metavar='MODEL')
    parser.add_argument('--rounds', type=int, default=50, help='at batch 1; a fifth of it at batch 16')
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    logging.disable(logging.WARNING)
    warnings.simplefilter('ignore')
    with tempfile.TemporaryDirectory() as folder:
        table(args.models, args.rounds, Path(folder))


if __name__ == '__main__':
    main()
