"""OpenVINO on the processor, computing in float."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

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
        """See Engine."""
        model = self._core.read_model(data)
        compiled = self._core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        taken = {name for port in compiled.inputs for name in port.names}
        results = compiled({n: x for n, x in feeds.items() if n in taken})
        return {name: np.asarray(y) for port, y in results.items() for name in port.names}


def make(options: Mapping[str, str]) -> Engine:
    """Takes no options."""
    check_options("openvino", options, ())
    return Openvino()
