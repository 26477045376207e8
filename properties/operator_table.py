"""The table of all operators, docs/operators.md, from what is declared of them and measured.

`python -m properties.operator_table [--device D]` prints it; `--write` puts it into the checkout.
It needs an OpenCL device with cl_khr_fp64, which is asked what it refuses, and the witnesses
(the extra `test`). The tests hold the file to it.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import onnx
from onnx import defs

from conformance import onnx_suite
from conformance.devices import config_of, target_of
from conformance.judge import float64_inputs
from engine.backends.protocol import Backend
from engine.config import ForwardType, ScheduleConfig
from engine.errors import ParallaxError
from engine.interpreter import Interpreter
from engine.ir.types import BOOL, FLOAT, FLOAT16, FLOATS, INTEGERS, NARROW, dtype_name
from engine.onnx_import.microsoft.bodies import BODIES
from engine.onnx_import.microsoft.schemas import SCHEMAS
from engine.onnx_import.opsets import FOREIGN, RULES
from engine.onnx_import.subgraphs import CONTROL_FLOW
from engine.onnx_import.support import OPSET_MAX
from engine.ops import OPERATORS
from engine.ops.numerics import Units
from engine.ops.sequence import LAID_OUT
from engine.ops.spec import Call, OpSpec
from engine.runtime import Runtime
from properties.choose import SeededChoose
from properties.dtypes import retyped, variables
from properties.single import Case, draw_case, edge_cases, graph_of
from properties.witnessed.features import features, versions
from properties.witnessed.walk import Walk, agreeing, walked

DRAWS = 16
NOT_EXACT = 0.01
"""Of a roundoff: smaller bounds are those of numbers near zero."""
FILE = Path(__file__).resolve().parents[1] / "docs" / "operators.md"
PRECISIONS = {
    "high": Units(FLOAT, FLOAT),
    "normal": Units(FLOAT, FLOAT16),
    "low": Units(FLOAT16, FLOAT16),
}
"""What each precision computes and stores a float in."""
GROUPS = {"floats": FLOATS, "integers": INTEGERS, "bool": frozenset({BOOL})}
INTERNAL = frozenset(("Copy", "Reorder"))
"""Operators of plans, which no model has."""
OPTIONAL = defs.OpSchema.FormalParameterOption.Optional
HEADS = ("operator", "opsets", "dtypes", "attributes", "CPU", "OpenCL", "bound", "witness", "cases")
HEAD = """\
# Operators

Written by `python -m properties.operator_table --write` with onnx {version}; a test compares it.

- *opsets*: in which ONNX changed the operator; each form is read, up to opset {opset}.
- *dtypes*: of each type parameter. *floats* are float16, float32 and float64, *integers* the eight
  from int8 to uint64, *narrow* what ONNX allows of bfloat16, floats of 8 and 4 bits and integers of
  4 and 2. Where ONNX allows bfloat16 and it is not here, it is computed in float between two Casts
  ([0014](decisions/0014-compute-bfloat16-in-float-between-two-casts.md)).
- *attributes*: those that change a result; any other is refused. In parentheses: ignored, since no
  result of inference depends on them.
- *OpenCL*: at every precision. Calls of which a sentence speaks are left to the CPU backend.
  float64 needs cl_khr_fp64.
- *bound*: the worst error of an honest kernel on float32 at high, normal and low, in roundoffs of
  the result as it is stored (1/2^24 of it at high, else 1/2^11): the median over those elements of
  random calls that are not exact. It depends on the element ([numerics](numerics.md)).
- *witness*: the engines that are not ours and agree ([how](witnesses.md)).
- *cases*: of ONNX's own, how many run, with the outputs that ONNX stored; of how many.

"""
TAKEN_APART = """
## Taken apart by the importer
These have no kernels: the importer writes them as others, by a *rule* of its own or by ONNX's own
*definition*. Control flow is laid out before a run where its course is known
([0015](decisions/0015-lay-control-flow-out-before-the-run.md)), else the host takes it
([0016](decisions/0016-plan-in-stages-where-data-decide.md)). Sequences and optionals are laid out
with a plan, as the tensors they are made of
([0017](decisions/0017-lay-sequences-out-with-the-plan.md)).

"""
OWN = """
## onnxruntime's own
What its optimiser and quantiser write: of the domain com.microsoft, but
SimplifiedLayerNormalization, which stands in ONNX's. The importer writes each as ONNX's operators
([0018](decisions/0018-define-operators-of-onnxruntime-by-bodies.md)). A call may leave out what is
in brackets; what it has and cannot be heeded is refused. `tests/test_microsoft.py` compares them
with onnxruntime.

"""
REFUSED = """
## Refused
With one sentence that names the node, when a model is loaded (`python -m conformance.onnx_suite`
prints all): {names}.
"""


def table(backend: Backend, witnesses: Mapping[str, Sequence[str]]) -> str:
    """The whole document.

    Args:
        backend: an OpenCL one. witnesses: names of engines by operator, as `heard` gives them.
    """
    known = sorted(set(OPERATORS) - INTERNAL)
    rows = [_row(OPERATORS[name], backend, witnesses.get(name, ())) for name in known]
    apart, refused = _taken_apart(), _refused()
    parts = [
        HEAD.format(version=onnx.__version__, opset=OPSET_MAX),
        *_lines(HEADS, rows),
        TAKEN_APART,
        *_lines(("operator", "opsets", "by", "becomes", "cases"), apart),
        OWN,
        *_lines(("operator", "inputs", "outputs", "attributes"), _own()),
        *([REFUSED.format(names=", ".join(refused))] if refused else []),
    ]
    return "".join(parts)


def _lines(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |\n"
    yield "|" + "---|" * len(heads) + "\n"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n"


def _own() -> Iterator[list[str]]:
    """Of onnxruntime's operators."""
    for domain, name in sorted(BODIES, key=lambda key: key[1]):
        schema = SCHEMAS[domain, name]
        parameters = (
            ", ".join(f"[{p.name}]" if p.option == OPTIONAL else p.name for p in parameters)
            for parameters in (schema.inputs, schema.outputs)
        )
        yield [name, *parameters, ", ".join(sorted(schema.attributes))]


def _row(spec: OpSpec, backend: Backend, witnesses: Sequence[str]) -> list[str]:
    name = spec.op_type
    reads = [*spec.reads, *(f"{k}={v!r} only" for k, v in spec.only.items())]
    ignored = [f"({', '.join(spec.ignores)})"] if spec.ignores else []
    return [
        name,
        _opsets(name, spec.domain),
        _dtypes(spec),
        " ".join([", ".join(reads), *ignored]).strip(),
        "yes",
        _opencl(spec, backend),
        _bound(spec),
        ", ".join(witnesses),
        _cases(name),
    ]


# ------------------------------------------------------------------------- columns
@cache
def _schemas() -> dict[tuple[str, str], list[defs.OpSchema]]:
    """All versions of every operator, by domain and name, oldest first."""
    found: dict[tuple[str, str], list[defs.OpSchema]] = defaultdict(list)
    for schema in defs.get_all_schemas_with_history():
        if not schema.deprecated:
            found[schema.domain, schema.name].append(schema)
    return {k: sorted(v, key=lambda s: s.since_version) for k, v in found.items()}


def _opsets(name: str, domain: str = "") -> str:
    return ", ".join(str(s.since_version) for s in _schemas().get((domain, name), ()))


@cache
def _calls(op_type: str) -> list[Case]:
    return [draw_case(op_type, SeededChoose(seed, long=False)) for seed in range(DRAWS)]


def _dtypes(spec: OpSpec) -> str:
    """By type parameter, what the specification takes of what ONNX allows."""
    parts = []
    for variable, allowed in variables(spec.op_type).items():
        calls = _calls(spec.op_type)
        taken = {d for d in allowed if any(_accepts(spec, c, variable, d) for c in calls)}
        narrow = NARROW.intersection(allowed)
        groups = {**GROUPS, "narrow": narrow}
        words = [name for name, group in groups.items() if group and group <= taken]
        rest = taken.difference(*(groups[name] for name in words))
        parts.append(f"{variable}: {' '.join([*words, *sorted(map(dtype_name, rest))])}")
    return "; ".join(parts)


def _accepts(spec: OpSpec, case: Case, variable: str, dtype: np.dtype) -> bool:
    call = retyped(spec.op_type, case.call, variable, dtype)
    try:
        return bool(spec.infer_types(call.operands(spec.constant_inputs), call.attributes))
    except ParallaxError:
        return False


def _opencl(spec: OpSpec, backend: Backend) -> str:
    """Yes, and which of random and hard calls are refused."""
    hard = [case for edge in spec.edges for case in edge_cases(spec.op_type, edge())]
    found = [backend.why_not(graph_of(case)[1]) for case in (*_calls(spec.op_type), *hard)]
    refused = sorted(set(filter(None, found)))
    return "; ".join(["yes"] * (None in found) + refused)


def _bound(spec: OpSpec) -> str:
    """For each precision the median bound, in roundoffs of the result as stored."""
    ratios: dict[str, list[np.ndarray]] = {name: [] for name in PRECISIONS}
    for case in _calls(spec.op_type):
        if (call := _of_floats(spec, case)) is not None:
            for name, found in zip(PRECISIONS, _ratios(spec, call), strict=True):
                ratios[name].append(found)
    known = [np.concatenate(found or [np.zeros(0)]) for found in ratios.values()]
    if not any(found.size for found in known):
        return "exact"
    return ", ".join(_short(float(np.median(found))) if found.size else "0" for found in known)


def _short(number: float) -> str:
    """Two significant figures, without an exponent."""
    return f"{float(f'{number:.2g}'):.10g}"


def _of_floats(spec: OpSpec, case: Case) -> Call | None:
    """The call with float32 wherever ONNX allows it; None where its first output is another."""
    call = case.call
    for variable, allowed in variables(spec.op_type).items():
        call = retyped(spec.op_type, call, variable, FLOAT) if FLOAT in allowed else call
    try:
        types = spec.infer_types(call.operands(spec.constant_inputs), call.attributes)
    except ParallaxError:  # the operator knows no float32
        return None
    return call if types[0].dtype == FLOAT else None


def _ratios(spec: OpSpec, call: Call) -> Iterator[np.ndarray]:
    """At each precision bound / (roundoff |y|), where the first output y is not exact."""
    inputs = float64_inputs(call.inputs)
    with np.errstate(all="ignore"):
        y = np.abs(spec.reference(inputs, call.attributes)[0])
        for units in PRECISIONS.values():
            stored = np.finfo(units.storage)
            bound = spec.error_model(inputs, call.attributes, units)[0].bound
            ratios = np.broadcast_to(bound, y.shape) / (stored.eps / 2 * y)
            is_normal = (y >= stored.tiny) & (y <= stored.max)
            yield np.asarray(ratios[is_normal & np.isfinite(ratios) & (ratios > NOT_EXACT)])


# ------------------------------------------------------------------------- ONNX's own cases
@cache
def _by_operator() -> dict[str, list[onnx_suite.Case]]:
    found: dict[str, list[onnx_suite.Case]] = defaultdict(list)
    for case in onnx_suite.cases().values():
        found[onnx_suite.operator_of(case)].append(case)
    return found


def _cases(name: str) -> str:
    mine = _by_operator().get(name)
    return f"{len(_runs(name))} of {len(mine)}" if mine else ""


def _taken_apart() -> Iterator[list[str]]:
    """Operators that run without a specification of their own."""
    for name in _others():
        if _runs(name) or name in LAID_OUT:
            domain = _domain(name)
            by = "rule" if name in RULES or (domain, name) in FOREIGN else "definition"
            by = "control flow" if name in CONTROL_FLOW else by
            by = "laid out" if name in LAID_OUT else by
            becomes = name if name in LAID_OUT else ", ".join(_parts(name)) or "a constant"
            yield [_title(name), _opsets(name, domain), by, becomes, _cases(name)]


def _others() -> list[str]:
    return sorted({*_by_operator(), *LAID_OUT} - set(OPERATORS) - {""})


def _runs(name: str) -> list[onnx_suite.Case]:
    refused = onnx_suite.refused()
    return [case for case in _by_operator()[name] if case.name not in refused]


def _domain(name: str) -> str:
    return next(domain for domain, of_it in _schemas() if of_it == name)


def _title(name: str) -> str:
    return ".".join(filter(None, (_domain(name), name)))


def _parts(name: str) -> list[str]:
    """What is imported of the cases that show an operator."""
    found: set[str] = set()
    for case in _runs(name):
        if "_expanded" not in case.name:
            graph = Interpreter.from_buffer(case.model).imported
            found.update(node.op_type for node in graph.nodes)
    return sorted(found)


def _refused() -> list[str]:
    """Operators of which no case runs."""
    return [_title(name) for name in _others() if not _runs(name) and name not in LAID_OUT]


# ------------------------------------------------------------------------- witnesses
def witnessed() -> list[str]:
    """The operators of the table that engines can be asked about."""
    return [name for name in walked() if name in OPERATORS]


def heard(name: str, backend: Backend) -> list[str]:
    """The engines that agree with us on an operator's newest form that they know.

    Args:
        backend: the CPU's.
    """
    walk = Walk(backend)
    return agreeing(walk.hear(feature) for feature in features(name, versions(name)[-1]))


def written(name: str) -> list[str]:
    """The same, as the file has it."""
    column = HEADS.index("witness") + 1
    rows = (line.split(" | ") for line in FILE.read_text().splitlines())
    (cell,) = (row[column - 1] for row in rows if row[0] == f"| {name}" and len(row) == len(HEADS))
    return [who for who in cell.split(", ") if who]


def opencl(device: str | None, runtime: Runtime) -> Backend:
    """The backend that is asked; None is the first device that works."""
    target = target_of(device, runtime)
    return runtime.backend(target[0], config_of(target))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print or write."""
    parser = argparse.ArgumentParser(
        prog="python -m properties.operator_table", description=__doc__
    )
    parser.add_argument("--device", help="an OpenCL device (default: the first that works)")
    parser.add_argument("--write", action="store_true", help=f"into docs/{FILE.name}")
    given = parser.parse_args(arguments)
    with Runtime() as runtime:
        cpu = runtime.backend(ForwardType.CPU, ScheduleConfig())
        witnesses = {name: heard(name, cpu) for name in witnessed()}
        text = table(opencl(given.device, runtime), witnesses)
    if given.write:
        FILE.write_text(text)
    else:
        print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
