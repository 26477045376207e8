"""MNN on the processor, at high precision: converted by its own converter, in a process of its own.

MNN has no tensors of 64-bit integers and none of booleans: it takes and gives them as int32, and
they get their dtype back here. Its converter and its operators may end the process that they are
in, which is an error here, or a finding of `parallax fuzz`, and not the end of this process.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from conformance.engines import exposed
from conformance.engines.engine import Arrays, Died, Engine, check_options
from engine.ir.types import BOOL, INT64

SECONDS = 600.0
REFUSED = 3
"""How `mnn_child` ends where MNN says that it cannot do something."""


class Mnn:
    """An Engine."""

    name = "mnn"
    setting = "precision=high"

    def __init__(self) -> None:
        if importlib.util.find_spec("MNN") is None:
            raise ImportError("No module named 'MNN'", name="MNN")
        self.version = importlib.metadata.version("MNN")

    def run(self, data: bytes, feeds: Arrays) -> Arrays:
        """See Engine; raises Died, RuntimeError with what MNN says, or ValueError."""
        taken, given = exposed.ports(data)
        with tempfile.TemporaryDirectory(prefix="parallax-mnn-") as name:
            folder = Path(name)
            (folder / "model.onnx").write_bytes(data)
            narrow = {n: _narrow(n, feeds[n]) for n in taken}
            np.savez(folder / "inputs.npz", allow_pickle=False, **narrow)
            _run_child(folder, given)
            with np.load(folder / "outputs.npz") as found:
                arrays = {n: found[str(i)] for i, n in enumerate(given) if str(i) in found}
        types = exposed.dtypes(data)
        return {name: _widened(y, types.get(name)) for name, y in arrays.items()}


def _run_child(folder: Path, outputs: list[str]) -> None:
    (folder / "outputs.txt").write_text("\n".join(outputs))
    command = [sys.executable, str(Path(__file__).with_name("mnn_child.py")), str(folder)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=SECONDS, errors="replace"
        )
    except subprocess.TimeoutExpired as error:
        raise Died("hang", f"MNN took over {SECONDS:g} s") from error
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    last = next((line for line in lines if "Not Support" in line), (lines or ["nothing"])[-1])
    if done.returncode == REFUSED:
        raise RuntimeError(last)
    if done.returncode:
        code = done.returncode
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        raise Died(f"crash: {how}", f"MNN ended its process ({how}); it last said: {last}")


def _narrow(name: str, array: np.ndarray) -> np.ndarray:
    """As MNN takes it."""
    if array.dtype == np.float32:
        return array
    if array.dtype.kind in "iub" and (array.astype(np.int32) == array).all():
        return array.astype(np.int32)
    raise ValueError(f"input {name!r} is of {array.dtype}, or holds what does not fit 32 bits")


def _widened(array: np.ndarray, dtype: np.dtype | None) -> np.ndarray:
    return array.astype(dtype) if array.dtype == np.int32 and dtype in (INT64, BOOL) else array


def make(options: Mapping[str, str]) -> Engine:
    """Takes no options."""
    check_options("mnn", options, ())
    return Mnn()
