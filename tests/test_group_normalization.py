"""GroupNormalization before opset 21: scale and bias for each group, as its text says."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import defs, helper
from onnx.reference import ReferenceEvaluator

from engine import Interpreter, ParallaxError
from engine.errors import UnsupportedError
from tests.features.subjects import config, on_every_device

PER_GROUP = (18, 19, 20)


def model(opset: int, groups: int, x: list[int | str], parameters: int, constant: bool = False):
    """y = GroupNormalization(x, s, b)."""
    node = helper.make_node(
        "GroupNormalization", ["x", "s", "b"], ["y"], name="gn", num_groups=groups, epsilon=1e-3
    )
    shapes = {"x": x, "s": [parameters], "b": [parameters]}
    infos = {n: helper.make_tensor_value_info(n, 1, s) for n, s in shapes.items()}
    values = parameters_of(parameters) if constant else {}
    graph = helper.make_graph(
        [node],
        "g",
        [info for n, info in infos.items() if n not in values],
        [helper.make_tensor_value_info("y", 1, None)],
        [helper.make_tensor(n, 1, a.shape, a) for n, a in values.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def parameters_of(count: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {n: rng.standard_normal(count).astype(np.float32) for n in "sb"}


def spoken(x: np.ndarray, s: np.ndarray, b: np.ndarray, groups: int) -> np.ndarray:
    """What ONNX's text says, in float64: the rows are the groups, scaled group by group."""
    rows = x.astype(np.float64).reshape(x.shape[0], groups, -1)
    centred = rows - rows.mean(-1, keepdims=True)
    normal = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-3)
    return (normal * s[:, None] + b[:, None]).reshape(x.shape)


@on_every_device
@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("opset", PER_GROUP)
@pytest.mark.parametrize(
    ("shape", "groups"),
    [((2, 6, 4), 3), ((1, 6, 3, 2), 6), ((2, 6, 5), 1), ((3, 4, 2, 2, 2), 2)],
)
def test_each_number_belongs_to_a_group(
    device: str, shape: tuple[int, ...], groups: int, opset: int, constant: bool
) -> None:
    x = np.random.default_rng(5).standard_normal(shape).astype(np.float32)
    free: list[int | str] = ["n", *map(str, "cdefg"[: len(shape) - 1])]
    feeds = {"x": x, **parameters_of(groups)}
    for dims in (list(shape), free):
        proto = model(opset, groups, dims, groups, constant)
        given = {n: a for n, a in feeds.items() if n == "x" or not constant}
        with Interpreter.from_buffer(proto.SerializeToString()).create_session(
            config(device)
        ) as session:
            y = session(given)["y"]
        expected = spoken(x, feeds["s"], feeds["b"], groups)
        np.testing.assert_allclose(y, expected, rtol=0, atol=2e-5)
        (witness,) = ReferenceEvaluator(proto).run(None, given)
        np.testing.assert_allclose(witness, expected, rtol=0, atol=2e-5)


@pytest.mark.device_free
@pytest.mark.parametrize(
    ("groups", "channels", "parameters"), [(4, 6, 4), (3, 6, 6), (3, 6, 1), (0, 6, 0), (-1, 6, 1)]
)
def test_what_does_not_fit_is_refused_by_name(groups: int, channels: int, parameters: int) -> None:
    data = model(18, groups, [2, channels, 4], parameters).SerializeToString()
    with pytest.raises(ParallaxError, match="gn"):
        Interpreter.from_buffer(data).create_session()


@pytest.mark.device_free
def test_an_operator_that_onnx_lacks_is_told_from_one_that_it_gave_up() -> None:
    data = model(17, 3, [2, 6, 4], 3).SerializeToString()
    with pytest.raises(UnsupportedError, match="opset 17 has no operator 'GroupNormalization';"):
        Interpreter.from_buffer(data)
    node = helper.make_node("Scatter", ["x", "i", "u"], ["y"], name="old")
    infos = [helper.make_tensor_value_info(n, 7 if n == "i" else 1, [2, 2]) for n in "xiu"]
    graph = helper.make_graph([node], "g", infos, [helper.make_tensor_value_info("y", 1, None)])
    opset = [helper.make_opsetid("", 11)]
    with pytest.raises(UnsupportedError, match=r"'old': .* 'Scatter' any more.* since opset 11"):
        Interpreter.from_buffer(
            helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()
        )


@pytest.mark.device_free
def test_every_operator_that_onnx_deprecated_is_known_here() -> None:
    """A new one wants a rule, or a reason to be refused."""
    schemas = defs.get_all_schemas_with_history()
    gone = {s.name for s in schemas if s.deprecated and s.domain == ""}
    assert gone == {"GroupNormalization", "Upsample", "Scatter"}
