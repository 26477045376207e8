"""The attack by single operators, beside outside engines."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper

from engine.errors import ParallaxError
from engine.ir.types import NARROW, STRING
from properties.hostile.calls import draw
from properties.hostile.cases import Case, Outcome, random_of
from properties.hostile.hearing import refused_alone
from properties.hostile.trial import Bench, attempt
from properties.hostile.witnesses import plain_strings

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
        data = case.files["model.onnx"]
        feeds = _unpacked(case.files["inputs.npz"], data)
        try:
            return attempt(self._bench, data, feeds, case.options["device"])
        except ParallaxError as error:
            note = refused_alone(self._bench.court, data, feeds, error)
            if note is None:
                raise
            return note


def _packed(feeds: Mapping[str, np.ndarray]) -> bytes:
    """An .npz file, which has the bytes alone of dtypes that NumPy has not."""
    plain = {n: x.view(f"V{x.itemsize}") if x.dtype in NARROW else x for n, x in feeds.items()}
    plain = {n: x.astype(np.str_) if x.dtype == STRING else x for n, x in plain.items()}
    file = io.BytesIO()
    np.savez(file, **plain)  # type: ignore[arg-type]
    return file.getvalue()


def _unpacked(packed: bytes, model: bytes) -> dict[str, np.ndarray]:
    """What goes into a model; bytes are viewed as what its inputs are."""
    types = {i.name: i.type.tensor_type for i in onnx.load_from_string(model).graph.input}
    with np.load(io.BytesIO(packed)) as archive:
        feeds = {name: archive[name] for name in archive.files}
    return {
        n: x.view(helper.tensor_dtype_to_np_dtype(types[n].elem_type))
        if x.dtype.kind == "V"
        else plain_strings(x)
        for n, x in feeds.items()
    }
