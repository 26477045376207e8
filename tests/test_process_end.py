"""A process that ends while its daemon threads still use a device ends as it was told to."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.sharing_models import OPENCL

PROGRAM = """
import atexit, sys, threading
from engine import Interpreter, Runtime
from tests.sharing_models import MODELS, config, feeds

device, how = sys.argv[1:]
x = feeds("conv", 0)["x"]
model = Interpreter.from_buffer(MODELS["conv"])
made = model.create_session(config(device), shapes={"x": x.shape})
expected = made({"x": x})["y"].tobytes()
begun = threading.Barrier(4)


def once():
    if how == "call":
        made({"x": x})
    elif how == "enqueue":
        made.run()
    elif how == "wait":
        made.synchronize()
    else:
        with model.create_session(config(device), shapes={"x": x.shape}) as other:
            other({"x": x})


def work():
    once()
    begun.wait()
    while True:
        once()


def last():
    print("same" if made({"x": x})["y"].tobytes() == expected else "other", flush=True)


for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
begun.wait()
atexit.register(last)
sys.exit(7)
"""


@pytest.mark.parametrize("how", ["call", "enqueue", "wait", "create"])
@pytest.mark.parametrize("device", ["cpu", OPENCL])
def test_daemon_threads_do_not_abort_the_process_that_ends(device: str, how: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, device, how],
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.stderr == ""
    assert done.stdout == "same\n"
    assert done.returncode == 7
