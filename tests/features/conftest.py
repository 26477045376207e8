"""Runtimes, one of them for all tests that need none of their own; operators that OpenCL lacks."""

from collections.abc import Iterator

import pytest

from engine import Runtime
from engine.backends.opencl.backend import OpenCLBackend


@pytest.fixture(scope="session")
def runtime() -> Iterator[Runtime]:
    with Runtime() as shared:
        yield shared


@pytest.fixture
def fresh() -> Iterator[Runtime]:
    with Runtime() as alone:
        yield alone


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """On every machine: more threads than cores are capped, and agree with any number."""
    monkeypatch.setattr("engine.backends.cpu.backend.cores", lambda: 2)


@pytest.fixture
def lacking(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Operator types that OpenCL refuses during a test."""
    types: list[str] = []
    right = OpenCLBackend.why_not
    monkeypatch.setattr(
        OpenCLBackend,
        "why_not",
        lambda self, n: "switched off here" if n.op_type in types else right(self, n),
    )
    return types
