"""Einsum, taken apart into sums, transpositions and products of matrices, two operands at a time.

Source: https://onnx.ai/onnx/operators/onnx__Einsum.html. Of two operands, axes that both have and
somebody still needs are batches, axes that both have and nobody needs are summed by the product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.errors import ModelError
from engine.ir.graph import Value
from engine.onnx_import.form import Emitter, Form
from engine.onnx_import.rewrites.steps import Steps


@dataclass(frozen=True)
class Term:
    """A tensor and the labels of its axes; those of an ellipsis are numbered from the right."""

    value: Value
    labels: tuple[str, ...]


def einsum(form: Form, emitter: Emitter) -> None:
    """The whole equation; ends in a Transpose."""
    steps = Steps(form, emitter)
    terms, out = _read(form, steps, str(form.take("equation")))
    while len(terms) > 1:
        a, b, *rest = terms
        needed = {*out, *(label for term in rest for label in term.labels)}
        terms = [_product(steps, _summed(steps, a, needed | set(b.labels)),
                          _summed(steps, b, needed | set(a.labels)), needed), *rest]  # fmt: skip
    last = _summed(steps, terms[0], set(out))
    form.op_type, form.inputs = "Transpose", [last.value]
    form.attributes = {"perm": tuple(last.labels.index(label) for label in out)}


def _read(form: Form, steps: Steps, equation: str) -> tuple[list[Term], tuple[str, ...]]:
    left, arrow, right = equation.replace(" ", "").partition("->")
    parts = left.split(",")
    if len(parts) != len(form.inputs):
        raise ModelError(
            f"{form.title}: equation {equation!r} has {len(parts)} terms for "
            f"{len(form.inputs)} inputs"
        )
    terms = []
    for part, value in zip(parts, form.inputs, strict=True):
        assert value is not None
        labels = _labels(form, part, steps.rank(value, f"term {part!r}"))
        terms.append(_diagonal(steps, Term(value, labels)))
    dots = [t for t, part in zip(terms, parts, strict=True) if "..." in part]
    if len({sum(label.isdigit() for label in term.labels) for term in dots}) > 1:
        raise ModelError(f"{form.title}: equation: '...' stands for different numbers of axes")
    every = [label for term in terms for label in term.labels]
    ellipsis = sorted({x for x in every if x.isdigit()}, key=int, reverse=True)
    if arrow:
        out = _labels(form, right, len(right.replace("...", "")) + len(ellipsis))
        if strange := [x for x in out if x not in every]:
            raise ModelError(f"{form.title}: {strange[0]!r} of the result is in no term")
        if len(set(out)) != len(out):
            raise ModelError(f"{form.title}: {right!r} names an axis of the result twice")
    else:
        out = (*ellipsis, *sorted(x for x in set(every) if every.count(x) == 1 and x.isalpha()))
    return terms, out


def _labels(form: Form, part: str, rank: int) -> tuple[str, ...]:
    before, dots, after = part.partition("...")
    letters = before + after
    if letters and not (letters.isascii() and letters.isalpha()):
        raise ModelError(f"{form.title}: equation: {part!r} is not letters and at most one '...'")
    free = rank - len(letters)
    if free < 0 or (free and not dots):
        raise ModelError(f"{form.title}: equation: {part!r} for a tensor of {rank} axes")
    return (*before, *(str(i) for i in reversed(range(free))), *after)


def _diagonal(steps: Steps, term: Term) -> Term:
    """Without labels that occur twice: of n x n elements every (n + 1)-th.

    With n the longer of both axes, the Reshape refuses what is not square.
    """
    labels = term.labels
    twice = next((x for x in labels if labels.count(x) > 1), None)
    if twice is None:
        return term
    first, second = [i for i, x in enumerate(labels) if x == twice][:2]
    others = [i for i in range(len(labels)) if i not in (first, second)]
    moved = steps.of("Transpose", term.value, perm=(*others, first, second))
    shape, n = steps.of("Shape", moved), len(others)
    extent = steps.of("Max", steps.part(shape, n, n + 1), steps.part(shape, n + 1, n + 2))
    whole = steps.of("Mul", extent, extent)
    flat = steps.of("Concat", _dims(steps, shape, 0, n), whole, axis=0)
    lines = steps.of("Reshape", moved, flat, allowzero=1)
    step = steps.of("Add", extent, steps.integers("one", 1))
    zero, axis = steps.integers("zero", 0), steps.integers("axis", n)
    value = steps.of("Slice", lines, zero, whole, axis, step)
    return _diagonal(steps, Term(value, (*(labels[i] for i in others), twice)))


def _summed(steps: Steps, term: Term, needed: set[str]) -> Term:
    """Without the axes that nobody needs."""
    gone = [i for i, label in enumerate(term.labels) if label not in needed]
    if not gone:
        return term
    total = steps.of("ReduceSum", term.value, steps.integers("axes", *gone), keepdims=0)
    return Term(total, tuple(label for label in term.labels if label in needed))


def _product(steps: Steps, a: Term, b: Term, needed: set[str]) -> Term:
    shared = [x for x in a.labels if x in b.labels]
    batch = [x for x in shared if x in needed]
    summed = [x for x in shared if x not in needed]
    rows = [x for x in a.labels if x not in shared]
    columns = [x for x in b.labels if x not in shared]
    left, lefts = _matrix(steps, a, batch, rows, summed)
    right, rights = _matrix(steps, b, batch, summed, columns)
    y = steps.of("MatMul", left, right)
    n = len(batch)
    shape = [
        _dims(steps, steps.of("Shape", y), 0, n),
        _dims(steps, lefts, n, n + len(rows)),
        _dims(steps, rights, n + len(summed), n + len(summed) + len(columns)),
    ]
    whole = steps.of("Concat", *shape, axis=0)
    spread = steps.of("Reshape", y, whole, allowzero=1)
    return Term(spread, (*batch, *rows, *columns))


def _matrix(
    steps: Steps, term: Term, batch: Sequence[str], rows: Sequence[str], columns: Sequence[str]
) -> tuple[Value, Value]:
    """Batches of matrices, and the shape before rows and columns were made one axis each."""
    order = [term.labels.index(x) for x in (*batch, *rows, *columns)]
    moved = steps.of("Transpose", term.value, perm=tuple(order))
    shape = steps.of("Shape", moved)
    n, m = len(batch), len(batch) + len(rows)
    sizes = [_dims(steps, shape, 0, n), _count(steps, shape, n, m), _count(steps, shape, m, None)]
    return steps.of("Reshape", moved, steps.of("Concat", *sizes, axis=0), allowzero=1), shape


def _dims(steps: Steps, shape: Value, start: int, stop: int | None) -> Value:
    end = 2**31 if stop is None else stop
    return steps.of("Slice", shape, steps.integers("start", start), steps.integers("end", end))


def _count(steps: Steps, shape: Value, start: int, stop: int | None) -> Value:
    """How many elements some axes have together."""
    axes = steps.integers("axes", 0)
    return steps.of("ReduceProd", _dims(steps, shape, start, stop), axes, keepdims=1)
