"""The suite under other names of its devices: PARALLAX_TEST_NAMES=short or long.

A test that passes only where the device is called as it is on its author's machine fails so.
Selectors go by the names that are put in place; platforms keep theirs.
"""

import os
import types

import pytest

NAMES = {
    "short": "X",
    "long": "Long [Name](R) of a Processor, " * 3 + "as No Machine of an Author has it",
}


def pytest_configure(config: pytest.Config) -> None:
    """Rename, where the variable asks for it."""
    wanted = os.environ.get("PARALLAX_TEST_NAMES", "")
    if not wanted:
        return
    if wanted not in NAMES:
        raise pytest.UsageError(f"PARALLAX_TEST_NAMES={wanted}: expected {' or '.join(NAMES)}")
    rename(NAMES[wanted])


def pytest_report_header() -> list[str]:
    """Which names there are."""
    wanted = os.environ.get("PARALLAX_TEST_NAMES", "")
    return [f"devices are called {NAMES[wanted]!r}"] if wanted else []


def rename(name: str) -> None:
    """Call every OpenCL device and the processor of the CPU backend so, in this process."""
    import pyopencl

    from engine.backends.cpu import backend

    pyopencl.Device.name = property(lambda device: name)
    backend.platform = types.SimpleNamespace(processor=lambda: name, machine=lambda: name)
