"""Values for attributes and elements of calls: mostly plausible, seldom absurd."""

from __future__ import annotations

from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
from onnx import defs

from engine.ir.types import FLOATS, NARROW_FLOATS, NARROW_INTEGERS, STRING
from engine.ops.recurrent_form import DIRECTIONS, TAKES
from engine.ops.strings import CASES, PATTERNS, WORDS
from engine.ops.tf_idf import MODES

Rng = np.random.Generator
Schema: TypeAlias = defs.OpSchema

STRINGS = {
    "auto_pad": ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"),
    "mode": (
        *("constant", "reflect", "edge", "wrap", "nearest", "linear", "cubic", "bilinear"),
        *("bicubic", "DCR", "CRD", "avg", "max", *MODES),
    ),
    "coordinate_transformation_mode": (
        *("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners"),
        *("asymmetric", "tf_crop_and_resize", "tf_half_pixel_for_nn", "output_half_pixel"),
    ),
    "nearest_mode": ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil", "simple"),
    "keep_aspect_ratio_policy": ("stretch", "not_larger", "not_smaller"),
    "padding_mode": ("zeros", "border", "reflection"),
    "reduction": ("none", "add", "mul", "min", "max"),
    "approximate": ("none", "tanh"),
    "round_mode": ("up", "down", "nearest"),
    "direction": ("LEFT", "RIGHT", *DIRECTIONS),
    "activation": ("Relu", "Tanh", "Sigmoid", "LeakyRelu", "Clip", "HardSigmoid", "Elu", "Selu"),
    "activations": tuple(TAKES),
    "case_change_action": CASES,
    "delimiter": ("", ",", "a", "b "),
    "locale": ("C", "en_US"),
    "pattern": PATTERNS,
    "to": ("FLOAT", "INT32", "BOOL", "DOUBLE", "FLOAT16", "STRING"),
    "equation": ("ij,jk->ik", "ij->ji", "ii->i", "bij,bjk", "i,i", "...i->...", "i->ii"),
}
"""Text attributes; a name that is not here gets text that no operator knows."""
SPECIAL = (
    np.nan,
    np.inf,
    -np.inf,
    0.0,
    -0.0,
    0.5,
    -0.5,
    1.5,
    2.5,
    1e-5,
    65504.0,
    1e5,
    1e10,
    -1e10,
    3e38,
    1e-40,
)


def dtype_of(text: str) -> np.dtype | None:
    """The dtype of "tensor(float)", None for those that NumPy does not have."""
    names = {"float": "float32", "double": "float64"}
    inside = text.removeprefix("tensor(").removesuffix(")")
    if text == "tensor(string)":
        return STRING
    try:
        dtype = np.dtype(names.get(inside, inside))
    except TypeError:
        return None
    return dtype if dtype.kind in "fiub" and text.startswith("tensor(") else None


def value_of(rng: Rng, attribute: defs.OpSchema.Attribute, rank: int) -> Any:
    """A value of an attribute's type: mostly plausible, seldom absurd."""
    kind, name = attribute.type.name, attribute.name
    if kind == "INT":
        return _integer(rng, name, rank)
    if kind == "INTS":
        length = int(rng.choice([rank, rank, 2, 4, 1, 0, 3, max(rank - 2, 0), 2 * rank]))
        return [_integer(rng, name, rank) for _ in range(length)]
    if kind == "FLOAT":
        return float(rng.choice([0.0, 1.0, -1.0, 0.5, 2.0, 1e-5, 1e-3, 3.0, -0.25, np.inf, np.nan]))
    if kind == "FLOATS":
        return [float(v) for v in rng.choice([1.0, 2.0, 0.5, 1.5, 0.0, -1.0], int(rng.integers(6)))]
    if kind == "STRING":
        return str(rng.choice([*STRINGS.get(name, ()), "nonsense"]))
    if kind == "STRINGS":
        return [
            str(v)
            for v in rng.choice([*STRINGS.get(name, WORDS), "nonsense"], int(rng.integers(1, 4)))
        ]
    if kind == "TENSOR":
        dtype = [np.float32, np.int64, np.float16, np.float64, np.bool_][int(rng.integers(5))]
        return np.full(int(rng.choice([1, 1, 1, 0, 2])), 3, dtype)
    return 1


def _integer(rng: Rng, name: str, rank: int) -> int:
    if name in ("to", "dtype", "stash_type", "output_dtype"):
        return int(rng.choice([1, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 16, 8, 0, 99]))
    if rng.random() < 0.02:
        return int(rng.choice([2**31, 2**62, -(2**63), 2**63 - 1, 10**5, 1000, -1000]))
    return int(rng.choice([0, 0, 1, 1, 1, 2, 2, 3, -1, -1, -2, 4, rank - 1, rank, -rank]))


def edge_value(rng: Rng, dtype: np.dtype) -> Any:
    """A value at an edge of a dtype."""
    if dtype == STRING:
        return str(rng.choice(WORDS))
    if dtype in FLOATS | NARROW_FLOATS:
        return dtype.type(rng.choice(SPECIAL))
    limits = (ml_dtypes if dtype in NARROW_INTEGERS else np).iinfo(dtype)
    return dtype.type(rng.choice([0, 1, limits.max, limits.min, limits.max - 1, limits.max // 2]))
