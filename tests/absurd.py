"""`python -m tests.absurd DEVICE`: what becomes of each absurd model, in a process with limits."""

from __future__ import annotations

import json
import resource
import sys

import numpy as np

from conformance.devices import config_of
from engine.config import ForwardType
from engine.errors import ParallaxError
from engine.interpreter import Interpreter
from engine.runtime import Runtime
from tests.absurd_models import absurd
from tests.counting import LinesExceeded, lines_run

MEMORY_NBYTES = 6 << 30
"""Address space; drivers reserve some of it."""
LINES_MAX = 400_000
"""Of the engine, for one model; importing and running a small one takes 20,000."""


def main(device: str) -> None:
    """Print outcomes by name: "ran", "refused: ...", or "raw: ..."."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_NBYTES, MEMORY_NBYTES))
    target = (ForwardType.CPU, None) if device == "cpu" else (ForwardType.OPENCL, device)
    with Runtime() as runtime:
        outcomes = {name: _outcome(data, target, runtime) for name, data in absurd().items()}
    outcomes["peak"] = str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10)
    print(json.dumps(outcomes))


def _outcome(data: bytes, target: tuple[ForwardType, str | None], runtime: Runtime) -> str:
    def run() -> None:
        with Interpreter.from_buffer(data) as interpreter:
            shapes = {
                name: tuple(d if isinstance(d, int) else 0 for d in type_.shape)
                for name, type_ in interpreter.inputs.items()
            }
            session = interpreter.create_session(config_of(target), runtime, shapes)
            session({n: np.ones(t.dims, t.dtype) for n, t in session.inputs.items()})

    try:
        lines_run(run, LINES_MAX)
    except ParallaxError as error:
        return f"refused: {type(error).__name__}: {error}"
    except (Exception, LinesExceeded) as error:
        return f"raw: {type(error).__name__}: {error}"
    return "ran"


if __name__ == "__main__":
    main(sys.argv[1])
