"""The suite under other device names, and the mark of what needs no OpenCL device.

`pytest --device-names short` (or long): a test that passes only where the device is called as it is
on its author's machine fails. Selectors go by the names that are put in place; platforms keep
theirs.

`device_free`: tox runs such a test once, not once per driver. Tests with the device or target "cpu"
bear the mark unless they are marked `uses_opencl`; other modules and tests are marked by hand. A
mark that is not true fails.
"""

from __future__ import annotations

import gc
import types

import pytest

from engine.backends.opencl.backend import OpenCLBackend
from engine.backends.opencl.context import OpenCLContext
from engine.passes import base

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
    """Verify after each pass; rename every device in this process, where that was asked for."""
    base.VERIFY_EACH = True
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


def pytest_collection_finish() -> None:
    """What is here to stay is not looked through by every later `gc.collect`."""
    gc.collect()
    gc.freeze()


def runs_on_the_cpu(item: pytest.Item) -> bool:
    call = getattr(item, "callspec", None)
    parameters = call.params if call else {}
    target = next(
        (parameters[k] for k in ("device", "target", "selector") if k in parameters), None
    )
    return getattr(target, "id", target) == "cpu"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name != "test_corpus.py")
    for item in items:
        if runs_on_the_cpu(item) and item.get_closest_marker("uses_opencl") is None:
            item.add_marker("device_free")


@pytest.fixture(autouse=True)
def _marks_are_true(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the mark, neither a context nor a command of OpenCL is made."""
    if request.node.get_closest_marker("device_free") is None:
        return

    def refuse(*_: object) -> None:
        raise AssertionError("this test is device_free and uses OpenCL: mark it uses_opencl")

    monkeypatch.setattr(OpenCLContext, "__init__", refuse)
    monkeypatch.setattr(OpenCLBackend, "command", refuse)
