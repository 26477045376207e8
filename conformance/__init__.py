"""Differential checks: operators and models, every device against float64 references.

`import parallax` offers `verify`, the differential check of a model::

    import parallax as px

    report = px.verify("model.onnx", device="pocl", precisions=("high",))
    print(report.ok, report.to_json())
"""

from conformance.report import VerifyReport
from conformance.verify import verify

__all__ = ["VerifyReport", "verify"]
