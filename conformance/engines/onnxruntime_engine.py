"""onnxruntime on the processor, at one level of its graph optimisations."""

from __future__ import annotations

from collections.abc import Mapping

from conformance.engines.engine import Arrays, Engine, check_options, option

LEVELS = {
    "off": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}


class Onnxruntime:
    """An Engine."""

    name = "onnxruntime"

    def __init__(self, level: str) -> None:
        import onnxruntime

        self.version = str(onnxruntime.__version__)
        self.setting = f"optimization={level}"
        self._options = onnxruntime.SessionOptions()
        self._options.log_severity_level = 4
        self._options.graph_optimization_level = getattr(
            onnxruntime.GraphOptimizationLevel, LEVELS[level]
        )

    def run(self, data: bytes, feeds: Arrays) -> Arrays:
        """See Engine."""
        import onnxruntime

        session = onnxruntime.InferenceSession(
            data, self._options, providers=["CPUExecutionProvider"]
        )
        names = [o.name for o in session.get_outputs()]
        taken = {i.name for i in session.get_inputs()}
        results = session.run(names, {n: x for n, x in feeds.items() if n in taken})
        return dict(zip(names, results, strict=True))


def make(options: Mapping[str, str]) -> Engine:
    """Takes `optimization`: off, basic, extended or all (the default)."""
    check_options("onnxruntime", options, ("optimization",))
    return Onnxruntime(option(options, "optimization", LEVELS, "all"))
