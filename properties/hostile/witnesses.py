"""Engines that are not ours: onnxruntime, and onnx's reference evaluator."""

from __future__ import annotations

import signal
import types
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import ml_dtypes
import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from properties.hostile.worker import ENGINE, WITNESS

Arrays = Mapping[str, np.ndarray]
SECONDS_MAX = 1.0
"""A witness that takes longer has nothing to say; the evaluator is slow on windows."""


CRASHES = {"onnxruntime": (b"DFT",)}
"""What a witness is never asked: onnxruntime 1.32 destroys its own memory in a DFT, and dies then
or later."""


class Declined(Exception):
    """A witness that does not run a model."""


class TooSlow(BaseException):
    """Raised by the alarm; no handler of the evaluator's takes it for an error of its own."""


def of_onnxruntime(data: bytes, feeds: Arrays) -> Arrays:
    """Outputs by name, without optimisations; raises whatever onnxruntime raises."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    outputs = session.get_outputs()
    taken = {i.name for i in session.get_inputs()}
    results = session.run(None, {k: v for k, v in feeds.items() if k in taken})
    return {o.name: _as_typed(y, o.type) for o, y in zip(outputs, results, strict=True)}


def _as_typed(array: np.ndarray, kind: str) -> np.ndarray:
    """onnxruntime gives the bytes of one narrow format, and of the others nothing."""
    return array.view(ml_dtypes.float8_e4m3fn) if kind == "tensor(float8e4m3fn)" else array


def of_the_evaluator(data: bytes, feeds: Arrays) -> Arrays:
    """Outputs by name; raises whatever the evaluator raises."""
    evaluator = ReferenceEvaluator(onnx.load_from_string(data))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        outputs = evaluator.run(None, dict(feeds))
    return {n: np.asarray(y) for n, y in zip(evaluator.output_names, outputs, strict=True)}


Witness = Callable[[bytes, Arrays], Arrays]
WITNESSES: dict[str, Witness] = {"onnxruntime": of_onnxruntime, "evaluator": of_the_evaluator}


@dataclass(frozen=True)
class Court:
    """Asks the witnesses, and says to the parent process who is at work meanwhile."""

    tell: Callable[[int], None]

    def ask(self, name: str, data: bytes, feeds: Arrays) -> Arrays:
        """The outputs of one; raises Declined."""
        if any(op_type in data for op_type in CRASHES.get(name, ())):
            raise Declined(f"{name} does not survive it")
        self.tell(WITNESS)
        try:
            with _alarm():
                outputs = WITNESSES[name](data, {k: v.copy() for k, v in feeds.items()})
        except TooSlow:
            raise Declined(f"{name} takes over {SECONDS_MAX:.0f} s") from None
        except Exception as error:
            raise Declined(f"{name}: {type(error).__name__}") from None
        finally:
            self.tell(ENGINE)
        strange = [n for n, y in outputs.items() if not isinstance(y, np.ndarray)]
        if strange:
            raise Declined(f"{name} gives no arrays for {strange}")
        return outputs


@contextmanager
def _alarm() -> Iterator[None]:
    def ring(signum: int, frame: types.FrameType | None) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS_MAX)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
