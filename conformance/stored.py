"""Stored outputs, which another engine made of the same inputs, against the model and the device.

What may two honest engines differ by at the end of a graph? No bound is known, so it is
measured: the graph is run in float64 (the truth), and again RUNS times with its inputs and
constants rounded to storage and a random error of its own sigma on every element of every node
(Monte Carlo arithmetic). The spread of an element is the root mean square of what those runs do
to it, but at least

- the mean over all elements of its size (the same power of two; a truth of zero is of every
  size), because RUNS samples may be small by chance, and
- one rounding at the size of the largest element, because engines may compute a function with an
  error that is absolute (onnxruntime clips the argument of its Sigmoid), unless nothing in the
  whole tensor is ever rounded.

An element LIMIT spreads from the truth is beyond what rounding explains: 6, as everywhere, times 4
for other algorithms than ours. Of the corpus, onnxruntime's outputs lie within 9, those of our
devices within 4 at every precision, but for what overflows half. Both sides are judged, each by
the spread of its own arithmetic: the stored outputs by that of the model's own dtypes, whatever
precision the device computes at; so an outside witness sees what our backends and our reference,
which share one reading of ONNX, would all miss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from conformance.judge import SIGMAS, equal, number, numbered
from conformance.outputs import output_error, scale_of
from conformance.report import Agreement, Distance, StoredCheck
from conformance.truth import Evaluate, Rounding
from engine.backends.protocol import Backend
from engine.ir.types import BFLOAT16, FLOAT, FLOATS
from engine.ops.numerics import BFLOAT16_ROUNDOFF

RUNS = 4
LIMIT = 4 * SIGMAS
Arrays = Mapping[str, np.ndarray]


class Stored:
    """The stored outputs of one model for one set of inputs.

    Attributes:
        theirs: how far each lies from the truth, in what the model's own dtypes explain.
    """

    def __init__(
        self,
        expected: Arrays,
        evaluate: Evaluate,
        cpu: Backend,
        seed: int,
        tell: Callable[[int, int], None],
    ) -> None:
        """Run the graph in float64, and with the roundings of the CPU backend, once for all.

        Args:
            evaluate: the model on the inputs that the outputs were computed from.
            cpu: computes in the model's own dtypes.
            tell: called with how many of the runs are done, and how many there are.
        """
        self._expected, self._evaluate = expected, evaluate
        self._seed, self._tell = seed, tell
        self._truth = evaluate(None)
        self._runs: dict[object, list[dict[str, np.ndarray]]] = {}
        self.theirs = {n: self.distance(n, y, cpu) for n, y in expected.items()}

    def check(self, outputs: Arrays, backend: Backend) -> tuple[StoredCheck, ...]:
        """Compare what a backend computed with what is stored; one check per stored output."""
        checks = []
        for name, stored in self._expected.items():
            got = outputs[name]
            ours, theirs = self.distance(name, got, backend), self.theirs[name]
            checks.append(
                StoredCheck(
                    error=output_error(name, got, stored),
                    ulps=ulps(got, stored),
                    ours=ours,
                    stored=theirs,
                    verdict=_agreement(ours, theirs),
                )
            )
        return tuple(checks)

    def distance(self, name: str, array: np.ndarray, backend: Backend) -> Distance:
        """How far an output of this name lies from the truth, in what a backend explains."""
        truth = self._truth[name]
        runs = [run[name] for run in self._rounded_runs(backend)]
        storage = backend.storage(array.dtype)
        roundoff = float(np.finfo(storage).eps) / 2 if storage in FLOATS else 0.0
        roundoff = BFLOAT16_ROUNDOFF if array.dtype == BFLOAT16 else roundoff
        if any(run.shape != truth.shape for run in runs):
            return _of_another_shape(array, explained=True)
        if array.shape != truth.shape:
            return _of_another_shape(array, explained=False)
        return distance_in(array, truth, spread(truth, runs, roundoff))

    def _rounded_runs(self, backend: Backend) -> list[dict[str, np.ndarray]]:
        """Backends that round alike share their runs."""
        arithmetic = (
            backend.compute(FLOAT),
            backend.storage(FLOAT),
            backend.info.flushes_subnormals,
        )
        if arithmetic not in self._runs:
            made = self._runs[arithmetic] = []
            for k in range(RUNS):
                self._tell(k, RUNS)
                rounding = Rounding(backend, [self._seed, k])
                made.append(self._evaluate(rounding))
        return self._runs[arithmetic]


def spread(truth: np.ndarray, runs: list[np.ndarray], roundoff: float) -> np.ndarray:
    """What honest rounding does to each element; infinite where the runs say nothing.

    Integers and booleans: 0, and infinite where a run differs from the truth.
    """
    if truth.dtype not in FLOATS:
        changes = np.any([run != truth for run in runs], axis=0)
        return np.where(changes, np.inf, 0.0)
    finite = np.isfinite(truth)
    size = np.where(finite, np.abs(truth), 0.0)
    with np.errstate(invalid="ignore"):
        changes = [run - truth for run in runs]
    scale = scale_of(size, *changes)
    size = size / scale
    squares = np.mean([(change / scale) ** 2 for change in changes], axis=0)
    known = np.isfinite(squares)
    squares = np.where(known, squares, 0.0)
    if not squares.any():
        return np.where(finite & ~known, np.inf, 0.0)
    _, octave = np.unique(np.where(size > 0, np.frexp(size)[1], -(2**20)), return_inverse=True)
    octave = octave.reshape(-1)
    alike = (np.bincount(octave, squares.reshape(-1)) / np.bincount(octave))[octave]
    alike = np.where(size > 0, alike.reshape(size.shape), squares.mean())
    absolute = (roundoff * size.max()) ** 2 / 3
    found = scale * np.sqrt(np.maximum(np.maximum(squares, alike), absolute))
    return np.where(finite & ~known, np.inf, found)


def distance_in(array: np.ndarray, truth: np.ndarray, spreads: np.ndarray) -> Distance:
    """How many spreads the worst element lies from the truth."""
    array, truth = numbered(array, truth)
    if truth.dtype in FLOATS:
        with np.errstate(invalid="ignore"):
            wide = array.astype(np.float64)
            error = np.where(equal(wide, truth), 0.0, np.abs(wide - truth))
        error = np.where(np.isnan(error), np.inf, error)
    else:
        error = (array != truth).astype(np.float64)
    with np.errstate(all="ignore"):
        ratios = np.where(np.isinf(error), np.inf, error / spreads)
    ratios = np.where(error == 0, 0.0, ratios)
    worst = int(ratios.argmax()) if ratios.size else 0
    index = np.unravel_index(worst, ratios.shape) if ratios.size else ()
    size, typical = (_rms(np.nan_to_num(a, posinf=0.0, neginf=0.0)) for a in (truth, spreads))
    return Distance(
        spreads=float(ratios.max(initial=0.0)),
        index=tuple(int(i) for i in index),
        value=number(array[index]) if ratios.size else 0.0,
        truth=number(truth[index]) if ratios.size else 0.0,
        beyond=int((ratios > LIMIT).sum()),
        undecided=int(np.isinf(spreads).sum()),
        count=int(ratios.size),
        noise=typical / size if size else 0.0,
    )


def _of_another_shape(array: np.ndarray, *, explained: bool) -> Distance:
    """How much comes out depends on data: rounding decides on that too, or it is wrong."""
    count = max(array.size, 1)
    return Distance(
        spreads=0.0 if explained else float("inf"),
        index=(),
        value=0.0,
        truth=0.0,
        beyond=0 if explained else count,
        undecided=count if explained else 0,
        count=count,
        noise=0.0,
    )


def ulps(got: np.ndarray, stored: np.ndarray) -> float | None:
    """The largest difference in units in the last place of the largest stored element.

    None for integers; over the elements that are finite on both sides.
    """
    if stored.dtype not in FLOATS or got.shape != stored.shape:
        return None
    both = np.isfinite(got) & np.isfinite(stored)
    difference = np.abs(got[both].astype(np.float64) - stored[both].astype(np.float64))
    before_last = np.nextafter(np.finfo(stored.dtype).max, stored.dtype.type(0))
    largest = np.minimum(np.abs(stored[both]).max(initial=0), before_last)
    return float(difference.max(initial=0.0) / np.spacing(largest))


def _agreement(*sides: Distance) -> Agreement:
    if any(side.beyond for side in sides):
        return Agreement.DIFFER
    undecided = any(LIMIT * s.noise >= 1 or 2 * s.undecided > s.count for s in sides)
    return Agreement.UNDECIDED if undecided else Agreement.AGREE


def _rms(array: np.ndarray) -> float:
    scale = scale_of(array)
    squares = np.square(array.astype(np.float64) / scale)
    return float(scale * np.sqrt(np.mean(squares))) if array.size else 0.0
