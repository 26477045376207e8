"""A float64 interpreter of engine graphs, for comparing a graph before and after passes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx

from engine.ir.graph import Graph
from engine.ops.compose import reference_of
from fixtures.models import build_small
from fixtures.models.small_models import BUILDERS

SMALL_MODELS = tuple(BUILDERS)
LIGHT_FOLDER = Path(onnx.__file__).parent / "backend/test/data/light"
LIGHT_MODELS = tuple(sorted(p.stem for p in LIGHT_FOLDER.glob("*.onnx")))


def model_path(name: str) -> Path:
    """The file of a committed small or an installed light model."""
    if name.startswith("light_"):
        return LIGHT_FOLDER / f"{name}.onnx"
    return build_small.committed_path(name)


def run_reference(graph: Graph, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Graph outputs; floating point in float64 throughout, integers at their own dtype."""
    values: dict[int, np.ndarray] = {id(v): wide(feeds[v.name]) for v in graph.inputs}
    for value in graph.values():
        if value.constant is not None:
            values[id(value)] = wide(value.constant)
    for node in graph.nodes:
        results = reference_of(node, [None if v is None else values[id(v)] for v in node.inputs])
        for out, result in zip(node.outputs, results, strict=False):
            values[id(out)] = result
    return {v.name: values[id(v)] for v in graph.outputs}


def wide(array: np.ndarray) -> np.ndarray:
    """Floating point as float64."""
    return array.astype(np.float64) if array.dtype.kind == "f" else array
