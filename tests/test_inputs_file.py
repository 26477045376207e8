"""`--inputs X.npz`: every array is checked by name, dtype and shape before anything is run."""

from __future__ import annotations

import os
import types
from pathlib import Path

import numpy as np
import psutil
import pytest

from engine.errors import InputError
from engine.interpreter import Interpreter
from parallax.arrays_file import ArraysFile
from parallax.inputs import inputs_of
from tests.command_line import Captured, refused, save_relu
from tests.hostile_arrays import HOSTILE, archive, header

pytestmark = pytest.mark.device_free

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


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("option", ["--inputs", "--expect"])
def test_an_archive_that_is_not_what_it_seems_is_refused_by_name(
    capsys: Captured, tmp_path: Path, option: str, what: str
) -> None:
    data, words = HOSTILE[what]
    file, model = tmp_path / "hostile.npz", save_relu(tmp_path)
    file.write_bytes(data.replace(b"x.npy", b"y.npy") if option == "--expect" else data)
    argv = ["run", model, "--device", "cpu", "--inputs", file]
    if option == "--expect":
        np.savez(tmp_path / "x.npz", x=GOOD)
        argv = ["verify", model, "--device", "cpu", "--inputs", tmp_path / "x.npz", option, file]
        words = words.replace("'x'", "'y'")
    message = refused(capsys, *argv)
    assert f"{option} {file}: " in message
    assert words in message


def test_a_pipe_is_refused_without_waiting_for_it(capsys: Captured, tmp_path: Path) -> None:
    pipe = tmp_path / "x.npz"
    os.mkfifo(pipe)
    argv = ["run", save_relu(tmp_path), "--device", "cpu", "--inputs", pipe]
    assert "not a regular file" in refused(capsys, *argv)


def test_data_is_read_after_names_and_headers_were_found_to_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("data was read")

    np.savez(tmp_path / "x.npz", x=GOOD, other=np.zeros(10**6))
    with Interpreter.from_file(save_relu(tmp_path)) as interpreter:
        monkeypatch.setattr(np.lib.format, "read_array", refuse)
        with pytest.raises(InputError, match="no tensor named 'other'"):
            inputs_of(interpreter, str(tmp_path / "x.npz"))


def test_more_than_memory_holds_is_refused_before_it_is_allocated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "x.npz", x=GOOD)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: types.SimpleNamespace(available=31))
    with (
        Interpreter.from_file(save_relu(tmp_path)) as interpreter,
        pytest.raises(InputError, match="it needs 32 bytes, 31 are free"),
    ):
        inputs_of(interpreter, str(tmp_path / "x.npz"))


def test_bytes_that_are_neither_true_nor_false_are_true(tmp_path: Path) -> None:
    data = header("(3,)", "|b1") + bytes([0, 1, 2])
    (tmp_path / "x.npz").write_bytes(archive({"x.npy": data}))
    with ArraysFile("--inputs", str(tmp_path / "x.npz")) as arrays:
        found = arrays.read(["x"])["x"]
    assert found.view(np.uint8).tolist() == [0, 1, 1]


@pytest.mark.parametrize("command", ["run", "verify", "bench", "profile"])
def test_an_empty_name_is_no_archive(command: str, capsys: Captured, tmp_path: Path) -> None:
    message = refused(capsys, command, save_relu(tmp_path), "--device", "cpu", "--inputs", "")
    assert "--inputs '': expected the path of an .npz file" in message
