"""A fresh process that loads one model and times it on request; `perf.launch` starts it.

Requests and answers are JSON, one per line, on standard input and output; while it waits for a
request it sleeps in read(). Requests: {"do": "load" | "infer" | "synced" | "measure" | "save"}
with the arguments of the `Arm` method of that name; the end of the input ends the process.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import Any, TextIO

from perf.arms import ARMS


def answer(arms: dict[str, Any], request: dict[str, Any]) -> dict[str, Any]:
    """Do one request; an exception becomes {"error", "type", "traceback"}."""
    do = request.pop("do")
    try:
        if do == "load":
            arms["arm"] = ARMS[request.pop("engine", "parallax")]()
        reply: dict[str, Any] = getattr(arms["arm"], do)(**request)
        return reply
    except Exception as error:  # the parent decides what it means
        from engine.errors import ParallaxError

        expected = isinstance(error, (ParallaxError, OSError, ImportError))
        return {
            "error": str(error),
            "expected": expected,
            "type": type(error).__name__,
            "traceback": traceback.format_exc(),
        }


def serve(requests: TextIO, answers: TextIO) -> None:
    """Answer line by line until the input ends."""
    arms: dict[str, Any] = {}
    for line in requests:
        print(json.dumps(answer(arms, json.loads(line))), file=answers, flush=True)


def main() -> int:
    """Serve; what drivers print to standard output goes to standard error instead."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(sys.stdin, answers)
    return 0
