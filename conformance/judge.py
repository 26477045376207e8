"""Judge one tensor: a device's output against the float64 reference and its derived error.

Per element, with err = |got - reference|:
- err > bound is FAIL: more than the worst case of an honest kernel, hence a proven bug;
- 6 sigma < err <= bound is SUSPECT: possible but very unlikely, to be settled by a mirror;
- otherwise PASS, unless the errors of all elements, which are independent, lean to one side by
  more than 6 of their standard errors (`bias`): then the tensor is SUSPECT, too.
Infinities and NaN must be of the same class, with two exceptions, both counted: the result may
overflow to the infinity of its sign where |reference| + bound exceeds the largest number of the
format, and an element whose bound is infinite (an intermediate may overflow) is undecided.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.backends.protocol import Backend
from engine.ir.graph import Node
from engine.ir.types import FLOATS, NARROW_FLOATS, STRING
from engine.ops.numerics import Error, Units

SIGMAS = 6.0
SUMS_OF_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


class Verdict(enum.IntEnum):
    """Ordered by severity."""

    PASS = 0
    SUSPECT = 1
    FAIL = 2


@dataclass(frozen=True)
class Judgement:
    """The verdict on one tensor.

    Attributes:
        sigmas, bounds: worst err/sigma and err/bound over the decided elements.
        index: of the worst element (logical), () for a tensor without elements.
        got, expected, sigma, bound: values there; of integers got and expected are integers.
        overflows: results that are infinite where the reference is finite, and may be.
        undecided: elements whose bound is infinite. nans: NaN in the device's result.
        count: all elements. numbers: those of which something was proved: neither NaN as expected
            nor undecided.
        exact: every element equals the reference. rounded: every element is the reference,
            correctly rounded to the format in which the device stores it.
        bias: how far errors lean to one side, in standard errors; 0 where they are not independent.
    """

    verdict: Verdict
    sigmas: float
    bounds: float
    index: tuple[int, ...]
    got: float
    expected: float
    sigma: float
    bound: float
    suspects: int
    failures: int
    overflows: int
    undecided: int
    nans: int
    count: int
    numbers: int
    exact: bool
    rounded: bool
    bias: float = 0.0

    @property
    def is_biased(self) -> bool:
        """Whether honest errors would hardly ever lean so far to one side."""
        return self.bias > SIGMAS


@dataclass(frozen=True)
class Compared:
    """A tensor and its reference, element by element; all arrays are of its shape.

    Attributes:
        got, reference: as float64. sigma, bound: what an honest kernel may be off.
        sigmas, bounds: the error over each of them, 0 where nothing can be said of it.
        undecided: the bound is infinite. overflow: infinite as it may be. same: equal.
    """

    got: np.ndarray
    reference: np.ndarray
    sigma: np.ndarray
    bound: np.ndarray
    sigmas: np.ndarray
    bounds: np.ndarray
    undecided: np.ndarray
    overflow: np.ndarray
    same: np.ndarray

    @property
    def doubtful(self) -> np.ndarray:
        """The numbers of the elements, row-major, of which the bounds alone cannot tell."""
        suspect = (self.sigmas > SIGMAS) & (self.bounds <= 1)
        return np.flatnonzero(suspect | (self.undecided & ~self.same))


def units_for(backend: Backend, node: Node) -> Units:
    """The units of a node: those of its widest floating-point tensor, as its outputs are stored."""
    floats = [
        v.known_type.dtype
        for v in (*node.outputs, *node.inputs)
        if v is not None and v.known_type.dtype in FLOATS
    ]
    out = node.outputs[0].known_type.dtype
    widest = max(floats, key=lambda d: d.itemsize, default=np.dtype(np.float32))
    stored = out if out in FLOATS else widest
    return Units(backend.compute(widest), backend.storage(stored), backend.info.flushes_subnormals)


def is_independent(node: Node, backend: Backend) -> bool:
    """Whether every output of a node is a sum of its own, rounded on its own way.

    Constants of an epilogue, and weights that are alike, make honest errors lean all the same: so
    only where the kernel declares an order, by which a lean can be settled.
    """
    return node.op_type in SUMS_OF_PRODUCTS and backend.order(node) is not None


def float64_inputs(arrays: Sequence[np.ndarray | None]) -> list[np.ndarray | None]:
    """What references take: floating-point tensors as float64, all others as they are."""
    wide = FLOATS | NARROW_FLOATS
    with np.errstate(invalid="ignore"):  # signalling NaN
        return [a.astype(np.float64) if a is not None and a.dtype in wide else a for a in arrays]


def compare(got: np.ndarray, reference: np.ndarray, error: Error, units: Units) -> Compared:
    """Element by element; shapes must agree."""
    if got.shape != reference.shape:
        raise AssertionError(f"shapes differ: device {got.shape}, reference {reference.shape}")
    got, reference = numbered(got, np.asarray(reference))
    with np.errstate(invalid="ignore"):  # signalling NaN
        g, r = got.astype(np.float64), np.asarray(reference, np.float64)
    if got.dtype not in FLOATS and got.size and got.dtype.itemsize == 8:
        g, r = _exact_difference(got, reference)
    sigma = np.broadcast_to(error.sigma, g.shape)
    bound = np.broadcast_to(error.bound, g.shape)
    undecided = ~np.isfinite(bound)
    may_overflow = np.abs(r) + np.where(undecided, 0, bound) > units.largest
    overflow = np.isinf(g) & np.isfinite(r) & may_overflow & (np.sign(g) == np.sign(r))
    same = equal(g, r)
    skip = undecided | overflow | same
    with np.errstate(all="ignore"):
        err = np.where(skip, 0.0, np.abs(g - r))
        err = np.where(np.isnan(err), np.inf, err)
        sigmas = np.where(err == 0, 0.0, err / sigma)
        bounds = np.where(err == 0, 0.0, err / bound)
    return Compared(g, r, sigma, bound, sigmas, bounds, undecided, overflow, same)


def judge(
    got: np.ndarray,
    reference: np.ndarray,
    error: Error,
    units: Units,
    *,
    independent: bool = False,
) -> Judgement:
    """Compare a device's logical output with the reference; shapes must agree.

    Args:
        independent: the errors of different elements are, so that they must not lean to one side.
    """
    found = compare(got, reference, error, units)
    g, r, sigmas, bounds = found.got, found.reference, found.sigmas, found.bounds
    with np.errstate(all="ignore"):
        stored = r.astype(units.storage).astype(np.float64) if got.dtype in FLOATS else r
    failures = int((bounds > 1).sum())
    suspects = int(((sigmas > SIGMAS) & (bounds <= 1)).sum())
    leaning = bias(found) if independent and not failures else 0.0
    doubtful = suspects or leaning > SIGMAS
    verdict = Verdict.FAIL if failures else Verdict.SUSPECT if doubtful else Verdict.PASS
    index: tuple[int, ...] = ()
    worst = np.maximum(sigmas / SIGMAS, bounds) if failures == 0 else bounds
    if worst.size:
        index = tuple(int(i) for i in np.unravel_index(int(np.argmax(worst)), worst.shape))
    got, reference = numbered(got, np.asarray(reference))
    return Judgement(
        verdict=verdict,
        sigmas=float(sigmas.max(initial=0.0)),
        bounds=float(bounds.max(initial=0.0)),
        index=index,
        got=number(got[index]) if worst.size else 0.0,
        expected=number(reference[index]) if worst.size else 0.0,
        sigma=float(found.sigma[index]) if worst.size else 0.0,
        bound=float(found.bound[index]) if worst.size else 0.0,
        suspects=suspects,
        failures=failures,
        overflows=int(found.overflow.sum()),
        undecided=int(found.undecided.sum()),
        nans=int(np.isnan(g).sum()),
        count=int(g.size),
        numbers=int((~(np.isnan(g) & np.isnan(r)) & (found.same | ~found.undecided)).sum()),
        exact=bool(found.same.all()),
        rounded=bool(equal(g, stored).all()),
        bias=leaning,
    )


def bias(found: Compared) -> float:
    """How far the errors of a tensor lean to one side, in standard errors.

    With z = err/sigma, the larger of |sum z| and |sum z sign(reference)|, over sqrt(N): errors up
    or down, and errors away from 0 or towards it. Equal pairs of result and reference are of equal
    operands as a rule, hence one error, and count once.
    """
    counted = ~(found.undecided | found.overflow) & (found.sigma > 0) & np.isfinite(found.sigmas)
    counted &= np.isfinite(found.got) & np.isfinite(found.reference)
    g, r = found.got[counted], found.reference[counted]
    z = (g - r) / found.sigma[counted]
    if _leaning(z, r) <= SIGMAS:
        return _leaning(z, r)
    _, first = np.unique(np.stack([g, r], axis=-1), axis=0, return_index=True)
    return _leaning(z[first], r[first])


def _leaning(z: np.ndarray, r: np.ndarray) -> float:
    if not z.size:
        return 0.0
    sums = np.abs([z.sum(), (z * np.sign(r)).sum()])
    return float(sums.max() / np.sqrt(z.size))


def numbered(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """Strings as whole numbers, of which equal ones are alike; numbers as they are."""
    if all(a.dtype != STRING for a in arrays):
        return arrays
    numbers = {text: i for i, text in enumerate(dict.fromkeys(x for a in arrays for x in a.flat))}
    return tuple(np.array([numbers[x] for x in a.flat], np.int64).reshape(a.shape) for a in arrays)


def number(element: np.generic) -> float:
    """As Python has it: integers as such, of which float has not all, the rest as float."""
    return int(element) if element.dtype.kind in "iu" else float(element)


def equal(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Element by element; NaN equals NaN."""
    return np.asarray((a == b) | (np.isnan(a) & np.isnan(b)))


def _exact_difference(got: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """64-bit integers compared without a detour through float64: 0 where equal, else 1."""
    differs = (got != np.asarray(reference).astype(got.dtype)).astype(np.float64)
    return differs, np.zeros_like(differs)
