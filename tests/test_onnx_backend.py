"""ONNX's standard backend interface: its own test runner drives the engine through it."""

from __future__ import annotations

import os
import unittest

import numpy as np
import onnx
import pytest
from onnx.backend.test import BackendTest

import parallax.onnx_backend as backend
from engine.errors import ConfigError, DeviceError, InputError, ModelError, UnsupportedError
from tests.model_writing import model, node

DEVICES = [d.strip() for d in os.environ.get("PARALLAX_DEVICES", "cpu,portable").split(",")]
X = np.array([[1.0, -2.0, 3.0]], np.float32)
SUM = model([node("Add", "x w", "s"), node("Relu", "s", "y")], {"x": (1, 3)}, ["s", "y"], {"w": -X})


@pytest.mark.device_free
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # where its cases are written
def test_the_runner_of_onnx_finds_nothing_wrong() -> None:
    suite = BackendTest(backend, __name__)
    for pattern in (
        "test_relu_cpu",
        "test_reduce_sum_.*_cpu",
        "test_Conv2d_cpu",
        "test_isinf.*_cpu",
    ):
        suite.include(pattern)
    found = unittest.TestSuite()
    for case in suite.test_cases.values():
        found.addTests(unittest.defaultTestLoader.loadTestsFromTestCase(case))
    result = unittest.TestResult()
    found.run(result)
    assert not result.errors
    assert not result.failures
    assert result.testsRun - len(result.skipped) > 15


@pytest.mark.parametrize("device", DEVICES)
def test_a_model_runs_once_or_often(device: str) -> None:
    s, y = backend.run_model(SUM, [X], device=device)
    np.testing.assert_array_equal(s, 0 * X)
    prepared = backend.prepare(SUM, device, precision="high")
    with prepared.session:
        for inputs in ([2 * X], {"x": 2 * X}, 2 * X):
            s, y = prepared.run(inputs)
            np.testing.assert_array_equal(y, np.maximum(X, 0))
    assert backend.is_compatible(SUM, device)


@pytest.mark.parametrize("device", DEVICES)
def test_a_node_runs_alone(device: str) -> None:
    call = onnx.helper.make_node("Clip", ["x", "", "high"], ["y"])
    (y,) = backend.run_node(call, [X, np.array(2, np.float32)], device, opset_version=13)
    np.testing.assert_array_equal(y, np.minimum(X, 2))


@pytest.mark.uses_opencl
def test_any_opencl_device_goes_by_that_name() -> None:
    assert backend.supports_device("OPENCL")
    np.testing.assert_array_equal(backend.run_model(SUM, [X], device="OPENCL")[0], 0 * X)


@pytest.mark.uses_opencl
def test_what_cannot_be_is_one_error() -> None:
    assert backend.supports_device("CPU")
    assert not backend.supports_device("CUDA")
    foreign = model([node("Multinomial", "x", "y")], {"x": (3, 3)}, ["y"])
    assert not backend.is_compatible(foreign)
    with pytest.raises(ModelError):
        backend.is_compatible(onnx.ModelProto())
    with pytest.raises(DeviceError, match="CUDA"):
        backend.prepare(SUM, "CUDA")
    with pytest.raises(InputError, match=r"got 2 inputs, expected \['x'\]"):
        backend.run_model(SUM, [X, X])
    with pytest.raises(InputError, match=r"unknown options \['speed'\]"):
        backend.prepare(SUM, speed=3)
    with pytest.raises(ConfigError, match="precision"):
        backend.prepare(SUM, precision="perfect")
    for wrong in (None, 3, b"model"):
        with pytest.raises(InputError, match=r"expected an onnx\.ModelProto"):
            backend.is_compatible(wrong)
        with pytest.raises(InputError, match="expected a list of arrays"):
            backend.run_model(SUM, wrong if wrong != b"model" else object())
    add = onnx.helper.make_node("Add", ["a", "a"], ["y"])
    np.testing.assert_array_equal(backend.run_node(add, [X, 2 * X])[0], 3 * X)
    with pytest.raises(InputError, match="no tensors of datetime64"):
        backend.run_node(add, [np.zeros(2, "M8[s]")] * 2)
    for version in ("13", None, 0):
        with pytest.raises(InputError, match="opset_version"):
            backend.run_node(add, [X, X], opset_version=version)
    with pytest.raises(UnsupportedError, match="supported: 1 to"):
        backend.run_node(add, [X, X], opset_version=2**70)
    with pytest.raises(InputError, match="run_node: got 1 inputs"):
        backend.run_node(onnx.helper.make_node("Add", ["a", "b"], ["y"]), [X])
