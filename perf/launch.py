"""Start measuring processes with pinned threads, and talk to them one at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from engine.errors import ParallaxError

PROGRAM = """\
import sys
sys.path[:] = {path!r}
from perf.worker import main
sys.exit(main())
"""
"""It looks for modules where this process does: `-m` would look in the working directory first."""


class WorkerError(ParallaxError):
    """A measuring process refused or died; `kind` is the name of its exception."""

    def __init__(self, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind


def pinned(threads: int | None) -> dict[str, str]:
    """Variables that fix thread counts and keep idle threads from spinning beside another arm.

    OpenBLAS workers burn their core after a call until a timeout
    (https://github.com/OpenMathLib/OpenBLAS/issues/5171); OpenMP ones while the policy is active.
    """
    fixed = {"OPENBLAS_THREAD_TIMEOUT": "4", "OMP_WAIT_POLICY": "PASSIVE"}
    if threads is not None:
        blas = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        pocl = ("POCL_MAX_PTHREAD_COUNT", "POCL_CPU_MAX_CU_COUNT")  # before and since PoCL 4
        fixed |= dict.fromkeys((*blas, *pocl), str(threads))
    return fixed


def cold_cache(folder: str) -> dict[str, str]:
    """Variables that give a process empty disk caches: PoCL's, pyopencl's and Parallax's."""
    return {
        "POCL_CACHE_DIR": str(Path(folder) / "pocl"),
        "XDG_CACHE_HOME": folder,
        "PARALLAX_CACHE": str(Path(folder) / "parallax"),
        "PYOPENCL_NO_CACHE": "1",
    }


def _affinity(threads: int | None) -> Callable[[], None] | None:
    """What keeps a new process, and every thread it will start, on the first `threads` cores."""
    if threads is None or not hasattr(os, "sched_setaffinity"):
        return None
    cores = sorted(os.sched_getaffinity(0))[:threads]
    return lambda: os.sched_setaffinity(0, cores)


class Worker:
    """One process of `perf.worker`; idle, and therefore silent, between two requests.

    Args:
        threads: BLAS, OpenMP and OpenCL worker threads, and the number of processors that the
            process may use; None leaves both alone.
        variables: added to the environment.
        command: another program that answers as `perf.worker` does.
    """

    def __init__(
        self,
        threads: int | None = None,
        variables: Mapping[str, str] | None = None,
        command: Sequence[str] | None = None,
    ) -> None:
        environment = {**os.environ, **pinned(threads), **(variables or {})}
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed by `close`)
        self._process = subprocess.Popen(
            command or [sys.executable, "-c", PROGRAM.format(path=[str(p) for p in sys.path])],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            preexec_fn=_affinity(threads),
        )

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Send one request and wait for its answer; raises WorkerError."""
        requests, answers = self._pipes()
        try:
            print(json.dumps({"do": do, **arguments}), file=requests, flush=True)
            line = answers.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            code = self._process.wait()
            self._errors.seek(0)
            said = self._errors.read()[-2000:]
            raise WorkerError(f"the measuring process ended with {code}: {said}")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            detail = "" if reply["expected"] else f"\n{reply['traceback']}"
            raise WorkerError(f"{reply['error']}{detail}", reply["type"])
        return reply

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        return self._process.stdin, self._process.stdout

    def close(self) -> None:
        """End the process and wait for it; harmless the second time."""
        for pipe in self._pipes():
            with suppress(BrokenPipeError):
                pipe.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
