"""Shapes chosen for free dimensions are the usual ones, or the nearest that the model accepts."""

from __future__ import annotations

import gc
import logging
import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest
from onnx import NodeProto

import conformance.shapes as shapes_module
from conformance.inputs import random_inputs
from conformance.shapes import Choice, choose_shapes, default_shapes
from engine.errors import InputError
from engine.ir.graph import Graph
from engine.onnx_import import load_model
from engine.passes import bind_passes, bind_shapes, run_passes
from fixtures.models.corpus import by_name
from tests.graph_reference import SMALL_MODELS
from tests.model_writing import Dims, model_bytes, node

pytestmark = pytest.mark.device_free


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def graph(
    nodes: Sequence[NodeProto], inputs: dict[str, Dims], constants: dict[str, np.ndarray]
) -> Graph:
    return load_model(model_bytes(nodes, inputs, ["y"], constants))


PATCHES = [
    node("Conv", "x w", "a", strides=[16, 16]),
    node("Reshape", "a s", "f"),
    node("Add", "f p", "y"),
]

CONTRADICTED = {
    "a spectrogram of 512 taps": (
        [node("Conv", "x w", "y")],
        {"x": ("b", 1, "n")},
        {"w": ones(4, 1, 512)},
        {"x": (1, 1, 512)},
    ),
    "two convolutions on end": (
        [node("Conv", "x w", "a", strides=[160]), node("Conv", "a v", "y")],
        {"x": ("b", 1, "n")},
        {"w": ones(4, 1, 400), "v": ones(2, 4, 32)},
        {"x": (1, 1, 8192)},
    ),
    "features of a matrix": (
        [node("MatMul", "x w", "y")],
        {"x": ("n", "k")},
        {"w": ones(37, 3)},
        {"x": (1, 37)},
    ),
    "an image of one size behind a Flatten": (
        [node("Flatten", "x", "f"), node("Gemm", "f w", "y")],
        {"x": ("n", 3, "h", "w_")},
        {"w": ones(3 * 48 * 48, 2)},
        {"x": (1, 3, 48, 48)},
    ),
    "patches with positions": (
        PATCHES,
        {"x": ("n", 3, "h", "w_")},
        {"w": ones(4, 3, 16, 16), "s": np.array([0, 4, 196]), "p": ones(1, 4, 196)},
        {"x": (1, 3, 224, 224)},
    ),
    "fewer positions than usual": (
        [node("Add", "x p", "y")],
        {"x": ("n", "sequence", 8)},
        {"p": ones(1, 5, 8)},
        {"x": (1, 5, 8)},
    ),
    "positions that one element would fit, too": (
        [node("Add", "x p", "y")],
        {"x": ("n", "sequence", 8)},
        {"p": ones(1, 500, 8)},
        {"x": (1, 500, 8)},
    ),
    "a multiple for Reshape": (
        [node("Reshape", "x s", "y")],
        {"x": ("n", "k")},
        {"s": np.array([-1, 12, 77])},
        {"x": (1, 924)},
    ),
    "parts of Split": (
        [node("Split", "x s", "y z", axis=0)],
        {"x": ("n", 3)},
        {"s": np.array([5, 6])},
        {"x": (11, 3)},
    ),
    "a batch that another input fixes": (
        [node("Concat", "x z", "y", axis=1)],
        {"x": ("n", 3, "h"), "z": (4, 2, "k")},
        {},
        {"x": (4, 3, 16), "z": (4, 2, 16)},
    ),
}


@pytest.mark.parametrize("case", CONTRADICTED)
def test_what_contradicts_the_usual_values_gives_the_nearest_others(case: str) -> None:
    nodes, inputs, constants, expected = CONTRADICTED[case]
    imported = graph(nodes, inputs, constants)
    choice = choose_shapes(imported)
    assert choice.shapes == expected
    assert choice.problem == ""
    assert " instead of " in choice.why
    assert " because of " in choice.why
    run_passes(bind_shapes(imported, choice.shapes), bind_passes())


@pytest.mark.parametrize("name", SMALL_MODELS)
def test_the_usual_values_stay_where_the_model_accepts_them_at_one_try(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []
    right = shapes_module.bind_shapes
    monkeypatch.setattr(shapes_module, "bind_shapes", lambda g, s: tries.append(s) or right(g, s))
    imported = load_model(by_name(name).path)
    choice = choose_shapes(imported)
    assert (choice.why, choice.problem) == ("", "")
    assert len(tries) == (1 if choice.chosen else 0)


def test_a_name_that_occurs_twice_has_one_value_the_given_one() -> None:
    inputs: dict[str, Dims] = {"x": ("batch", "n"), "z": ("batch", "n")}
    imported = graph([node("Add", "x z", "y")], inputs, {})
    assert default_shapes(imported) == {"x": (1, 16), "z": (1, 16)}
    assert default_shapes(imported, {"z": (2, 5)}) == {"x": (2, 5), "z": (2, 5)}
    assert random_inputs(imported, {"z": (2, 5)})["x"].shape == (2, 5)


def test_given_shapes_are_never_changed() -> None:
    imported = graph([node("MatMul", "x w", "y")], {"x": ("n", "k")}, {"w": ones(4, 3)})
    assert choose_shapes(imported, {"x": (2, 5)}) == Choice({"x": (2, 5)}, ())


def test_where_nothing_fits_the_error_names_the_node_and_the_option() -> None:
    nodes = [node("MatMul", "x w", "h"), node("MatMul", "h v", "y")]
    imported = graph(nodes, {"x": ("n", "k")}, {"w": ones(3, 4), "v": ones(5, 5)})
    with pytest.raises(InputError, match=r"of x; n=1, k=16: MatMul 'the_h': .*--shape"):
        default_shapes(imported)


def test_a_refusal_that_no_shape_changes_ends_the_search_early(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries = []
    right = shapes_module.bind_shapes
    monkeypatch.setattr(shapes_module, "bind_shapes", lambda g, s: tries.append(s) or right(g, s))
    nodes = [node("And", "x x", "y")]
    assert "bool" in choose_shapes(graph(nodes, {"x": ("n", 2)}, {})).problem
    assert 1 < len(tries) <= 1 + shapes_module.PATIENCE


def test_what_a_try_computed_is_let_go_before_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []
    right = shapes_module.bind_shapes
    monkeypatch.setattr(shapes_module, "bind_shapes", lambda g, s: tries.append(s) or right(g, s))
    nodes = [node("Concat", "c c", "twice", axis=0), node("Expand", "x s", "y")]
    constants = {"c": ones(1 << 20), "s": np.array([-2])}
    imported = graph(nodes, {"x": ("n",)}, constants)
    gc.disable()
    tracemalloc.start()
    try:
        assert choose_shapes(imported).problem
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    assert len(tries) > 8
    assert peak < 3 * 2 * constants["c"].nbytes


def test_an_unusual_choice_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    imported = graph([node("Conv", "x w", "y")], {"x": (1, 1, "n")}, {"w": ones(1, 1, 512)})
    with caplog.at_level(logging.WARNING, "parallax.shapes"):
        default_shapes(imported)
    assert "n=512 instead of 16, because of Conv 'the_y'" in caplog.text
