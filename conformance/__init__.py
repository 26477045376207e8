"""Differential checks: operators and models, every device against float64 references.

from conformance import verify
report = verify("model.onnx", device="portable", precisions=("high",))
print(report.ok, report.to_json())
"""

from conformance.report import VerifyReport
from conformance.verify import verify

__all__ = ["VerifyReport", "verify"]
