"""Parallax: ONNX inference on NumPy and OpenCL, and the harness that verifies it.

This module is the whole public API. A model, a session on a device, one inference::

    import parallax as px

    model = px.Interpreter.from_file("model.onnx")
    config = px.ScheduleConfig(type=px.ForwardType.OPENCL)
    with model.create_session(config) as session:
        outputs = session({"x": array})

Every node of a model against its reference, at two precisions::

    report = px.verify("model.onnx", precisions=("high", "normal"))
    print(report.ok)
"""

from parallax import packages

packages.claim()

import engine
from conformance import VerifyReport, verify
from engine import *
from engine.version import VERSION

__version__ = VERSION

__all__ = ["VerifyReport", "__version__", "verify"]
__all__ += engine.__all__
