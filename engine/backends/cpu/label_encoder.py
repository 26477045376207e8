"""LabelEncoder: keys in order, and a search for each element; strings in a dictionary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.ir.graph import Node
from engine.ir.types import STRING
from engine.ops.label_encoder import table

if TYPE_CHECKING:
    from engine.backends.cpu.backend import CpuBackend
    from engine.backends.cpu.packed import Function, Views


def _make(backend: CpuBackend, node: Node) -> Function:
    keys, values, default = table(node.attributes)
    if keys.dtype == STRING:
        return _by_dictionary(keys, values, default)
    order = np.argsort(keys, kind="stable")  # NaN comes last
    keys, values = keys[order], np.append(values[order], default)

    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        x = np.asarray(inputs[0])
        last = np.searchsorted(keys, x, side="right") - 1
        there = keys[last] if keys.size else np.empty(x.shape, keys.dtype)
        is_key = (last >= 0) & ((there == x) | ((there != there) & (x != x)))
        outputs[0][...] = values[np.where(is_key, last, len(keys))]

    return run


def _by_dictionary(keys: np.ndarray, values: np.ndarray, default: np.ndarray) -> Function:
    values = np.append(values, default)
    places = {key: i for i, key in enumerate(keys)}

    def run(inputs: Views, outputs: Sequence[np.ndarray]) -> None:
        x = np.asarray(inputs[0])
        found = [places.get(element, len(keys)) for element in x.flat]
        outputs[0][...] = values[np.array(found, np.int64).reshape(x.shape)]

    return run


KERNELS = {"LabelEncoder": _make}
