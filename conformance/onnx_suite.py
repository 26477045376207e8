"""ONNX's own suite: its cases with the outputs that ONNX stored, and which are refused, and why.

`python -m conformance.onnx_suite` prints what this engine makes of every case;
`--write` puts the refusals into `onnx_refused.txt`, which the tests hold to the letter.
"""

from __future__ import annotations

import argparse
import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, numpy_helper

from engine.arrays import shape_of
from engine.config import ScheduleConfig
from engine.errors import ParallaxError
from engine.interpreter import Interpreter
from engine.runtime import Runtime

DATA = Path(onnx.__file__).parent / "backend/test/data"
FOLDERS = ("pytorch-converted", "pytorch-operator", "simple")
GROUPS = ("node", *FOLDERS)
REFUSED = Path(__file__).with_name("onnx_refused.txt")

ROUNDED_WHEN_STORED = frozenset(
    ("test_averagepool_2d_ceil_last_window_starts_on_pad", "test_gridsample_bicubic")
)
"""Cases whose outputs were written down with four digits: no rounding of ours explains that."""
RANDOM = frozenset(
    f"test_bernoulli{kind}{expanded}"
    for kind in ("", "_double", "_seed")
    for expanded in ("", "_expanded")
)
"""Cases whose outputs came from a generator that ONNX does not name."""
NOT_COMPARED = ROUNDED_WHEN_STORED | RANDOM
"""Cases whose stored outputs say nothing of ours, or less than `verify` asks."""
TOO_LARGE_FOR_HALF = frozenset(
    {
        "test_reduce_prod_default_axes_keepdims_example",
        *("test_quantizelinear_e5m2", "test_dequantizelinear_e5m2"),
        *(f"test_{kind}_large_number" for kind in ("softmax", "logsoftmax")),
        *(f"test_{kind}_large_number_expanded" for kind in ("softmax", "logsoftmax")),
        *(f"test_{kind}_large_number_expanded_ver18" for kind in ("softmax", "logsoftmax")),
    }
)
"""Every node is right; but 12! and 98,304 are infinite in half, and 10,003 is 10,000."""


@dataclass(frozen=True)
class Case:
    """One case.

    Attributes:
        inputs, outputs: by name; a NumPy array, or what stands for a value of another kind.
        rtol, atol: what ONNX itself allows.
    """

    group: str
    name: str
    model: bytes
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    rtol: float
    atol: float

    def __str__(self) -> str:
        return self.name


@cache
def cases() -> dict[str, Case]:
    """All of them by name."""
    return {case.name: case for case in (*_nodes(), *_stored())}


def _nodes() -> Iterator[Case]:
    """One operator each, written by ONNX's own reference functions."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        found = collect_testcases(None)
    for case in found:
        ((inputs, outputs),) = case.data_sets
        graph = case.model.graph
        yield Case(
            "node",
            case.name,
            case.model.SerializeToString(),
            {i.name: _value(x) for i, x in zip(graph.input, inputs, strict=True)},
            {o.name: _value(y) for o, y in zip(graph.output, outputs, strict=True)},
            case.rtol,
            case.atol,
        )


def _stored() -> Iterator[Case]:
    """Files; PyTorch wrote most, of opset 6, whose operators have older forms than today's."""
    for group in FOLDERS:
        for file in sorted((DATA / group).glob("*/model.onnx")):
            model = file.read_bytes()
            graph = ModelProto.FromString(model).graph
            initialised = {t.name for t in graph.initializer}
            (folder,) = file.parent.glob("test_data_set_*")
            inputs = dict(_arrays(folder, "input", [i.name for i in graph.input]))
            outputs = dict(_arrays(folder, "output", [o.name for o in graph.output]))
            given = {n: x for n, x in inputs.items() if n not in initialised}
            yield Case(group, file.parent.name, model, given, outputs, 1e-3, 1e-7)


def _arrays(folder: Path, kind: str, names: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Stored inputs or outputs, which are numbered in graph order."""
    for i, name in enumerate(names):
        file = folder / f"{kind}_{i}.pb"
        if file.exists():
            yield name, numpy_helper.to_array(TensorProto.FromString(file.read_bytes()))


def operator_of(case: Case) -> str:
    """The operator that a case shows: its one node's, or its unexpanded form's; "" of several."""
    nodes = ModelProto.FromString(case.model).graph.node
    whole = cases().get(case.name.partition("_expanded")[0], case)
    if len(nodes) == 1 or whole is case:
        return nodes[0].op_type if len(nodes) == 1 else ""
    return operator_of(whole)


def _value(given: Any) -> Any:
    if isinstance(given, TensorProto):
        return numpy_helper.to_array(given)
    return np.asarray(given) if isinstance(given, np.generic) else given


# --------------------------------------------------------------------- what is refused
def refused() -> dict[str, str]:
    """Case -> the sentence of its refusal: an indented line under it in `onnx_refused.txt`."""
    found: dict[str, str] = {}
    sentence = ""
    for line in REFUSED.read_text().splitlines():
        if not line.startswith(" "):
            sentence = line
        elif line.strip():
            found[line.strip()] = sentence
    return found


def refusal(case: Case, runtime: Runtime) -> str | None:
    """The sentence of the error that loading and planning the case ends in; None: it can run."""
    try:
        interpreter = Interpreter.from_buffer(case.model, case.name)
        config = ScheduleConfig(defer_resize=True)
        with interpreter.create_session(config, runtime) as session:
            shapes = {name: shape_of(x) for name, x in case.inputs.items()}
            session.resize(shapes, {name: case.inputs[name] for name in session.deciding})
    except ParallaxError as error:
        return sentence(error)
    return None


def sentence(error: ParallaxError) -> str:
    """What an error says, without the names of nodes and files and the count of others."""
    return re.sub(r" '[^']*'(?=:| is )", "", str(error).split("; ")[0])


def main(arguments: Sequence[str] | None = None) -> int:
    """Count, print, and write if asked."""
    parser = argparse.ArgumentParser(
        prog="python -m conformance.onnx_suite", description="What of ONNX's own suite can run."
    )
    parser.add_argument("--write", action="store_true", help=f"put refusals into {REFUSED.name}")
    given = parser.parse_args(arguments)
    by_sentence: dict[str, list[str]] = {}
    with Runtime() as runtime:
        for case in cases().values():
            if (why := refusal(case, runtime)) is not None:
                by_sentence.setdefault(why, []).append(case.name)
    lines = []
    for why, names in sorted(by_sentence.items()):
        lines += [why, *(f"    {name}" for name in sorted(names))]
    if given.write:
        REFUSED.write_text("".join(f"{line}\n" for line in lines))
    lost = {name for names in by_sentence.values() for name in names}
    total = Counter(case.group for case in cases().values())
    run = Counter(case.group for case in cases().values() if case.name not in lost)
    for group in GROUPS:
        print(f"{group}: {run[group]} of {total[group]} cases can run")
    for why, names in sorted(by_sentence.items(), key=lambda item: -len(item[1])):
        print(f"{len(names):5} {why}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
