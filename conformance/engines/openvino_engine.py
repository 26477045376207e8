"""OpenVINO on the processor, computing in float."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from conformance.engines import exposed
from conformance.engines.engine import Arrays, Engine, check_options


class Openvino:
    """An Engine. It would compute in bfloat16 where the processor can, were it not told to."""

    name = "openvino"
    setting = "inference_precision=f32"

    def __init__(self) -> None:
        import openvino

        self.version = str(openvino.__version__).partition("-")[0]
        self._core: Any = openvino.Core()

    def run(self, data: bytes, feeds: Arrays) -> Arrays:
        """See Engine.

        Inputs and outputs go by their places: of two names for one tensor, one is lost.
        """
        model = self._core.read_model(data)
        compiled = self._core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        taken, given = exposed.ports(data)
        results = compiled(dict(enumerate(feeds[name] for name in taken)))
        return {name: np.asarray(results[i]) for i, name in enumerate(given)}


def make(options: Mapping[str, str]) -> Engine:
    """Takes no options."""
    check_options("openvino", options, ())
    return Openvino()
