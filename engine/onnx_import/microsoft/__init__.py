"""Operators that onnxruntime's optimiser and quantiser write, defined by ONNX's own.

Source: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md. They are of the
domain com.microsoft, but SimplifiedLayerNormalization, which is written into ONNX's. `schemas` says
what their calls look like; the other files hold one function for each, which writes the body of one
call (`body.Body`). What a call gives and its body does not read is refused.
"""
