"""`--inputs X.npz`: every array is checked by name, dtype and shape before anything is run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.errors import InputError
from engine.interpreter import Interpreter
from parallax.inputs import inputs_of
from tests.command_line import save_relu

GOOD = np.ones((2, 4), np.float32)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": GOOD, "xx": GOOD}, "no tensor named 'xx'; did you mean 'x'?"),
        ({}, r"no array named 'x', which the model needs: float32\[n,4\]"),
        ({"x": GOOD.astype(np.float64)}, r"'x' is float64\[2,4\], expected float32\[n,4\]"),
        ({"x": GOOD[:, :3]}, r"'x' is float32\[2,3\], expected float32\[n,4\]"),
        ({"x": GOOD[0]}, r"'x' is float32\[4\], expected float32\[n,4\]"),
    ],
)
def test_an_array_that_does_not_fit_the_model_is_explained(
    tmp_path: Path, arrays: dict[str, np.ndarray], message: str
) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    with (
        Interpreter.from_file(save_relu(tmp_path)) as interpreter,
        pytest.raises(InputError, match=f"x.npz: {message}"),
    ):
        inputs_of(interpreter, str(tmp_path / "x.npz"))


def test_arrays_that_fit_come_back_as_they_were_stored(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=GOOD)
    with Interpreter.from_file(save_relu(tmp_path)) as interpreter:
        arrays = inputs_of(interpreter, str(tmp_path / "x.npz"))
    assert list(arrays) == ["x"]
    np.testing.assert_array_equal(arrays["x"], GOOD, strict=True)
