"""Calls of onnxruntime's own operators: our reading of them beside its kernels."""

from __future__ import annotations

import numpy as np

from conformance.expectation import bound, expect
from engine.backends.protocol import Backend
from engine.errors import ParallaxError
from engine.interpreter import Interpreter
from engine.onnx_import.microsoft.bodies import BODIES
from engine.onnx_import.microsoft.schemas import DOMAIN
from properties.hostile.asked import Call
from properties.hostile.calls import Drawn
from properties.hostile.cases import FINDINGS
from properties.hostile.hearing import can_be_expected, heard
from properties.hostile.witnesses import Court
from properties.memory import Violation


def operators() -> list[str]:
    """Names of those that are defined here."""
    return [name for domain, name in BODIES if domain == DOMAIN]


def check_beside_onnxruntime(op_type: str, seed: int, court: Court, backend: Backend) -> None:
    """A drawn call means what onnxruntime computes; raises Violation.

    Args:
        backend: whose bounds are used, a CPU one.
    """
    data, feeds = Drawn(np.random.default_rng(seed), f"{DOMAIN}::{op_type}").model()
    try:
        graph = bound(Interpreter.from_buffer(data), feeds)
    except ParallaxError:
        return
    if not can_be_expected(graph):
        return
    found = heard(court, Call(data, feeds), expect(graph, feeds, backend), graph)
    if found.name in FINDINGS:
        raise Violation(f"{found.name}: {found.place}: {found.detail}")
