"""A forked process: what it inherits says so at once, and what it makes itself works."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.module import Module
from tests.forked import X
from tests.sharing_models import MODELS, OPENCL

NOTHING_LEAVES_THE_HOST = {
    "Session.close",
    "Module.close",
    "Runtime.close",
    "Runtime.dismiss",
    "Runtime.live",
    "nothing",
    "forget",
}
REFUSED_BY_THE_DRIVERS = {"lent context", "create_runtime", "own runtime", "devices"}
"""Nothing of these was made before the fork."""


def outcomes(device: str, how: str, folder: Path) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.forked", device, how, str(folder)],
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        stdout=subprocess.PIPE,
        timeout=600,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("how", ["idle", "locked", "working"])
def test_every_entry_point_of_a_device_answers_at_once_in_a_child(how: str, tmp_path: Path) -> None:
    found = outcomes(OPENCL, how, tmp_path)
    assert len(found) > (50 if how != "working" else 4)
    expected = dict.fromkeys(found, "ClosedError")
    expected.update(dict.fromkeys(NOTHING_LEAVES_THE_HOST & found.keys(), "done"))
    expected.update(dict.fromkeys(REFUSED_BY_THE_DRIVERS & found.keys(), "DeviceError"))
    assert found == expected
    assert not list(tmp_path.iterdir()), "the parent's kernels are for the parent to save"


@pytest.mark.device_free
@pytest.mark.parametrize("how", ["idle", "locked"])
def test_in_a_child_the_cpu_backend_works_anew(how: str, tmp_path: Path) -> None:
    found = outcomes("cpu", how, tmp_path)
    works = {"PendingRead.result", "create_runtime", "own runtime", "devices"}
    expected = dict.fromkeys(found, "ClosedError")
    expected.update(dict.fromkeys(NOTHING_LEAVES_THE_HOST | works, "done"))
    assert found == expected


@pytest.mark.device_free
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Python 3.12 on, of threads
def test_blas_has_its_threads_back_in_a_child() -> None:
    """A thread of the parent that computes at the fork never leaves there."""
    from engine.backends.cpu.team import SINGLE_THREADED_BLAS as BLAS

    with BLAS:
        before = [library.get_num_threads() for library in BLAS._libraries]
        reader, writer = os.pipe()
        if not (child := os.fork()):
            with BLAS:
                inside = BLAS._inside
            os.write(writer, f"{inside} {BLAS._inside}".encode())
            os._exit(0)
        os.waitpid(child, 0)
        assert os.read(reader, 100) == b"1 0"
        assert [library.get_num_threads() for library in BLAS._libraries] == before


@pytest.mark.device_free
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Python 3.12 on, of threads
def test_what_is_read_before_a_fork_is_there_after_it() -> None:
    with Module.load(MODELS["conv"], shapes={"x": X.shape}) as module:
        result = module(X)
        expected = result.read_map()
        reader, writer = os.pipe()
        if not (child := os.fork()):
            os.write(writer, b"same" if (result.read_map() == expected).all() else b"other")
            os._exit(0)
        os.waitpid(child, 0)
        assert os.read(reader, 100) == b"same"
