"""A failing case made smaller, step by step, as long as it fails in the same way."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx

from conformance.bundles.failing import AnyPlace, Case, Failing, examine
from conformance.bundles.make import Passing
from conformance.reduction.attributes import simpler_attributes
from conformance.reduction.dimensions import smaller_dimensions
from conformance.reduction.nodes import without_nodes
from conformance.reduction.values import simpler_values
from engine.errors import ParallaxError
from engine.ir.types import STRING

BUDGET_S = 300.0
ROUNDS_MAX = 6
Candidates = Iterator[tuple[str, Case]]
"""Smaller cases, each with what was done."""
Tell = Callable[[str, float], None]
"""Called before each try with what is being made smaller, and the seconds since the start."""


class _OutOfTime(Exception):
    """The budget is spent; what was reached stands."""


@dataclass(frozen=True)
class Reduced:
    """What became of a case.

    Attributes:
        failing: of the smallest case. passing: a neighbour of it that passes, where one is known.
        tries: cases that were run. is_complete: nothing more can go; else the time was up.
    """

    case: Case
    failing: Failing
    passing: Passing | None
    tries: int
    seconds: float
    is_complete: bool

    @property
    def nodes(self) -> int:
        """Of the smallest model."""
        return nodes_of(self.case)

    @property
    def elements(self) -> int:
        """Of its inputs and constants."""
        return elements_of(self.case)


def nodes_of(case: Case) -> int:
    """How many nodes a model has, those of subgraphs not counted."""
    return len(onnx.load_from_string(case.model).graph.node)


def elements_of(case: Case) -> int:
    """How many elements its inputs and constants have."""
    constants = onnx.load_from_string(case.model).graph.initializer
    return sum(x.size for x in case.feeds.values()) + sum(
        int(np.prod(c.dims, dtype=np.int64)) for c in constants
    )


@dataclass
class Reducer:
    """The smallest case so far.

    Args:
        case: fails as `failing` says at `place`. seed: of the replays of suspicious elements.
    """

    case: Case
    failing: Failing
    place: AnyPlace
    seed: int = 0
    budget_s: float = BUDGET_S
    tell: Tell = lambda stage, seconds: None
    tries: int = 0
    passing: Passing | None = None
    _seen: dict[bytes, bool] = field(default_factory=dict)
    _start: float = field(default_factory=time.monotonic)

    def run(self) -> Reduced:
        """Take away what can be taken away, until nothing can or the time is up."""
        is_complete = False
        try:
            self._isolate()
            for _ in range(ROUNDS_MAX):
                if not self._round():
                    is_complete = True
                    break
        except _OutOfTime:
            pass
        seconds = time.monotonic() - self._start
        return Reduced(self.case, self.failing, self.passing, self.tries, seconds, is_complete)

    def _isolate(self) -> None:
        """At once the failing node alone, on the inputs that it had."""
        node = self.failing.node
        if node is not None and node.case is not None:
            self._try("nodes", f"{node.title} alone", node.case)

    def _round(self) -> bool:
        """Every kind of step until it gives nothing more; whether anything became smaller."""
        changed = False
        kinds: dict[str, Callable[[Case], Candidates]] = {
            "nodes": lambda case: without_nodes(case, self.place),
            "dimensions": smaller_dimensions,
            "attributes": simpler_attributes,
            "values": simpler_values,
        }
        for stage, candidates in kinds.items():
            while self._first(stage, candidates(self.case)):
                changed = True
        return changed

    def _first(self, stage: str, candidates: Candidates) -> bool:
        return any(self._try(stage, said, case) for said, case in candidates)

    def _try(self, stage: str, said: str, candidate: Case) -> bool:
        """Run a candidate, and take it when it fails as the case does."""
        digest = _digest(candidate)
        if digest in self._seen:
            if self._seen[digest]:
                self.passing = Passing(candidate, said)
            return False
        self._seen[digest] = False
        seconds = time.monotonic() - self._start
        if seconds > self.budget_s:
            raise _OutOfTime
        self.tell(stage, seconds)
        self.tries += 1
        try:
            found = examine(candidate, self.place, self.seed)
        except ParallaxError:  # no valid model, or not on this device
            return False
        if found is None:
            self._seen[digest] = True
            self.passing = Passing(candidate, said)
            return False
        if found.signature != self.failing.signature:
            return False
        self.case, self.failing = candidate, found
        return True


def _digest(case: Case) -> bytes:
    digest = hashlib.sha256(case.model)
    for name, array in case.feeds.items():
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        is_text = array.dtype == STRING
        digest.update(repr(array.tolist()).encode() if is_text else array.tobytes())
    return digest.digest()
