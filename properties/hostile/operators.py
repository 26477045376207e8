"""The attack by single operators, beside outside engines."""

from __future__ import annotations

import io

import numpy as np

from engine.errors import ParallaxError
from properties.hostile.calls import draw
from properties.hostile.cases import Case, Outcome, random_of
from properties.hostile.hearing import refused_alone
from properties.hostile.trial import Bench, attempt

OPENCL_SHARE = 0.4


class Operators:
    """Calls one operator with any attributes, inputs, dtypes and opset."""

    name = "operators"

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def warm(self) -> None:
        """On every device."""
        self._bench.warm()

    def draw(self, seed: int, number: int) -> Case:
        """Operators take turns."""
        rng = random_of(self.name, seed, number)
        told, data, feeds = draw(rng, number)
        devices = self._bench.devices
        device = devices[0]
        if len(devices) > 1 and rng.random() < OPENCL_SHARE:
            device = devices[int(rng.integers(1, len(devices)))]
        files = {"model.onnx": data, "inputs.npz": _packed(feeds)}
        return Case(self.name, told, files, {"device": device})

    def attempt(self, case: Case) -> Outcome:
        """Load, run on the case's inputs, judge."""
        feeds = _unpacked(case.files["inputs.npz"])
        data = case.files["model.onnx"]
        try:
            return attempt(self._bench, data, feeds, case.options["device"])
        except ParallaxError as error:
            note = refused_alone(self._bench.court, data, feeds, error)
            if note is None:
                raise
            return note


def _packed(feeds: dict[str, np.ndarray]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **feeds)  # type: ignore[arg-type]
    return file.getvalue()


def _unpacked(data: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(data)) as archive:
        return {name: archive[name] for name in archive.files}
