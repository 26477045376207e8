"""The plug-in of pytest: `pytest --parallax-model m.onnx --parallax-device intel`.

Only pytest is imported here, and nothing of Parallax before one of the options is given: whoever
gives none pays nothing.
"""

import pytest

MARK = "parallax: a model that Parallax verifies on a device (docs/pytest.md)"
OPTIONS = {
    "model": ("MODEL|FOLDER", "verify an .onnx file, or those of a folder; repeatable"),
    "device": ("D[,D...]", "cpu, pocl, all, ... (default: the first OpenCL device); repeatable"),
    "precision": ("P[,P...]", "high, normal, low (default: all of the device); repeatable"),
    "shape": ("NAME=DIMS", "shape of an input, as in image=1,3,224,224; repeatable"),
    "inputs": ("X.npz", "arrays by input name, of one model, or a folder of them; repeatable"),
    "inputs-from": ("strategies", "hostile inputs (docs/inputs.md; default: seeded random ones)"),
    "examples": ("N", "of --parallax-inputs-from"),
    "known": ("FILE.json", "failures of drivers that are known (docs/drivers.md)"),
    "seed": ("N", "of inputs that are drawn (0)"),
}
"""Metavar and help of `--parallax-NAME`; all of them can stand in `addopts`."""
ONCE = ("inputs-from", "examples", "known", "seed")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    group = parser.getgroup("parallax", "ONNX models verified by Parallax")
    for name, (metavar, help_) in OPTIONS.items():
        action = "store" if name in ONCE else "append"
        group.addoption(f"--parallax-{name}", action=action, metavar=metavar, help=help_)


def pytest_configure(config: pytest.Config) -> None:
    """Collect models where one of the options is given."""
    config.addinivalue_line("markers", MARK)
    given = {name: config.getoption(f"--parallax-{name}") for name in OPTIONS}
    if any(value is not None for value in given.values()):
        from parallax.pytest_models import Models

        config.pluginmanager.register(Models(config, given), "parallax-models")
