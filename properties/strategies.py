"""Strategies of hypothesis for people's own tests: hostile arrays, and inputs of a model.

`parallax verify --inputs-from strategies` draws of the same classes of values, but by seed::

    from hypothesis import given
    import parallax as px
    from properties import strategies

    MODEL = px.Interpreter.from_file("model.onnx")

    @given(strategies.inputs(MODEL))
    def test_probabilities_add_up(feeds):
        with MODEL.create_session() as session:
            assert abs(session(feeds)["probabilities"].sum() - 1) < 1e-5

An array costs two draws whatever its size, a class and a seed, and shrinks to zeros.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

try:
    from hypothesis import strategies as st
except ImportError as error:
    raise ImportError(
        "properties.strategies needs hypothesis, which is not installed: "
        'pip install "parallax-engine[strategies]"'
    ) from error

from conformance.inputs import HasGraph, index_range, input_types
from conformance.value_classes import classes, values_of
from engine import arguments
from engine.arguments import AnyShape
from engine.errors import InputError
from engine.ir.graph import Graph
from engine.ir.types import TENSOR_DTYPES, TensorType

__all__ = ["arrays", "inputs"]

LARGEST_SEED = 2**32 - 1


def arrays(
    shape: Sequence[int],
    dtype: np.typing.DTypeLike = np.float32,
    *,
    rows: int | None = None,
    only: Sequence[str] | None = None,
    not_finite: bool = False,
) -> st.SearchStrategy[np.ndarray]:
    """Arrays of a class each: zeros, whole, ties, repeated, tiny, subnormal, large, mixed.

    Args:
        rows: integers are 0..rows-1, as the indices of a table; None: 0 and 1, as in a mask.
        only: some of the classes. not_finite: "not finite", too: infinities and NaN.

    Raises:
        InputError: no such class, or what is no shape, or a dtype that no tensor has.
    """
    known = classes(not_finite=not_finite)
    for name in only or ():
        if name not in known:
            raise arguments.unknown("no class of values", name, known)
    if np.dtype(dtype) not in TENSOR_DTYPES:
        raise InputError(f"dtype {np.dtype(dtype)}: no tensor of a model has it")
    type_ = TensorType(np.dtype(dtype), arguments.shape("shape", shape))
    if rows is not None:
        arguments.count("rows", rows, 1)
    return st.builds(
        lambda name, seed: values_of(name, type_, seed, rows),
        st.sampled_from(known if only is None else tuple(only)),
        st.integers(0, LARGEST_SEED),
    )


def inputs(
    model: Graph | HasGraph,
    shapes: Mapping[str, AnyShape] | None = None,
    *,
    not_finite: bool = False,
) -> st.SearchStrategy[dict[str, np.ndarray]]:
    """Arrays for every input of a model, by name; integers stay within the range of their use.

    Args:
        model: an Interpreter, for example.
        shapes: by input name; what is left out is chosen as `verify` chooses it.

    Raises:
        InputError: no such input, shapes that the model refuses, a sequence, or an input whose
            value decides shapes: which values are sensible is not known here.
    """
    graph = model if isinstance(model, Graph) else model.graph
    rows = {value.name: index_range(value) for value in graph.inputs}
    return st.fixed_dictionaries(
        {
            name: arrays(type_.dims, type_.dtype, rows=rows[name], not_finite=not_finite)
            for name, type_ in input_types(graph, shapes).items()
        }
    )
