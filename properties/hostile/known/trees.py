"""Where engines are known to read TreeEnsemble differently, and why."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import numpy_helper

from engine.ops.tree_ensemble import AVERAGE, MAX, MEMBER, MIN, SUM, TWO_TREES
from properties.hostile.asked import Call, Disagreement, call, has_nan

TREES = frozenset({"ai.onnx.ml::TreeEnsemble"})
NOT_EQUAL = 5
BITS = 32


def _modes(call: Call) -> set[int]:
    return {int(mode) for mode in call.attributes["nodes_modes"]}


def _aggregate(call: Call) -> Any:
    return call.attribute("aggregate_function", SUM)


def _members(call: Call) -> np.ndarray:
    return np.asarray(call.attributes["membership_values"], np.float64)


def _asks_twice(call: Call) -> bool:
    """Whether a set asks for the feature of a set on whose false way it lies."""
    modes, features, leaves, ways = (
        np.asarray(call.attributes[f"nodes_{name}"])
        for name in ("modes", "featureids", "falseleafs", "falsenodeids")
    )
    inner = np.flatnonzero((modes == MEMBER) & (leaves == 0))
    second = ways[inner]
    return bool(((modes[second] == MEMBER) & (features[second] == features[inner])).any())


def _two_sets(first: list[float], second: int, x: float) -> Call:
    """One tree: a set for feature 0, and on its false way another for feature `second`."""
    return _shown(
        [x, 0],
        tree_roots=[0],
        nodes_modes=np.array([MEMBER, MEMBER], np.uint8),
        nodes_featureids=[0, second],
        nodes_splits=np.zeros(2, np.float32),
        nodes_truenodeids=[0, 1],
        nodes_trueleafs=[1, 1],
        nodes_falsenodeids=[1, 2],
        nodes_falseleafs=[0, 1],
        membership_values=np.array([*first, np.nan, 1, 2, np.nan], np.float32),
        leaf_targetids=[0, 1, 2],
        leaf_weights=np.ones(3, np.float32),
    )


def _shown(x: list[float], **changed: Any) -> Call:
    """One row for the two trees of the examples."""
    attributes = {
        name: numpy_helper.from_array(value, name) if isinstance(value, np.ndarray) else value
        for name, value in {**TWO_TREES, **changed}.items()
    }
    row = np.array([x], np.float32)
    return call("TreeEnsemble", 5, row, domain="ai.onnx.ml", **attributes)


DISAGREEMENTS = (
    *(
        Disagreement(
            witness,
            TREES,
            "goes the true way where NaN is unequal to a split; nodes_missing_value_tracks_true "
            "defines the way 'in the presence of a NaN input feature', by default the other",
            lambda c: has_nan(c) and NOT_EQUAL in _modes(c),
            lambda: _shown([np.nan, 0], nodes_modes=np.array([NOT_EQUAL, 3, 6], np.uint8)),
        )
        for witness in ("evaluator", "onnxruntime")
    ),
    Disagreement(
        "evaluator",
        TREES,
        "gives a target that no leaf votes for the end of the range by MIN and MAX; onnxruntime "
        "has 0, as we do",
        lambda c: _aggregate(c) in (MIN, MAX),
        lambda: _shown([0, 0], aggregate_function=MIN),
    ),
    Disagreement(
        "evaluator",
        TREES,
        "ends a set at 0, where NaN does, and gives sets to nodes in the order in which it comes "
        "to them, where they are 'in the order that the BRANCH_MEMBER mode appears in node_modes'",
        lambda c: MEMBER in _modes(c),
        lambda: _shown([0, 0], membership_values=np.array([0.5, 0, np.nan], np.float32)),
    ),
    Disagreement(
        "onnxruntime",
        TREES,
        "takes fractions for whole numbers at a set of several members, of which one is beyond 32; "
        "the evaluator does not",
        lambda c: MEMBER in _modes(c) and bool((np.abs(_members(c)) > BITS).any()),
        lambda: _two_sets([0, 33], second=1, x=0.5),
    ),
    Disagreement(
        "onnxruntime",
        TREES,
        "makes one set of two that ask for one feature, of which the second lies on the false way "
        "of the first; it has leaves of its own",
        lambda c: _asks_twice(c),
        lambda: _two_sets([7], second=0, x=1),
    ),
    Disagreement(
        "onnxruntime",
        TREES,
        "takes post_transform=1 for LOGISTIC and 2 for SOFTMAX, where ONNX has it the other way "
        "round",
        lambda c: c.attribute("post_transform", 0) in (1, 2),
        lambda: _shown([0, 0], post_transform=2),
    ),
    Disagreement(
        "evaluator",
        TREES,
        "does not look at post_transform",
        lambda c: bool(c.attribute("post_transform", 0)),
        lambda: _shown([0, 0], post_transform=2),
    ),
    Disagreement(
        "evaluator",
        TREES,
        "sums in half",
        lambda c: c.first.dtype == np.float16 and _aggregate(c) in (AVERAGE, SUM),
        lambda: _half_sums(),
    ),
)


def _half_sums() -> Call:
    """3000 votes of 1.0: from 2048 on half has even numbers only."""
    names = ("nodes_splits", "leaf_weights", "membership_values")
    half = {name: TWO_TREES[name].astype(np.float16) for name in names}
    votes = {"leaf_weights": np.ones(5, np.float16), "tree_roots": [0] * 3000}
    single = _shown([0, 0], **{**half, **votes})
    feeds = {name: x.astype(np.float16) for name, x in single.feeds.items()}
    model = single.model
    model.graph.input[0].type.tensor_type.elem_type = 10
    return Call(model.SerializeToString(), feeds)
