"""Claims about one operator beside its error model: exactness, laws, refusals, every half."""

from __future__ import annotations

import re

import numpy as np

from engine.backends.protocol import Backend
from engine.errors import ShapeError, UnsupportedError
from engine.ir.types import FLOAT16, FLOATS, NARROW_FLOATS
from engine.ops import OPERATORS
from engine.ops.spec import Call, Law, Reject
from properties.choose import TapedChoose
from properties.memory import Violation
from properties.single import Case, check_case, expectation, run_case

LARGEST_EXACT = {np.dtype(np.float16): 2.0**11, np.dtype(np.float32): 2.0**24}
"""Whole numbers up to here are exact in a format, and so are sums that stay below."""


def exact_limit(backend: Backend, dtype: np.dtype) -> float:
    """The largest whole number that storage and compute of a float dtype hold exactly."""
    formats = (backend.storage(dtype), backend.compute(dtype))
    return min(LARGEST_EXACT.get(f, 2.0**53) for f in formats)


def check_exact(backend: Backend, case: Case) -> bool:
    """With small whole numbers the result equals the reference; False where that is not promised.

    Not promised: sums of magnitudes that leave the range of exact integers, and results that are
    not representable.
    """
    outcome = run_case(backend, case)
    if outcome is None:
        return False
    references, _ = expectation(backend, outcome)
    magnitudes = OPERATORS[case.op_type].reference(
        [_magnitude(x) for x in outcome.inputs], case.call.attributes
    )
    outputs = map(_wide, outcome.outputs)
    for got, reference, size in zip(outputs, references, magnitudes, strict=True):
        if got.dtype in FLOATS:
            if max(_largest(size), _largest(reference)) > exact_limit(backend, got.dtype):
                return False
            fitting = backend.stored(np.asarray(reference).astype(got.dtype))
            if not np.array_equal(fitting, reference, equal_nan=True):
                return False
        if not np.array_equal(got, reference, equal_nan=got.dtype in FLOATS):
            at = np.argwhere(~((got == reference) | ((got != got) & (reference != reference))))[0]
            index = tuple(int(i) for i in at)
            raise Violation(
                f"{case} is not exact on whole numbers: at {index} got {got[index]}, "
                f"expected {np.asarray(reference)[index]}"
            )
    return True


def _wide(y: np.ndarray) -> np.ndarray:
    """Narrow floats as float, which holds them and has NumPy's functions."""
    return y.astype(np.float32) if y.dtype in NARROW_FLOATS else y


def _magnitude(x: np.ndarray | None) -> np.ndarray | None:
    return np.abs(x.astype(np.float64)) if x is not None and x.dtype in FLOATS else x


def _largest(x: np.ndarray) -> float:
    x = np.asarray(x, np.float64)
    return float(np.max(np.abs(x[np.isfinite(x)]), initial=0.0))


def check_law(backend: Backend, case: Case, law: Law) -> bool:
    """op(transform(call)) = relate(op(call)), within both bounds or in every bit.

    False where the law does not apply, or the backend refuses the call.
    """
    first = run_case(backend, case)
    if first is None:
        return False
    moved = law.transform(Call(first.inputs, case.call.attributes))
    second = None if moved is None else run_case(backend, Case(case.op_type, moved, case.constants))
    if second is None:
        return False
    who = f"law {law.name!r} of {case}"
    related = [law.relate(case.call, y) for y in first.outputs]
    for got, expected in zip(second.outputs, related, strict=True):
        if expected.shape != got.shape:
            raise Violation(f"{who}: shapes {expected.shape} and {got.shape}")
        if law.bitwise:
            _require(_same_bits(got, expected), got, expected, who)
    if not law.bitwise:
        _, errors = expectation(backend, first)
        _, others = expectation(backend, second)
        for i, (got, expected) in enumerate(zip(second.outputs, related, strict=True)):
            bound = np.broadcast_to(errors[i].bound, first.outputs[i].shape).copy()
            limit = law.relate(case.call, bound) + np.broadcast_to(others[i].bound, got.shape)
            _require(_close(got, expected, limit), got, expected, who)
    return True


def _same_bits(got: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Element by element; signs of zero differ, NaN equals NaN."""
    got, expected = _wide(got), _wide(expected)
    if got.dtype not in FLOATS:
        return np.asarray(got == expected)
    equal = (got == expected) & (np.signbit(got) == np.signbit(expected))
    return np.asarray(equal | (np.isnan(got) & np.isnan(expected)))


def _close(got: np.ndarray, expected: np.ndarray, limit: np.ndarray) -> np.ndarray:
    if got.dtype not in FLOATS:
        return np.asarray(got == expected)
    with np.errstate(all="ignore"):
        distance = np.abs(got.astype(np.float64) - expected.astype(np.float64))
    same = (got == expected) | (np.isnan(got) & np.isnan(expected)) | (distance <= limit)
    return np.asarray(same | ~np.isfinite(limit))


def _require(same: np.ndarray, got: np.ndarray, expected: np.ndarray, who: str) -> None:
    if not same.all():
        index = tuple(int(i) for i in np.argwhere(~same)[0])
        raise Violation(f"{who}: at {index} got {got[index]}, expected {expected[index]}")


def check_reject(op_type: str, reject: Reject) -> None:
    """Type inference refuses the call, and its message matches."""
    call, spec = reject.call(), OPERATORS[op_type]
    try:
        spec.infer_types(call.operands(spec.constant_inputs), call.attributes)
    except (ShapeError, UnsupportedError) as error:
        if reject.match not in str(error) and not re.search(reject.match, str(error)):
            raise Violation(
                f"{op_type} refuses {reject.name!r} with {error}, which does not match "
                f"{reject.match!r}"
            ) from error
        return
    raise Violation(f"{op_type} accepts {reject.name!r}, which must be refused")


def every_half(dtype: np.dtype) -> np.ndarray:
    """All 65,536 half values, NaN payloads, infinities and subnormals included, at a dtype."""
    with np.errstate(invalid="ignore"):
        return np.arange(2**16, dtype=np.uint16).view(FLOAT16).astype(dtype)


def check_every_half(backend: Backend, op_type: str, dtype: np.dtype) -> bool:
    """A function of one tensor is right for every half; False where the backend refuses it."""
    with np.errstate(invalid="ignore"):  # widening a signalling NaN
        return check_case(backend, Case(op_type, Call((every_half(dtype),), note="every half")))


ANY_BITS = (np.dtype(np.float32), FLOAT16, np.dtype(np.int64), np.dtype(np.uint8))


def check_any_bits(backend: Backend, choose: TapedChoose) -> bool:
    """Elements of any bits, beyond the range of storage and NaN as well, are held and turned over.

    False where the backend refuses them.
    """
    dtype, shape = choose.one_of(ANY_BITS), choose.shape((0, 4))
    rng = np.random.default_rng(choose.integer(0, 2**32 - 1))
    nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    x = np.frombuffer(rng.bytes(nbytes), dtype).reshape(shape)
    order = [int(a) for a in rng.permutation(len(shape))]
    with np.errstate(invalid="ignore"):  # signalling NaN
        return check_case(backend, Case("Transpose", Call((x,), {"perm": order})))
