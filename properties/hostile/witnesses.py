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

from engine.ir.types import STRING
from engine.onnx_import.microsoft.schemas import DOMAIN
from properties.hostile.worker import ENGINE, WITNESS

Arrays = Mapping[str, np.ndarray]
SECONDS_MAX = 1.0
"""A witness that takes longer has nothing to say; the evaluator is slow on windows."""


CRASHES = {"onnxruntime": (b"DFT", b"RandomNormal", b"RandomUniform")}
"""What a witness is never asked: onnxruntime 1.32 destroys its own memory in a DFT, and dies then
or later. It aborts where random numbers have a range or a deviation below 0, and has others."""


KEEPS = {"Attention": (4, 2), "MultiHeadAttention": (6, 3), "GroupQueryAttention": (3, 3)}
"""Of onnxruntime's operators: which input holds the past, and how many outputs there are then."""

BY_TABLE = ("QLinearSigmoid", "QLinearLeakyRelu")
"""Of the same, those of five inputs whose last is a zero point."""


def is_unsafe(node: onnx.NodeProto) -> bool:
    """Whether onnxruntime leaves its memory in a call of one of its own operators.

    It reads behind keys where the past is given and what it becomes is not given out, and a last
    zero point that is left out; and writes behind `present` where values have another size than
    keys.
    """
    if node.domain == DOMAIN and node.op_type in BY_TABLE:
        return not all(node.input[4:5] or [""])
    if node.domain != DOMAIN or node.op_type not in KEEPS:
        return False
    past, outputs = KEEPS[node.op_type]
    given = sum(map(bool, node.output))
    sizes = [list(a.ints) for a in node.attribute if a.name == "qkv_hidden_sizes"]
    continues = any(node.input[past : past + 1])
    return (continues and given < outputs) or (given > 1 and any(s[1:2] != s[2:] for s in sizes))


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
    named = zip(evaluator.output_names, outputs, strict=True)
    return {n: plain_strings(np.asarray(y)) for n, y in named}


def plain_strings(array: np.ndarray) -> np.ndarray:
    """Strings of one length, as NumPy keeps them, as those of Python; anything else as it is."""
    return array.astype(STRING) if array.dtype.kind == "U" else array


Witness = Callable[[bytes, Arrays], Arrays]
WITNESSES: dict[str, Witness] = {"onnxruntime": of_onnxruntime, "evaluator": of_the_evaluator}
WITNESSES_OF_OWN = ("onnxruntime",)
"""Those that know onnxruntime's own operators."""


@dataclass(frozen=True)
class Court:
    """Asks the witnesses, and says to the parent process who is at work meanwhile."""

    tell: Callable[[int], None]

    def ask(self, name: str, data: bytes, feeds: Arrays) -> Arrays:
        """The outputs of one; raises Declined."""
        if any(op_type in data for op_type in CRASHES.get(name, ())):
            raise Declined(f"{name} does not survive it")
        if DOMAIN.encode() in data and any(map(is_unsafe, onnx.load_from_string(data).graph.node)):
            raise Declined(f"{name} leaves its memory")
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
