"""The suite under other names of its devices: `pytest --device-names short` (or long).

A test that passes only where the device is called as it is on its author's machine fails so.
Selectors go by the names that are put in place; platforms keep theirs.
"""

import types

import pytest

NAMES = {
    "short": "X",
    "long": "Long [Name](R) of a Processor, " * 3 + "as No Machine of an Author has it",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Ask for other names."""
    parser.addoption(
        "--device-names", choices=list(NAMES), help="call every device by a very short or long name"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Rename every device in this process, where that was asked for."""
    if (wanted := config.getoption("--device-names")) is not None:
        rename(NAMES[wanted])


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Which names there are."""
    wanted = config.getoption("--device-names")
    return [] if wanted is None else [f"every device is called {NAMES[wanted]!r}"]


def rename(name: str) -> None:
    """Call every OpenCL device and the processor of the CPU backend so, in this process."""
    import pyopencl

    from engine.backends.cpu import backend

    pyopencl.Device.name = property(lambda device: name)
    backend.platform = types.SimpleNamespace(processor=lambda: name, machine=lambda: name)
