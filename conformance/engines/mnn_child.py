"""One inference of MNN; `mnn_engine` starts it as a program, since MNN may end its process.

Takes a folder with model.onnx, inputs.npz and the names of the outputs in outputs.txt, and leaves
outputs.npz there. It needs numpy and MNN, and nothing of this package.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

REFUSED = 3


def main(folder: Path) -> int:
    """REFUSED, with the reason as the last line on standard output, where MNN says no."""
    import _tools  # MNN's converter; MNN.tools.mnnconvert would report its use
    import MNN.expr
    import MNN.nn

    model = folder / "model.mnn"
    given = ["--modelFile", str(folder / "model.onnx"), "--MNNModel", str(model)]
    _tools.mnnconvert(["MNNConvert", "-f", "ONNX", *given, "--bizCode", "parallax"])
    if not model.exists():
        return REFUSED
    with np.load(folder / "inputs.npz") as file:
        feeds = {name: file[name] for name in file.files}
    kept = MNN.expr.load_as_dict(str(model))  # what was fused has no name any more
    wanted = (folder / "outputs.txt").read_text().splitlines()
    outputs = [name for name in wanted if name in kept]
    try:
        module = MNN.nn.load_module_from_file(
            str(model), list(feeds), outputs, precision_mode=MNN.expr.PrecisionMode.High
        )
        results = module.forward([_variable(MNN.expr, x) for x in feeds.values()])
        results = results if isinstance(results, list) else [results]
        arrays = [np.array(MNN.expr.convert(y, MNN.expr.NCHW).read()) for y in results]
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
        return REFUSED
    if len(arrays) != len(outputs):
        print(f"it computes {len(arrays)} of {len(outputs)} outputs")
        return REFUSED
    named = {str(wanted.index(name)): y for name, y in zip(outputs, arrays)}
    np.savez(folder / "outputs.npz", allow_pickle=False, **named)
    return 0


def _variable(expr: Any, array: np.ndarray) -> Any:
    kind = expr.float if array.dtype == np.float32 else expr.int
    return expr.const(np.ascontiguousarray(array), list(array.shape), expr.NCHW, kind)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
