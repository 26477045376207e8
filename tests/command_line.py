"""What the tests of the command line share: small models, and a refusal to look at."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from parallax.cli import main

MODELS = Path(__file__).parents[1] / "fixtures" / "models"
MLP = MODELS / "tiny_mlp_opset7.onnx"
OPENCL = next(
    d for d in os.environ.get("PARALLAX_DEVICES", "cpu,portable").split(",") if d.strip() != "cpu"
)
DEVICES = ("cpu", OPENCL)

Captured = pytest.CaptureFixture[str]


def save(
    path: Path,
    nodes: list,
    inputs: dict,
    outputs: list[str],
    constants: dict,
    opsets: Mapping[str, int] | None = None,
) -> Path:
    """A model of float tensors; `inputs` gives shapes by name, `opsets` versions by domain."""
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs],
        [numpy_helper.from_array(a, n) for n, a in constants.items()],
    )
    imports = [helper.make_opsetid(d, v) for d, v in (opsets or {"": 18}).items()]
    model = helper.make_model(graph, opset_imports=imports, ir_version=9)
    onnx.save(model, path)
    return path


def save_relu(folder: Path) -> Path:
    """y = Relu(x) + c over float32[n, 4]."""
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], name="first"),
        helper.make_node("Add", ["r", "c"], ["y"], name="second"),
    ]
    constants = {"c": np.arange(4, dtype=np.float32)}
    return save(folder / "relu.onnx", nodes, {"x": ["n", 4]}, ["y"], constants)


def save_chain(folder: Path) -> Path:
    """file = Softmax(h), h = Sigmoid(x) over float32[n, 4]; nothing fuses."""
    nodes = [
        helper.make_node("Sigmoid", ["x"], ["hidden"], name="first"),
        helper.make_node("Softmax", ["hidden"], ["file"], name="second"),
    ]
    return save(folder / "chain.onnx", nodes, {"x": ["n", 4]}, ["file"], {})


def table_width(shown: str, sentences: Sequence[str] = ()) -> int:
    """Columns of the longest line; sentences, which hold names and times, do not count."""
    lines = [line for line in shown.splitlines() if line not in sentences]
    return max(len(line) for line in lines if not line.lstrip().startswith("latency "))


def refused(capsys: Captured, *argv: object) -> str:
    """The one message of a command line that must exit with 2 and print nothing else."""
    assert main([str(a) for a in argv]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    assert captured.err.count("parallax: ") >= 1 or "usage:" in captured.err
    return captured.err
