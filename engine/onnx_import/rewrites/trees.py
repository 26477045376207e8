"""TreeEnsembleRegressor and TreeEnsembleClassifier as TreeEnsemble, and what follows on its sums.

Source: https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsembleRegressor.html, and of the
Classifier. A leaf of TreeEnsemble has one target, so a tree stands there once for each that it
votes for. The class is the one of the highest sum; where there are two and only the first is voted
for, its votes are for the second, as onnxruntime has it: the first has the rest to 1 where no
weight is negative, else the negative.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import TensorProto

from engine.errors import ModelError, UnsupportedError
from engine.ir.graph import Value
from engine.ir.types import DOUBLE, FLOAT, STRING
from engine.onnx_import.form import Emitter, Form
from engine.onnx_import.rewrites.steps import Steps
from engine.ops.tree_ensemble import MAX, MIN, OP, POST_TRANSFORMS, SUM

Array = np.ndarray
MODES = tuple(f"BRANCH_{name}" for name in ("LEQ", "LT", "GTE", "GT", "EQ", "NEQ"))
LEAF = "LEAF"
AGGREGATES = {"SUM": SUM, "AVERAGE": SUM, "MIN": MIN, "MAX": MAX}
NODES = {"NONE": "Identity", "SOFTMAX": "Softmax", "LOGISTIC": "Sigmoid"}
"""What is done with sums, as an operator."""
NODES_MAX = 2**24
"""Of all trees, for each target that they vote for."""


def tree_ensemble(form: Form, emitter: Emitter) -> None:
    """What is done with the sums as a node of its own; the kernel refuses what is no such."""
    post = form.attributes.get("post_transform", 0)
    if post in (1, 2):
        del form.attributes["post_transform"]
        sums = emitter.emit(OP, form.inputs, form.attributes)
        _finish(form, POST_TRANSFORMS[post], sums)


def _finish(form: Form, post: str, sums: Value) -> None:
    """The form becomes the last node."""
    if post not in NODES:
        raise UnsupportedError(
            f"{form.title}: post_transform={post!r} is not supported, only NONE, SOFTMAX and "
            "LOGISTIC: ONNX does not say what it is"
        )
    form.op_type, form.inputs = NODES[post], [sums]
    form.attributes = {"axis": -1} if post == "SOFTMAX" else {}


# --------------------------------------------------------------------------- the older forms
def regressor(form: Form, emitter: Emitter) -> None:
    """Sums of all targets."""
    targets, aggregate = form.take("n_targets"), str(form.take("aggregate_function") or "SUM")
    if not targets or targets < 1:
        raise ModelError(f"{form.title}: n_targets={targets}, expected 1 or more")
    if aggregate not in AGGREGATES:
        raise ModelError(f"{form.title}: aggregate_function={aggregate!r}")
    post = str(form.take("post_transform") or "NONE")
    if targets == 1 and post in ("SOFTMAX", "LOGISTIC"):
        raise UnsupportedError(
            f"{form.title}: post_transform={post!r} of one target: ONNX's text has it, engines "
            "leave it out"
        )
    steps, old = Steps(form, emitter), _Old(form, emitter, "target")
    sums = _sums(steps, old, targets, aggregate)
    _finish(form, post, steps.cast(sums, TensorProto.FLOAT))


def classifier(form: Form, emitter: Emitter) -> None:
    """The label of each row, and the sums of all classes, with what is done with them."""
    labels, post = _labels(form), str(form.take("post_transform") or "NONE")
    steps, old = Steps(form, emitter), _Old(form, emitter, "class")
    is_binary = len(labels) == 2 and not any(target for *_, target in old.votes)
    if is_binary and post == "SOFTMAX":
        raise UnsupportedError(
            f"{form.title}: post_transform='SOFTMAX' where one of two classes is voted for: ONNX's "
            "text has it, engines leave it out"
        )
    sums = _sums(steps, old, 1 if is_binary else len(labels), "SUM")
    if is_binary:
        places, sums = _of_two(steps, old, sums, post)
    else:
        places = steps.of("ArgMax", sums, axis=1, keepdims=0)
    known = emitter.constant(f"{form.outputs[0]}_labels", labels)
    label, scores = form.outputs[0], (*form.outputs, "")[1]
    emitter.emit("Gather", [known, places], {"axis": 0}, label)
    form.outputs = [scores]
    _finish(form, post, steps.cast(sums, TensorProto.FLOAT))


def _labels(form: Form) -> Array:
    names = form.attributes.pop("classlabels_strings", ())
    numbers = form.attributes.pop("classlabels_int64s", ())
    if bool(names) == bool(numbers):
        raise ModelError(f"{form.title}: expected either classlabels_strings or classlabels_int64s")
    labels = np.array(names, STRING) if names else np.array(numbers, np.int64)
    if len(labels) < 2:
        raise UnsupportedError(f"{form.title}: it has one label, expected 2 or more")
    return labels


def _of_two(steps: Steps, old: _Old, sums: Value, post: str) -> tuple[Value, Value]:
    """The place of the label, and the sums of both classes."""
    is_share = all(weight >= 0 for *_, weight, _ in old.votes)
    threshold = steps.like("threshold", 0.5 if is_share else 0.0, sums)
    is_second = steps.of("Squeeze", steps.of("Greater", sums, threshold), steps.integers("axis", 1))
    rest = steps.of("Neg", sums)
    if is_share and post == "NONE":
        rest = steps.of("Sub", steps.like("one", 1, sums), sums)
    return steps.cast(is_second, TensorProto.INT64), steps.of("Concat", rest, sums, axis=1)


def _sums(steps: Steps, old: _Old, targets: int, aggregate: str) -> Value:
    """[N, targets], base values added."""
    attributes = _merged(old.trees(aggregate in ("SUM", "AVERAGE")), steps.form.title)
    attributes |= {"n_targets": targets, "aggregate_function": AGGREGATES[aggregate]}
    sums = steps.of(OP, old.x, **attributes)
    if aggregate == "AVERAGE":
        sums = steps.of("Div", sums, steps.like("trees", len(old.members), sums))
    if len(old.base) not in (0, targets):
        raise UnsupportedError(
            f"{steps.form.title}: {len(old.base)} base values, expected {targets} or none"
        )
    if len(old.base):
        base = steps.emitter.constant(f"{steps.form.outputs[0]}_base", old.base)
        sums = steps.of("Add", sums, base)
    return sums


@dataclass(frozen=True)
class _Tree:
    """One tree for one target, as TreeEnsemble has it, numbers counted from 0."""

    nodes: Mapping[str, Array]
    leaf_weights: Array
    target: int
    root: int


class _Old:
    """The attributes of an older form, taken from it.

    Attributes:
        x: the rows, in float or double. members: tree -> its nodes, by place in the lists.
        votes: (tree, node, weight, target). base: values that are added.
    """

    def __init__(self, form: Form, emitter: Emitter, kind: str) -> None:
        self._form = form
        given = emitter.dtype(form.inputs[0])
        if given is None:
            raise UnsupportedError(f"{form.title}: the dtype of X is not known at import")
        names = ("nodes_values", f"{kind}_weights", "base_values")
        is_wide = given == DOUBLE or any(f"{n}_as_tensor" in form.attributes for n in names)
        self._dtype = DOUBLE if is_wide else FLOAT
        x, to = form.inputs[0], TensorProto.DOUBLE if is_wide else TensorProto.FLOAT
        assert x is not None
        self.x = x if given == self._dtype else Steps(form, emitter).cast(x, to)
        splits, weights, self.base = (self._floats(name) for name in names)
        for name in ("nodes_hitrates", "nodes_hitrates_as_tensor"):
            form.attributes.pop(name, None)
        keys = list(zip(self._taken("nodes_treeids"), self._taken("nodes_nodeids"), strict=False))
        count = len(keys)
        modes = self._taken("nodes_modes", count)
        self._is_leaf = np.array([mode == LEAF for mode in modes], bool)
        if unknown := {*modes} - {*MODES, LEAF}:
            raise ModelError(f"{form.title}: nodes_modes has {sorted(unknown)}")
        self._columns: dict[str, Array] = {
            "nodes_modes": np.array([0 if m == LEAF else MODES.index(m) for m in modes], np.uint8),
            "nodes_featureids": np.array(self._taken("nodes_featureids", count), np.int64),
            "nodes_splits": self._of_nodes("nodes_values", splits, count),
            "nodes_missing_value_tracks_true": np.array(
                self._taken("nodes_missing_value_tracks_true", count, optional=True), np.int64
            ),
        }
        place = {key: i for i, key in enumerate(keys)}
        if len(place) < count:
            raise ModelError(f"{form.title}: a tree has two nodes of one number")
        self.members: dict[int, list[int]] = {}
        for (tree, _), i in place.items():
            self.members.setdefault(tree, []).append(i)
        self._children = {
            way: self._places(keys, place, self._taken(f"nodes_{way}nodeids", count))
            for way in ("true", "false")
        }
        columns = [self._taken(f"{kind}_{name}") for name in ("treeids", "nodeids", "ids")]
        if len({len(column) for column in (*columns, weights)}) != 1:
            raise ModelError(f"{form.title}: attributes {kind}_* are of different lengths")
        self.votes = list(zip(*columns[:2], weights.tolist(), columns[2], strict=True))
        self._by_leaf = self._checked_votes(place)

    def _taken(self, name: str, count: int | None = None, *, optional: bool = False) -> Any:
        values = self._form.attributes.pop(name, ())
        if optional and not values:
            values = (0,) * (count or 0)
        if count is not None and len(values) != count:
            title = self._form.title
            raise ModelError(f"{title}: {name} has {len(values)} entries, expected {count}")
        return values

    def _of_nodes(self, name: str, values: Array, count: int) -> Array:
        if len(values) != count:
            title = self._form.title
            raise ModelError(f"{title}: {name} has {len(values)} entries, expected {count}")
        return values

    def _floats(self, name: str) -> Array:
        """A list, or the tensor of doubles instead of it."""
        listed = self._form.attributes.pop(name, ())
        whole = np.asarray(self._form.attributes.pop(f"{name}_as_tensor", ()), self._dtype)
        if len(listed) and whole.size:
            raise ModelError(f"{self._form.title}: {name} is given twice")
        return whole.ravel() if whole.size else np.array(listed, self._dtype)

    def _places(self, keys: list[Any], place: Mapping[Any, int], numbers: Any) -> Array:
        """Of the children; of a leaf, 0."""
        found = [
            0 if is_leaf else place.get((tree, number), -1)
            for (tree, _), number, is_leaf in zip(keys, numbers, self._is_leaf, strict=True)
        ]
        if -1 in found:
            tree, node = keys[found.index(-1)]
            raise ModelError(f"{self._form.title}: node {node} of tree {tree} leads to none")
        return np.array(found, np.int64)

    def _checked_votes(self, place: Mapping[Any, int]) -> dict[int, dict[int, list[float]]]:
        """Place of a leaf -> target -> weights."""
        found: dict[int, dict[int, list[float]]] = {}
        for tree, node, weight, target in self.votes:
            leaf = place.get((tree, node), -1)
            if leaf < 0 or not self._is_leaf[leaf]:
                raise ModelError(
                    f"{self._form.title}: node {node} of tree {tree} is no leaf, but votes"
                )
            found.setdefault(leaf, {}).setdefault(target, []).append(weight)
        return found

    def trees(self, adds: bool) -> list[_Tree]:
        """For each target that a tree votes for.

        Args:
            adds: whether no vote is a vote of 0.
        """
        found, count = [], 0
        for members in self.members.values():
            leaves = [i for i in members if self._is_leaf[i]]
            targets = sorted({t for leaf in leaves for t in self._by_leaf.get(leaf, ())})
            count += len(targets) * len(members)
            if count > NODES_MAX:
                raise UnsupportedError(
                    f"{self._form.title}: its trees have {count} nodes, one tree for each target "
                    f"that it votes for, more than {NODES_MAX}"
                )
            nodes, root = self._renumbered(members, leaves) if targets else ({}, 0)
            for target in targets:
                votes = [self._by_leaf.get(leaf, {}).get(target, ()) for leaf in leaves]
                if not adds and any(len(given) != 1 for given in votes):
                    raise UnsupportedError(
                        f"{self._form.title}: MIN and MAX of trees of which not every leaf votes "
                        "once for a target"
                    )
                found.append(_Tree(nodes, np.array([*map(sum, votes)], self._dtype), target, root))
        if not found:
            raise ModelError(f"{self._form.title}: no leaf has a vote")
        return found

    def _renumbered(self, members: list[int], leaves: list[int]) -> tuple[dict[str, Array], int]:
        """The nodes of a tree and which is its root.

        A leaf alone is a node of which both ways lead to it.
        """
        inner = [i for i in members if not self._is_leaf[i]]
        children: dict[str, list[int]] = {
            way: places[inner].tolist() for way, places in self._children.items()
        }
        roots = {*members}.difference(*children.values())
        if len(roots) != 1 or (inner and roots & {*leaves}):
            raise ModelError(f"{self._form.title}: nodes of a tree do not follow on one root")
        (root,) = roots
        if not inner:
            inner, children = leaves, dict.fromkeys(children, leaves)
        number = {i: k for k, i in enumerate(leaves)} | {i: k for k, i in enumerate(inner)}
        columns = {name: column[inner] for name, column in self._columns.items()}
        for way, places in children.items():
            columns[f"nodes_{way}nodeids"] = np.array([number[i] for i in places], np.int64)
            columns[f"nodes_{way}leafs"] = self._is_leaf[places].astype(np.int64)
        return columns, number[root]


def _merged(trees: list[_Tree], title: str) -> dict[str, Any]:
    """Attributes of TreeEnsemble."""
    node_counts = [len(tree.nodes["nodes_modes"]) for tree in trees]
    first_nodes = np.cumsum([0, *node_counts[:-1]])
    first_leaves = np.cumsum([0, *(len(tree.leaf_weights) for tree in trees[:-1])])
    merged: dict[str, Any] = {
        name: np.concatenate([tree.nodes[name] for tree in trees]) for name in trees[0].nodes
    }
    for way in ("true", "false"):
        firsts = np.repeat(first_nodes, node_counts), np.repeat(first_leaves, node_counts)
        merged[f"nodes_{way}nodeids"] += np.where(merged[f"nodes_{way}leafs"], firsts[1], firsts[0])
    targets = [np.full(len(tree.leaf_weights), tree.target, np.int64) for tree in trees]
    return merged | {
        "tree_roots": np.array([tree.root for tree in trees], np.int64) + first_nodes,
        "leaf_weights": np.concatenate([tree.leaf_weights for tree in trees]),
        "leaf_targetids": np.concatenate(targets),
    }
