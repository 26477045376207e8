"""With debug=True a session counts the values that storage in half loses, and warns once."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from engine import Interpreter, Loss, ParallaxWarning, Precision, Runtime
from tests.model_writing import model_bytes, node
from tests.sharing_models import DEVICES, OPENCL, config

pytestmark = pytest.mark.one_driver

WEIGHTS = np.array([1, 1e30, -7e4, 1e-9, -0.0, 65519, np.inf, 1e-7], np.float32)
X = np.array([2, 1, 1, 1, 1, 1, 1, 1], np.float32)
NODES = [node("Mul", "x w", "p"), node("Sub", "p x", "y")]
MODEL = model_bytes(NODES, {"x": (8,)}, ["y"], {"w": WEIGHTS})
IN_CONSTANT = Loss("w", "constant", 8, clipped=2, flushed=1)
IN_OUTPUT = Loss("y", "output", 8, not_finite=1)


def losses(device: str = OPENCL, precision: Precision = Precision.NORMAL, **options: object):
    chosen = config(device, precision, debug=True, **options)
    with Runtime() as runtime, warnings.catch_warnings():
        warnings.simplefilter("ignore", ParallaxWarning)
        session = Interpreter.from_buffer(MODEL).create_session(chosen, runtime)
        session({"x": X})
        return session.info().losses


def test_constants_and_outputs_are_counted():
    assert losses() == (IN_CONSTANT, IN_OUTPUT)


@pytest.mark.parametrize(("device", "precision"), [(d, Precision.HIGH) for d in DEVICES])
def test_where_nothing_is_stored_in_half_results_alone_are_counted(device, precision):
    assert losses(device, precision) == (IN_OUTPUT,)


def test_saved_tensors_are_counted_too():
    found = losses(save_tensors=["p"])
    assert found == (IN_CONSTANT, IN_OUTPUT, Loss("p", "output", 8, not_finite=1))


def test_inputs_are_counted_over_all_writes_and_however_they_are_written():
    model = Interpreter.from_buffer(model_bytes([node("Relu", "x", "y")], {"x": (8,)}, ["y"]))
    with Runtime() as runtime:
        session = model.create_session(config(OPENCL, Precision.NORMAL, debug=True), runtime)
        session.write("x", X)
        assert session.info().losses == ()
        with pytest.warns(
            ParallaxWarning, match="input 'x': of 8 values 2 clipped to 65504"
        ) as said:
            session.write("x", WEIGHTS)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            session.input().write(WEIGHTS)
            session({"x": X})
        assert len(said) == 1
        assert session.info().losses == (Loss("x", "input", 16, clipped=4, flushed=2),)


def test_results_are_counted_in_every_run_with_callbacks_too():
    model = Interpreter.from_buffer(model_bytes([node("Mul", "x x", "y")], {"x": (8,)}, ["y"]))
    with Runtime() as runtime:
        session = model.create_session(config(OPENCL, Precision.NORMAL, debug=True), runtime)
        large = np.array([300, *range(7)], np.float32)
        with pytest.warns(ParallaxWarning, match="output 'y': of 8 values 1 infinite"):
            session.run({"x": large})
        session.run_with_callbacks()
        assert session.info().losses == (Loss("y", "output", 16, not_finite=2),)


def test_without_debug_nothing_is_counted_and_nothing_said(recwarn):
    with Runtime() as runtime:
        chosen = config(OPENCL, Precision.NORMAL)
        session = Interpreter.from_buffer(MODEL).create_session(chosen, runtime)
        session({"x": X})
        assert session.info().losses == ()
    assert not recwarn.list


def test_a_resize_counts_a_constant_once():
    free = model_bytes([node("Mul", "x w", "y")], {"x": ("n", 8)}, ["y"], {"w": WEIGHTS})
    model = Interpreter.from_buffer(free)
    with Runtime() as runtime:
        session = model.create_session(config(OPENCL, Precision.NORMAL, debug=True), runtime)
        with pytest.warns(ParallaxWarning, match="constant 'w'"):
            session.resize({"x": (1, 8)})
        for n in (2, 3):
            session.resize({"x": (n, 8)})
        assert session.info().losses == (IN_CONSTANT,)


def test_the_smallest_and_the_largest_half_are_no_loss():
    exact = np.array([65504, -65504, 2.0**-24, 2.0**-14, 0, -0.0, np.inf, np.nan], np.float32)
    model = Interpreter.from_buffer(model_bytes([node("Relu", "x", "y")], {"x": (8,)}, ["y"]))
    with Runtime() as runtime:
        session = model.create_session(config(OPENCL, Precision.NORMAL, debug=True), runtime)
        session.write("x", exact)
        assert session.info().losses == ()
