"""Forests: TreeEnsemble and its older forms, beside onnxruntime and ONNX's evaluator."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import parallax as px
from engine.errors import ModelError, UnsupportedError
from engine.onnx_import import load_model
from engine.ops import OPERATORS
from engine.ops.tree_ensemble import COMPARISONS, MAX, MEMBER, MIN
from properties.choose import SeededChoose
from tests.model_writing import model, node
from tests.test_import import ort_outputs

pytestmark = pytest.mark.device_free
CPU = px.ScheduleConfig(type=px.ForwardType.CPU)
NOT_EQUAL = 5
X = np.array([[0, 1], [1, 3], [2, 2], [3, 3], [np.nan, 0]], np.float32)


def forest_model(
    op_type: str, version: int, x: np.ndarray, outputs: str = "y", **attributes: Any
) -> bytes:
    given = {
        name: numpy_helper.from_array(value, name) if isinstance(value, np.ndarray) else value
        for name, value in attributes.items()
    }
    made = model(
        [node(op_type, "x", outputs, domain="ai.onnx.ml", **given)],
        {"x": x.shape},
        outputs.split(),
        opset=15,
        dtype=helper.np_dtype_to_tensor_dtype(x.dtype),
    )
    made.opset_import.append(helper.make_opsetid("ai.onnx.ml", version))
    return made.SerializeToString()


def run(data: bytes, x: np.ndarray) -> list[np.ndarray]:
    with px.Interpreter.from_buffer(data).create_session(CPU) as session:
        return list(session({"x": x}).values())


@pytest.mark.parametrize("seed", range(12))
def test_engines_agree_on_drawn_forests(seed: int) -> None:
    """But for NaN that is unequal to a split, which ONNX's text sends the way it names."""
    call = OPERATORS["TreeEnsemble"].example(SeededChoose(seed))
    x, attributes = np.asarray(call.inputs[0]), dict(call.attributes)
    modes = attributes["nodes_modes"]
    attributes["nodes_modes"] = np.where(modes == NOT_EQUAL, 0, modes).astype(np.uint8)
    data = forest_model("TreeEnsemble", 5, x, **attributes)
    (ours,) = run(data, x)
    if x.dtype != np.float16:
        (theirs,) = ort_outputs(data, {"x": x})
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)
    votes_for_all = attributes["aggregate_function"] not in (MIN, MAX)
    if votes_for_all and MEMBER not in modes:  # the evaluator ends a set at 0
        (theirs,) = ReferenceEvaluator(onnx.ModelProto.FromString(data)).run(None, {"x": x})
        np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=1e-6)


def test_nan_goes_the_way_that_is_named_for_it() -> None:
    x = np.full((1, 1), np.nan, np.float32)
    one: dict[str, Any] = {
        "n_targets": 2,
        "tree_roots": [0],
        "nodes_featureids": [0],
        "leaf_targetids": [0, 1],
    }
    one |= {"nodes_truenodeids": [0], "nodes_falsenodeids": [1]}
    one |= {"nodes_trueleafs": [1], "nodes_falseleafs": [1]}
    one |= {"nodes_splits": np.ones(1, np.float32), "leaf_weights": np.ones(2, np.float32)}
    for mode in range(len(COMPARISONS)):
        modes = np.full(1, mode, np.uint8)
        for way in (0, 1):
            given = {**one, "nodes_modes": modes, "nodes_missing_value_tracks_true": [way]}
            data = forest_model("TreeEnsemble", 5, x, **given)
            assert run(data, x)[0].tolist() == [[way, 1 - way]]


@pytest.mark.parametrize(("post", "op_type", "theirs"), [(1, "Softmax", 2), (2, "Sigmoid", 1)])
def test_what_is_done_with_sums_is_a_node_of_its_own(post: int, op_type: str, theirs: int) -> None:
    """By ONNX's text SOFTMAX is 1 and LOGISTIC 2; onnxruntime has them the other way round."""
    given = OPERATORS["TreeEnsemble"].edges[0]().attributes
    ours, other = (
        forest_model("TreeEnsemble", 5, X, **{**given, "post_transform": n}) for n in (post, theirs)
    )
    assert [n.op_type for n in load_model(ours).nodes] == ["TreeEnsemble", op_type]
    (expected,) = ort_outputs(other, {"x": X})
    np.testing.assert_allclose(run(ours, X)[0], expected, rtol=1e-5)


# ------------------------------------------------------------------------- the older forms
OLD: dict[str, Any] = {
    "nodes_treeids": [0, 0, 0, 7, 7, 7],
    "nodes_nodeids": [0, 1, 2, 0, 1, 2],
    "nodes_featureids": [0, 0, 0, 1, 0, 0],
    "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF", "BRANCH_GT", "LEAF", "LEAF"],
    "nodes_values": [1.0, 0.0, 0.0, 2.0, 0.0, 0.0],
    "nodes_truenodeids": [1, 0, 0, 1, 0, 0],
    "nodes_falsenodeids": [2, 0, 0, 2, 0, 0],
}
ONE_VOTE = {"treeids": [0, 0, 7, 7], "nodeids": [1, 2, 1, 2], "ids": [0] * 4}
SHARES, MIXED = {"weights": [0.25, 0.5, 0.125, 0.25]}, {"weights": [-0.25, 0.5, 0.125, -0.25]}
VOTES = {
    "treeids": [0, 0, 0, 0, 7, 7, 7, 7],
    "nodeids": [1, 1, 2, 2, 1, 1, 2, 2],
    "ids": [0, 1, 1, 2, 0, 1, 1, 2],
    "weights": [-0.9, 0.1, 0.2, 0.8, -0.6, 0.4, -0.5, 0.5],
}
TWO, THREE = {"classlabels_int64s": [10, 20]}, {"classlabels_strings": ["a", "é", "c"]}


def voting(kind: str, **votes: Any) -> dict[str, Any]:
    return {**OLD, **{f"{kind}_{name}": value for name, value in votes.items()}}


def check_beside_onnxruntime(op_type: str, outputs: str, x: np.ndarray, **given: Any) -> None:
    data = forest_model(op_type, 3, x, outputs, **given)
    for ours, theirs in zip(run(data, x), ort_outputs(data, {"x": x}), strict=True):
        if ours.dtype == np.float32:
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
        else:
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("aggregate", ["SUM", "AVERAGE", "MIN", "MAX"])
def test_regressors_are_forests(aggregate: str) -> None:
    given = voting("target", **ONE_VOTE, **MIXED)
    more = {"n_targets": 1, "aggregate_function": aggregate, "base_values": [0.5]}
    check_beside_onnxruntime("TreeEnsembleRegressor", "y", X, **given, **more)


@pytest.mark.parametrize("post", ["NONE", "SOFTMAX", "LOGISTIC"])
@pytest.mark.parametrize("aggregate", ["SUM", "AVERAGE"])
def test_leaves_of_regressors_have_several_votes(post: str, aggregate: str) -> None:
    more = {"n_targets": 3, "post_transform": post, "aggregate_function": aggregate}
    check_beside_onnxruntime("TreeEnsembleRegressor", "y", X, **voting("target", **VOTES), **more)


def test_thresholds_of_double_divide_doubles() -> None:
    x, given = X.astype(np.float64), voting("target", **ONE_VOTE)
    x[0, 0] = np.nextafter(1, 2)
    del given["nodes_values"]
    given["nodes_values_as_tensor"] = np.array([1.0, 0, 0, 2, 0, 0])
    given["target_weights_as_tensor"] = np.array([0.1, 0.2, 0.3, 0.4])
    check_beside_onnxruntime("TreeEnsembleRegressor", "y", x, **given, n_targets=1)


@pytest.mark.parametrize("post", ["NONE", "LOGISTIC"])
@pytest.mark.parametrize("weights", [SHARES, MIXED])
@pytest.mark.parametrize("base", [{}, {"base_values": [0.25]}])
def test_one_vote_divides_two_classes(post: str, weights: Any, base: Any) -> None:
    given = voting("class", **ONE_VOTE, **weights) | base | TWO | {"post_transform": post}
    check_beside_onnxruntime("TreeEnsembleClassifier", "label y", X, **given)


@pytest.mark.parametrize("post", ["NONE", "SOFTMAX", "LOGISTIC"])
def test_the_class_of_several_is_the_one_of_the_highest_sum(post: str) -> None:
    given = voting("class", **VOTES) | THREE | {"post_transform": post}
    more = {"base_values": [0.5, 0.25, 0.375]}
    check_beside_onnxruntime("TreeEnsembleClassifier", "label y", X, **given, **more)


def test_a_label_alone_and_a_tree_that_is_a_leaf() -> None:
    votes = {"treeids": [0] * 3, "nodeids": [0] * 3, "ids": [0, 1, 2], "weights": [1.0, 3.0, 2.0]}
    one = {name: [0] for name in OLD} | {"nodes_modes": ["LEAF"], "nodes_values": [0.0]}
    leaf = voting("class", **votes) | one
    check_beside_onnxruntime("TreeEnsembleClassifier", "label y", X, **leaf, **THREE)
    data = forest_model("TreeEnsembleClassifier", 3, X, "label y", **leaf, **THREE)
    alone = onnx.ModelProto.FromString(data)
    del alone.graph.output[1]
    (labels,) = run(alone.SerializeToString(), X)
    assert labels.tolist() == ["é"] * 5


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        ("target", {"nodes_truenodeids": [5, 0, 0, 1, 0, 0]}, "node 0 of tree 0 leads to none"),
        ("target", {"nodes_nodeids": [0, 1, 1, 0, 1, 2]}, "two nodes of one number"),
        ("target", {"nodes_truenodeids": [0, 0, 0, 1, 0, 0]}, "do not follow on one root"),
        ("target", {"nodes_values": [1.0]}, "nodes_values has 1 entries, expected 6"),
        ("target", {"target_nodeids": [0, 2, 1, 2]}, "node 0 of tree 0 is no leaf, but votes"),
        ("target", {"target_weights": [1.0]}, "of different lengths"),
        ("target", {"n_targets": 0}, "expected 1 or more"),
        ("target", {"base_values": [1.0, 2.0]}, "2 base values, expected 1"),
        ("target", {"post_transform": "LOGISTIC"}, "of one target"),
        ("target", {"aggregate_function": "MEDIAN"}, "aggregate_function='MEDIAN'"),
        ("class", {"classlabels_strings": ["a", "b"]}, "expected either"),
        ("class", {"classlabels_int64s": [1]}, "it has one label"),
        ("class", {"post_transform": "PROBIT"}, "ONNX does not say what it is"),
        ("class", {"post_transform": "SOFTMAX"}, "one of two classes is voted for"),
    ],
)
def test_what_is_no_forest_is_refused(kind: str, change: dict[str, Any], words: str) -> None:
    own = {"n_targets": 1} if kind == "target" else TWO
    given = voting(kind, **ONE_VOTE, **SHARES) | own | change
    op_type = "TreeEnsembleRegressor" if kind == "target" else "TreeEnsembleClassifier"
    with pytest.raises((ModelError, UnsupportedError), match=words):
        load_model(forest_model(op_type, 3, X, "y" if kind == "target" else "label y", **given))
