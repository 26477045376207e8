"""ONNX import: the only code of the engine that imports `onnx`."""

from engine.onnx_import.load import OPSET_MAX, OPSET_MIN, load_model

__all__ = ["OPSET_MAX", "OPSET_MIN", "load_model"]
