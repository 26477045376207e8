"""TfIdfVectorizer: how often the n-grams of a pool occur in each row.

Source: https://onnx.ai/onnx/operators/onnx__TfIdfVectorizer.html. An n-gram occurs where its items
stand at equal distances of 1 to max_skip_count + 1; single items are counted once. Weights belong
to n-grams, as the text has it, wherever in the result these are counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from engine.errors import ShapeError, UnsupportedError
from engine.ir.types import FLOAT, INT32, INT64, STRING, TensorType
from engine.ops.numerics import Error, Units, exact, magnified
from engine.ops.operands import Operands, tensor, zeros
from engine.ops.spec import Arrays, Attributes, Call, Choose, OpSpec, Reject
from engine.ops.strings import draw_strings, strings

Array = np.ndarray
OP = "TfIdfVectorizer"
MODES = ("TF", "IDF", "TFIDF")
Gram = tuple[Any, ...]
WORK_MAX = 2**27
"""Places where n-grams are looked for: Python looks at some millions a second."""
FLOPS_EACH = 64
"""What looking at one counts for."""


def pool_of(attributes: Attributes) -> Sequence[Any]:
    """All items of all n-grams; raises ShapeError unless they are given once."""
    given = [n for n in ("pool_int64s", "pool_strings") if len(attributes.get(n, ()))]
    if len(given) != 1:
        raise ShapeError(f"{OP}: {' and '.join(given) or 'no pool'} given, expected one pool")
    pool: Sequence[Any] = attributes[given[0]]
    return pool


def grams_of(attributes: Attributes) -> list[Gram]:
    """The n-grams in the order of the pool: single items, pairs, and so on.

    Raises:
        ShapeError: boundaries that no pool has, or an n-gram that stands there twice.
    """
    pool, starts = pool_of(attributes), [int(n) for n in attributes["ngram_counts"]]
    ends = [*starts[1:], len(pool)]
    grams: list[Gram] = []
    for n, (start, end) in enumerate(zip(starts, ends, strict=True), 1):
        if not 0 <= start <= end <= len(pool) or (end - start) % n:
            raise ShapeError(
                f"{OP}: ngram_counts={starts} give {n}-grams items {start} to {end} of a pool of "
                f"{len(pool)}"
            )
        grams += [tuple(pool[i : i + n]) for i in range(start, end, n)]
    if len(set(grams)) < len(grams):
        raise ShapeError(f"{OP}: an n-gram stands in the pool twice")
    return grams


def lengths_of(attributes: Attributes) -> range:
    """Of the n-grams that are counted; of longer ones than the pool has there are none."""
    longest = min(int(attributes["max_gram_length"]), len(attributes["ngram_counts"]))
    return range(int(attributes["min_gram_length"]), longest + 1)


def distances_of(attributes: Attributes, length: int, items: int) -> range:
    """Between the items of an n-gram, in a row of so many."""
    if length == 1:
        return range(1, 2)
    return range(1, min(int(attributes["max_skip_count"]) + 2, (items - 1) // (length - 1) + 1))


def _work(shape: Sequence[int], attributes: Attributes) -> int:
    """How many places are looked at."""
    items = shape[-1]
    places = sum(len(distances_of(attributes, n, items)) for n in lengths_of(attributes)) * items
    return places * (shape[0] if len(shape) == 2 else 1)


def weights_of(attributes: Attributes, count: int) -> Array:
    """One for each n-gram; 1 where there are none, and by mode TF."""
    given = attributes.get("weights", ())
    if not len(given) or attributes["mode"] == "TF":
        return np.ones(count)
    return np.array(given, np.float32).astype(np.float64)


def _check(attributes: Attributes) -> None:
    mode, skips = str(attributes["mode"]), int(attributes["max_skip_count"])
    shortest, longest = (int(attributes[f"{end}_gram_length"]) for end in ("min", "max"))
    places = [int(i) for i in attributes["ngram_indexes"]]
    if mode not in MODES:
        raise ShapeError(f"{OP}: mode={mode!r}, expected one of {', '.join(MODES)}")
    if not 1 <= shortest <= longest or skips < 0:
        raise ShapeError(f"{OP}: n-grams of {shortest} to {longest} items, max_skip_count={skips}")
    count, weights = len(grams_of(attributes)), len(attributes.get("weights", ()))
    if len(places) != count or weights not in (0, count) or min(places, default=0) < 0:
        raise ShapeError(
            f"{OP}: {count} n-grams, {len(places)} ngram_indexes from {min(places, default=0)} on, "
            f"{weights} weights; expected one for each n-gram, from 0 on"
        )


def _infer(inputs: Operands, attributes: Attributes) -> tuple[TensorType, ...]:
    x = tensor(OP, inputs, 0, "X", frozenset({STRING, INT32, INT64}))
    _check(attributes)
    is_text = bool(len(attributes.get("pool_strings", ())))
    if is_text != (x.dtype == STRING):
        raise ShapeError(f"{OP}: X is {x}, the pool is of {'strings' if is_text else 'integers'}")
    if len(x.dims) not in (1, 2):
        raise ShapeError(f"{OP}: X is {x}, expected [C] or [N, C]")
    if (work := _work(x.dims, attributes)) > WORK_MAX:
        raise UnsupportedError(f"{OP}: n-grams in {work} places of {x}, more than {WORK_MAX}")
    size = max((int(i) for i in attributes["ngram_indexes"]), default=-1) + 1
    return (TensorType(FLOAT, (*x.dims[:-1], size)),)


def occurring(row: Sequence[Any], attributes: Attributes) -> Iterator[Gram]:
    """Every n-gram of a row, as often as it occurs."""
    for length in lengths_of(attributes):
        for distance in distances_of(attributes, length, len(row)):
            for start in range(len(row) - (length - 1) * distance):
                yield tuple(row[start : start + (length - 1) * distance + 1 : distance])


def _counts(x: Array, attributes: Attributes) -> Array:
    """[N, n-grams]."""
    number = {gram: i for i, gram in enumerate(grams_of(attributes))}
    counts = np.zeros((len(x), len(number)))
    for row, found in zip(x.tolist(), counts, strict=True):
        for gram in occurring(row, attributes):
            if gram in number:
                found[number[gram]] += 1
    return np.minimum(counts, 1) if attributes["mode"] == "IDF" else counts


def _vectorize(inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
    x = np.asarray(inputs[0])
    counts = _counts(np.atleast_2d(x), attributes)
    places = [int(i) for i in attributes["ngram_indexes"]]
    y = np.zeros((len(counts), max(places, default=-1) + 1))
    for column, place, weight in zip(
        counts.T, places, weights_of(attributes, len(places)), strict=True
    ):
        y[:, place] += column * weight
    return (y.reshape(*x.shape[:-1], y.shape[1]),)


def _error(inputs: Arrays, attributes: Attributes, units: Units) -> tuple[Error, ...]:
    """Of each n-gram a product, and a sum of those that share a place: that many roundings."""
    (y,) = _vectorize(inputs, attributes)
    if not len(attributes.get("weights", ())) or attributes["mode"] == "TF":
        return exact(y)
    size = {**attributes, "weights": tuple(abs(w) for w in attributes["weights"])}
    places = [int(i) for i in attributes["ngram_indexes"]]
    shared = max((places.count(i) for i in set(places)), default=0)
    (magnitude,) = _vectorize(inputs, size)
    return (magnified(y, shared * magnitude, units),)


# --------------------------------------------------------------------------- examples
POOL: dict[str, Any] = {
    "ngram_counts": (0, 3, 7),
    "ngram_indexes": (4, 0, 2, 1, 6, 3),
    "max_skip_count": 1,
    "min_gram_length": 1,
    "max_gram_length": 2,
    "mode": "TF",
}
"""Three single items, two pairs and a triple, of which the mode counts the first five."""
WEIGHTS = (0.5, 1.1, -2.3, 0.7, 3.0, 1.7)
NUMBERS = (2, 3, 5, 2, 3, 5, 4, 2, 3, 5)
TEXTS = ("a", "", "b", "a", "b", "A", "ab", "a", "", "b")


def _example(choose: Choose) -> Call:
    shape = choose.shape((1, 2), 17)
    attributes: dict[str, Any] = {
        **POOL,
        "mode": choose.one_of(MODES),
        "max_skip_count": choose.one_of((0, 1, 3)),
        "min_gram_length": choose.one_of((1, 2)),
        "max_gram_length": choose.one_of((2, 3)),
    }
    if choose.integer(0, 1):
        attributes["weights"] = WEIGHTS
    if choose.integer(0, 1):
        return Call((draw_strings(choose, shape),), {**attributes, "pool_strings": TEXTS})
    x = choose.tensor(shape, choose.one_of((INT64, INT32)), 1, 6)
    return Call((x,), {**attributes, "pool_int64s": NUMBERS})


def _call(x: Array, **attributes: Any) -> Call:
    return Call((x,), {**POOL, "pool_int64s": NUMBERS, **attributes})


_x = np.array([2, 3, 5, 2, 2, 4, 3, 5], np.int64)

SPECS: tuple[OpSpec, ...] = (
    OpSpec(
        OP,
        (1, 1),
        _infer,
        _vectorize,
        _error,
        _example,
        edges=(
            partial(_call, _x[:0]),
            partial(_call, _x[:0].reshape(0, 3)),
            partial(_call, _x[:0].reshape(3, 0), mode="IDF", weights=WEIGHTS),
            partial(_call, _x, mode="TFIDF", weights=WEIGHTS, ngram_indexes=(1, 1, 1, 1, 0, 5)),
            partial(_call, _x, min_gram_length=3, max_gram_length=4, max_skip_count=9),
        ),
        rejects=(
            Reject("floats", partial(_call, zeros(3)), "float32 is not supported"),
            Reject("strings", partial(_call, strings("a")), "the pool is of integers"),
            Reject("a mode", partial(_call, _x, mode="tf"), "expected one of"),
            Reject("two pools", partial(_call, _x, pool_strings=TEXTS), "expected one pool"),
            Reject("no length", partial(_call, _x, min_gram_length=3), "n-grams of 3 to 2 items"),
            Reject("half a pair", partial(_call, _x, ngram_counts=(0, 3, 6)), "give 2-grams"),
            Reject("a place too few", partial(_call, _x, ngram_indexes=(1,)), "one for each"),
            Reject("a weight too few", partial(_call, _x, weights=(1.0,)), "one for each"),
            Reject(
                "a pair twice",
                partial(_call, _x, pool_int64s=(2, 3, 5, 2, 3, 2, 3, 2, 3, 5)),
                "twice",
            ),
            Reject(
                "too many places",
                partial(_call, np.zeros(2**16, np.int64), max_skip_count=2**62),
                "more than",
            ),
            Reject("three axes", partial(_call, _x.reshape(2, 2, 2)), "expected .C. or .N, C."),
        ),
        flops=lambda inputs, outputs, attributes: (
            FLOPS_EACH * _work(inputs[0].dims, attributes) if inputs[0] else 0
        ),
        reads=(
            *("max_gram_length", "max_skip_count", "min_gram_length", "mode", "ngram_counts"),
            *("ngram_indexes", "pool_int64s", "pool_strings", "weights"),
        ),
    ),
)
