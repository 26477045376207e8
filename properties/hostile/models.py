"""The attack by mutated model files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from properties.hostile.bent_attributes import bend_attributes
from properties.hostile.calls import Drawn, schemas
from properties.hostile.cases import Case, Outcome, random_of
from properties.hostile.rewiring import bend_graph
from properties.hostile.trial import Bench, attempt
from properties.hostile.wire import bend_bytes, bend_fields

Rng = np.random.Generator
Bend = Callable[[Rng, bytes], tuple[str, bytes]]

LEVELS: tuple[tuple[str, Bend], ...] = (
    ("bytes", bend_bytes),
    ("fields", bend_fields),
    ("graph", bend_graph),
    ("attributes", bend_attributes),
)
FIXTURES = Path(__file__).resolve().parents[2] / "fixtures" / "models"
"""Committed models; an installation has none, and mutates small ones only."""
FIXTURE_SHARE = 0.15
LARGEST_SHARE = 1 << 14
"""Fixtures above so many bytes are taken a quarter as often as those below: they take longer."""
OPENCL_SHARE = 0.1


class Models:
    """Mutates a fixture or a model of one operator, at one of four levels."""

    name = "models"

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def warm(self) -> None:
        """On every device."""
        self._bench.warm()

    def draw(self, seed: int, number: int) -> Case:
        """Levels take turns."""
        rng = random_of(self.name, seed, number)
        level, bend = LEVELS[number % len(LEVELS)]
        source, data = _source(rng, number // len(LEVELS))
        told, bent = bend(rng, data)
        devices = self._bench.devices
        device = devices[0]
        if len(devices) > 1 and rng.random() < OPENCL_SHARE:
            device = devices[int(rng.integers(1, len(devices)))]
        origin = f"{source}, {level}: {told}"
        return Case(self.name, origin, {"model.onnx": bent}, {"device": device})

    def attempt(self, case: Case) -> Outcome:
        """Load, run on random inputs, judge."""
        return attempt(self._bench, case.files["model.onnx"], None, case.options["device"])


@cache
def fixtures() -> Sequence[tuple[str, bytes]]:
    """Names and contents; small ones stand there four times."""
    found = [(path.stem, path.read_bytes()) for path in sorted(FIXTURES.glob("*.onnx"))]
    return [f for f in found for _ in range(4 if len(f[1]) <= LARGEST_SHARE else 1)]


def _source(rng: Rng, number: int) -> tuple[str, bytes]:
    if fixtures() and rng.random() < FIXTURE_SHARE:
        return fixtures()[int(rng.integers(len(fixtures())))]
    names = list(schemas())
    drawn = Drawn(rng, names[number % len(names)])
    data, _ = drawn.model()
    return f"{drawn.op_type} at opset {drawn.opset}", data
