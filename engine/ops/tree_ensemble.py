"""TreeEnsemble: each tree leads a row to a leaf, and the weights of leaves are taken by target.

Source: https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsemble.html; the importer drops its
domain, and writes `post_transform` as nodes of its own. NaN follows
`nodes_missing_value_tracks_true` alone, whatever it is compared with. A target that no leaf votes
for is 0, also by MIN and MAX.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from engine.errors import ShapeError, UnsupportedError
from engine.ir.types import DOUBLE, FLOAT, FLOAT16, FLOATS, TensorType, dtype_name
from engine.ops.numerics import Error, Units, rounded, sum_of_products, where_sums_fit
from engine.ops.operands import Operands, tensor, zeros
from engine.ops.spec import Arrays, Attributes, Call, Choose, OpSpec, Reject

Array = np.ndarray
OP = "TreeEnsemble"
COMPARISONS = (operator.le, operator.lt, operator.ge, operator.gt, operator.eq, operator.ne)
"""By mode."""
MEMBER = len(COMPARISONS)
"""The mode of a node that asks whether an element is one of a set."""
AVERAGE, SUM, MIN, MAX = range(4)
POST_TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")


@dataclass(frozen=True)
class Forest:
    """Trees whose nodes are numbered, and their leaves on from them.

    Attributes:
        roots: [trees]. children: [nodes, 2], where a comparison leads that does not hold, or does.
        modes, features, splits, tracks_true: [nodes]; tracks_true is whether NaN goes the true way.
        members: the set of each node of mode MEMBER.
        targets, weights: [leaves].
    """

    roots: Array
    children: Array
    modes: Array
    features: Array
    splits: Array
    tracks_true: Array
    members: Mapping[int, Array]
    targets: Array
    weights: Array


def _column(attributes: Attributes, name: str, count: int | None, below: int) -> Array:
    """One number for each node or leaf; raises ShapeError unless all are in [0, below)."""
    given = np.asarray(attributes[name])
    if given.size and given.dtype.kind not in "iu":
        raise ShapeError(f"{OP}: {name} is {dtype_name(given.dtype)}, expected integers")
    numbers = given.astype(np.int64)
    if numbers.ndim != 1 or count not in (None, len(numbers)):
        raise ShapeError(f"{OP}: {name} has shape {numbers.shape}, expected [{count}]")
    if numbers.size and not 0 <= numbers.min() <= numbers.max() < below:
        raise ShapeError(
            f"{OP}: {name} has {numbers.min()} to {numbers.max()}, not all in [0, {below})"
        )
    return numbers


def _floats(attributes: Attributes, name: str, count: int | None) -> Array:
    numbers = np.asarray(attributes[name])
    if numbers.ndim != 1 or count not in (None, len(numbers)):
        raise ShapeError(f"{OP}: {name} has shape {numbers.shape}, expected [{count}]")
    return numbers


def _children(attributes: Attributes, nodes: int, leaves: int) -> Array:
    """Of each node, counted on from the nodes where they are leaves."""
    columns = []
    for way in ("false", "true"):
        is_leaf = _column(attributes, f"nodes_{way}leafs", nodes, 2).astype(bool)
        places = _column(attributes, f"nodes_{way}nodeids", nodes, max(nodes, leaves))
        if (places >= np.where(is_leaf, leaves, nodes)).any():
            raise ShapeError(
                f"{OP}: nodes_{way}nodeids names none of {nodes} nodes, {leaves} leaves"
            )
        columns.append(np.where(is_leaf, places + nodes, places))
    return np.stack(columns, axis=1)


def _members(attributes: Attributes, modes: Array) -> dict[int, Array]:
    """membership_values, a NaN after each set."""
    asking = np.flatnonzero(modes == MEMBER).tolist()
    values = np.asarray(attributes.get("membership_values", ()))
    ends = np.flatnonzero(np.isnan(values.astype(np.float64)))
    if len(ends) != len(asking):
        raise ShapeError(
            f"{OP}: membership_values has {len(ends)} sets, each of which NaN ends, for "
            f"{len(asking)} nodes of mode {MEMBER}"
        )
    return {node: part[~np.isnan(part)] for node, part in zip(asking, np.split(values, ends + 1))}


def forest_of(attributes: Attributes) -> Forest:
    """The trees; raises ShapeError for what are none."""
    modes = _column(attributes, "nodes_modes", None, MEMBER + 1)
    weights, nodes = _floats(attributes, "leaf_weights", None), len(modes)
    column = partial(_column, attributes)
    children = _children(attributes, nodes, len(weights))
    roots = column("tree_roots", None, nodes)
    parents = np.bincount(children[children < nodes], minlength=nodes)
    if not len(roots) or (parents > 1).any() or parents[roots].any():
        raise ShapeError(f"{OP}: tree_roots and the nodes that follow on them are no trees")
    tracks = "nodes_missing_value_tracks_true"
    return Forest(
        roots,
        children,
        modes,
        column("nodes_featureids", nodes, 2**31),
        _floats(attributes, "nodes_splits", nodes),
        (column(tracks, nodes, 2) if len(attributes.get(tracks, ())) else modes * 0).astype(bool),
        _members(attributes, modes),
        column("leaf_targetids", len(weights), targets_of(attributes)),
        weights,
    )


def targets_of(attributes: Attributes) -> int:
    """How many there are; raises ShapeError for none."""
    count = int(attributes.get("n_targets", 0))
    if count < 1:
        raise ShapeError(f"{OP}: n_targets={count}, expected 1 or more")
    return count


def aggregate_of(attributes: Attributes) -> int:
    """AVERAGE, SUM, MIN or MAX; raises ShapeError."""
    aggregate = int(attributes.get("aggregate_function", SUM))
    if aggregate not in range(4):
        raise ShapeError(f"{OP}: aggregate_function={aggregate}, expected 0 to 3")
    return aggregate


def _check_post_transform(attributes: Attributes) -> None:
    """What the importer does not write as nodes of its own."""
    number = int(attributes.get("post_transform", 0))
    if number not in range(len(POST_TRANSFORMS)):
        raise ShapeError(f"{OP}: post_transform={number}, expected 0 to {len(POST_TRANSFORMS) - 1}")
    if number:
        raise UnsupportedError(
            f"{OP}: post_transform={number} ({POST_TRANSFORMS[number]}) is not supported, only "
            "0 to 2: ONNX does not say what it is"
        )


def _infer(inputs: Operands, attributes: Attributes) -> tuple[TensorType, ...]:
    x = tensor(OP, inputs, 0, "X", FLOATS)
    if len(x.dims) != 2:
        raise ShapeError(f"{OP}: X is {x}, expected [N, F]")
    _check_post_transform(attributes)
    aggregate_of(attributes)
    forest = forest_of(attributes)
    for name in ("nodes_splits", "leaf_weights", "membership_values"):
        dtype = np.asarray(attributes.get(name, np.empty(0, x.dtype))).dtype
        if dtype != x.dtype:
            raise ShapeError(f"{OP}: {name} is {dtype_name(dtype)}, X is {x}, expected one dtype")
    if (last := int(forest.features.max(initial=0))) >= x.dims[1]:
        raise ShapeError(f"{OP}: nodes_featureids names feature {last} of X, which is {x}")
    return (TensorType(x.dtype, (x.dims[0], targets_of(attributes))),)


def _goes_true(forest: Forest, node: int, x: float) -> bool:
    if np.isnan(x):
        return bool(forest.tracks_true[node])
    if forest.modes[node] == MEMBER:
        return x in forest.members[node].astype(np.float64)
    return bool(COMPARISONS[forest.modes[node]](x, float(forest.splits[node])))


def _leaf(forest: Forest, root: int, row: Array) -> int:
    """Where a row ends in a tree."""
    here = root
    while here < len(forest.modes):
        here = forest.children[here, int(_goes_true(forest, here, row[forest.features[here]]))]
    return here - len(forest.modes)


def _votes(x: Array, attributes: Attributes) -> list[list[list[float]]]:
    """Of each row, for each target the weights of leaves."""
    forest, count = forest_of(attributes), targets_of(attributes)
    found = []
    for row in x:
        votes: list[list[float]] = [[] for _ in range(count)]
        for root in forest.roots:
            leaf = _leaf(forest, root, row)
            votes[forest.targets[leaf]].append(float(forest.weights[leaf]))
        found.append(votes)
    return found


def _evaluate(inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
    x, trees = np.asarray(inputs[0]), len(attributes["tree_roots"])
    take: dict[int, Callable[[list[float]], float]] = {
        AVERAGE: lambda votes: sum(votes) / trees,
        SUM: sum,
        MIN: min,
        MAX: max,
    }
    aggregate = take[aggregate_of(attributes)]
    votes = _votes(x, attributes)
    y = [[aggregate(given) if given else 0.0 for given in row] for row in votes]
    return (np.array(y, np.float64).reshape(len(x), targets_of(attributes)),)


def _error(inputs: Arrays, attributes: Attributes, units: Units) -> tuple[Error, ...]:
    """A sum of as many terms as there are trees, and a division; the rest is stored only."""
    (y,) = _evaluate(inputs, attributes)
    aggregate = aggregate_of(attributes)
    if aggregate in (MIN, MAX):
        return (rounded(y, units, roundings=0),)
    trees = len(attributes["tree_roots"])
    weights = np.asarray(attributes["leaf_weights"], np.float64)
    (magnitudes, squares) = (
        _evaluate(inputs, {**attributes, "aggregate_function": SUM, "leaf_weights": w})[0]
        for w in (np.abs(weights), weights**2)
    )
    share = trees if aggregate == AVERAGE else 1
    error = sum_of_products(y, squares / share**2, magnitudes / share, trees + 1, units)
    return (where_sums_fit(error, magnitudes, trees, units) if share > 1 else error,)


# --------------------------------------------------------------------------- examples
SPLITS = (0.0, 0.5, -1.0, 2.0, -0.5, 1.0)
DEPTH_MAX = 4


class _Grown:
    """A forest on its way: what has been drawn of it."""

    def __init__(self, choose: Choose, features: int, targets: int) -> None:
        self._choose, self._features, self._targets = choose, features, targets
        self.nodes: list[dict[str, int]] = []
        self.targets: list[int] = []

    def tree(self, depth: int = 0) -> int:
        """The number of a drawn node with all that follows."""
        node: dict[str, int] = {}
        self.nodes.append(node)
        number, choose = len(self.nodes) - 1, self._choose
        node["mode"] = choose.integer(0, MEMBER)
        node["feature"] = choose.integer(0, self._features - 1)
        node["split"] = choose.integer(0, len(SPLITS) - 1)
        node["tracks"] = choose.integer(0, 1)
        for way in ("true", "false"):
            is_leaf = depth == DEPTH_MAX or choose.integer(0, 1) == 0
            node[f"{way}leaf"] = int(is_leaf)
            node[way] = self._leaf() if is_leaf else self.tree(depth + 1)
        return number

    def _leaf(self) -> int:
        self.targets.append(self._choose.integer(0, self._targets - 1))
        return len(self.targets) - 1


def _example(choose: Choose) -> Call:
    dtype = choose.one_of((FLOAT, DOUBLE, FLOAT16))
    rows, features = choose.shape((2, 2), 9)
    targets = choose.integer(1, 3)
    grown = _Grown(choose, features, targets)
    roots = tuple(grown.tree() for _ in range(choose.integer(1, 5)))
    column = {key: [node[key] for node in grown.nodes] for key in grown.nodes[0]}
    sets = sum(mode == MEMBER for mode in column["mode"])
    halves = np.round(choose.tensor((rows, features), dtype) * 2) / 2
    attributes: dict[str, Any] = {
        "n_targets": targets,
        "aggregate_function": choose.one_of((SUM, AVERAGE, MIN, MAX)),
        "tree_roots": roots,
        "nodes_modes": np.array(column["mode"], np.uint8),
        "nodes_featureids": tuple(column["feature"]),
        "nodes_splits": np.array([SPLITS[i] for i in column["split"]], dtype),
        "nodes_truenodeids": tuple(column["true"]),
        "nodes_trueleafs": tuple(column["trueleaf"]),
        "nodes_falsenodeids": tuple(column["false"]),
        "nodes_falseleafs": tuple(column["falseleaf"]),
        "leaf_targetids": tuple(grown.targets),
        "leaf_weights": choose.tensor((len(grown.targets),), dtype),
    }
    if sets:
        attributes["membership_values"] = np.array([0.0, 2.0, 1.0, np.nan] * sets, dtype)
    if choose.integer(0, 1):
        attributes["nodes_missing_value_tracks_true"] = tuple(column["tracks"])
    return Call((choose.mixed(halves, (np.nan, np.inf, -0.0, -np.inf)),), attributes)


TWO_TREES: dict[str, Any] = {
    "n_targets": 3,
    "aggregate_function": SUM,
    "tree_roots": (0, 2),
    "nodes_modes": np.array([0, 3, 6], np.uint8),
    "nodes_featureids": (0, 1, 0),
    "nodes_splits": np.array([0.1, 2, 0], np.float32),
    "nodes_truenodeids": (1, 0, 3),
    "nodes_trueleafs": (0, 1, 1),
    "nodes_falsenodeids": (2, 1, 4),
    "nodes_falseleafs": (1, 1, 1),
    "membership_values": np.array([0.1, 0, np.nan], np.float32),
    "leaf_targetids": (0, 1, 0, 1, 0),
    "leaf_weights": np.array([0.5, -0.25, 3, 4, 0.1], np.float32),
}
"""A chain of two comparisons, and a set."""
ONE_LEAF: dict[str, Any] = {
    "n_targets": 1,
    "tree_roots": (0,),
    "nodes_modes": np.zeros(1, np.uint8),
    "nodes_featureids": (0,),
    "nodes_splits": zeros(1),
    **dict.fromkeys(("nodes_truenodeids", "nodes_falsenodeids", "leaf_targetids"), (0,)),
    **dict.fromkeys(("nodes_trueleafs", "nodes_falseleafs"), (1,)),
    "leaf_weights": np.array([1.5], np.float32),
}
HALF_LEAF = ONE_LEAF | {
    name: np.asarray(ONE_LEAF[name], np.float16) for name in ("nodes_splits", "leaf_weights")
}
_x = np.array([[0.1, 2.5], [0.5, 1], [np.nan, np.nan], [np.inf, 0], [0, 2]], np.float32)


def _call(x: Array = _x, base: Mapping[str, Any] = TWO_TREES, **attributes: Any) -> Call:
    return Call((x,), {**base, **attributes})


def _reject(name: str, match: str, **attributes: Any) -> Reject:
    return Reject(name, partial(_call, **attributes), match)


def _flops(inputs: Sequence[TensorType | None], outputs: Any, attributes: Attributes) -> int:
    """About a comparison for each level of each tree, taken as balanced."""
    x, trees = inputs[0], max(len(attributes["tree_roots"]), 1)
    nodes = len(attributes["nodes_modes"]) // trees
    return 0 if x is None else x.dims[0] * trees * (nodes.bit_length() + 1)


SPECS: tuple[OpSpec, ...] = (
    OpSpec(
        OP,
        (1, 1),
        _infer,
        _evaluate,
        _error,
        _example,
        domain="ai.onnx.ml",
        edges=(
            _call,
            partial(_call, _x[:0]),
            partial(_call, nodes_missing_value_tracks_true=(1, 0, 1), aggregate_function=MIN),
            partial(_call, nodes_modes=np.array([6, 5, 4], np.uint8), aggregate_function=MAX),
            partial(_call, tree_roots=(2, 0, 2), aggregate_function=AVERAGE),
            partial(_call, zeros(3, 1), ONE_LEAF),
            partial(_call, np.zeros((2, 1), np.float16), HALF_LEAF),
        ),
        rejects=(
            Reject("integers", partial(_call, _x[:2].astype(np.int64)), "int64 is not supported"),
            Reject("a vector", partial(_call, _x[0]), r"expected \[N, F\]"),
            Reject("another dtype", partial(_call, _x.astype(np.float64)), "expected one dtype"),
            Reject("too few features", partial(_call, _x[:, :1]), "names feature 1 of X"),
            _reject("no targets", "expected 1 or more", n_targets=0),
            _reject("a target too many", "leaf_targetids has 0 to 1", n_targets=1),
            _reject("an aggregate", "expected 0 to 3", aggregate_function=4),
            _reject("a transform", "expected 0 to 4", post_transform=5),
            _reject("softmax without zeros", r"3 \(SOFTMAX_ZERO\)", post_transform=3),
            _reject("a mode", "nodes_modes has", nodes_modes=np.full(3, 7, np.uint8)),
            _reject("modes of float", "expected integers", nodes_modes=zeros(3)),
            _reject("a node too few", "expected .3.", nodes_splits=zeros(2)),
            _reject("no such node", "names none of 3 nodes", nodes_truenodeids=(3, 0, 3)),
            _reject(
                "a cycle", "are no trees", nodes_truenodeids=(1, 1, 3), nodes_trueleafs=(0, 0, 1)
            ),
            _reject("a child of two", "are no trees", tree_roots=(0, 1)),
            _reject("no tree", "are no trees", tree_roots=()),
            _reject("a set too few", "has 0 sets", membership_values=zeros(0)),
        ),
        flops=_flops,
        reads=(
            *("aggregate_function", "leaf_targetids", "leaf_weights", "membership_values"),
            *("n_targets", "nodes_falseleafs", "nodes_falsenodeids", "nodes_featureids"),
            *("nodes_missing_value_tracks_true", "nodes_modes", "nodes_splits", "nodes_trueleafs"),
            *("nodes_truenodeids", "post_transform", "tree_roots"),
        ),
        ignores=("nodes_hitrates",),
    ),
)
