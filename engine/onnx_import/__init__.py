"""ONNX import: the only code of the engine that imports `onnx`."""

from engine.onnx_import.contents import Contents, read_contents
from engine.onnx_import.importing import Place, Refusal
from engine.onnx_import.load import load_model
from engine.onnx_import.support import OPSET_MAX, OPSET_MIN

__all__ = ["OPSET_MAX", "OPSET_MIN", "Contents", "Place", "Refusal", "load_model", "read_contents"]
