"""What a tensor is like, in a few numbers; and a run that shows every operator's results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from conformance.figures import element
from conformance.judge import number
from conformance.visible import escape
from engine.info import OperatorInfo
from engine.ir.types import FLOATS, NARROW_FLOATS, STRING, dtype_name
from engine.tensor import Tensor

NUMBERS = ("min", "mean", "max")


class Trace:
    """A callback after each operator that notes, and prints as they come, its results.

    Args:
        out: where to print; None prints nothing.

    Attributes:
        rows: one for each tensor, in the order computed.
    """

    def __init__(self, out: Console | None) -> None:
        self.rows: list[dict[str, Any]] = []
        self._out = out

    def __call__(self, results: Sequence[Tensor], operator: OperatorInfo) -> None:
        """Note one operator's results; waits for them."""
        for tensor in results:
            row = {
                "operator": operator.title,
                "backend": operator.backend,
                "is_view": operator.is_view,
                **summary(tensor.name, tensor.read()),
            }
            self.rows.append(row)
            if self._out is not None:
                self._out.print(escape(_line(row)))


def _line(row: dict[str, Any]) -> str:
    low, mean, high = cells(row)
    bad = "".join(f"  {row[k]} {k}" for k in ("nans", "infinities") if row[k])
    where = f"{row['backend']}, a view" if row["is_view"] else row["backend"]
    values = f"{low} .. {high}, mean {mean}" if row["min"] is not None else "no values"
    return f"{row['operator']} on {where}: {row['name']} {type_of(row)}: {values}{bad}"


def summary(name: str, array: np.ndarray) -> dict[str, Any]:
    """Name, dtype, shape and what the values are like (of those that are not NaN)."""
    numbers = np.zeros(0) if array.dtype == STRING else array
    with np.errstate(invalid="ignore"):  # signalling NaN of bfloat16
        values = numbers.astype(np.float64).reshape(-1)
    nans = int(np.isnan(values).sum())
    values = values[~np.isnan(values)]
    low, mean, high = None, None, None
    if values.size:
        ends = array if array.dtype.kind in "iu" else values  # float64 has not all integers
        with np.errstate(all="ignore"):
            low, mean, high = number(ends.min()), float(values.mean()), number(ends.max())
    infinities = int(np.isinf(values).sum()) if array.dtype in FLOATS | NARROW_FLOATS else 0
    return {
        "name": name,
        "dtype": dtype_name(array.dtype),
        "shape": list(array.shape),
        "min": low,
        "mean": mean,
        "max": high,
        "nans": nans,
        "infinities": infinities,
    }


def table(title: str, rows: Sequence[dict[str, Any]]) -> Table:
    """Summaries, one a line."""
    found = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in (title, "type", *NUMBERS, "NaN"):
        left = column in (title, "type")
        found.add_column(column, justify="left" if left else "right", overflow="fold")
    for row in rows:
        found.add_row(escape(row["name"]), escape(type_of(row)), *cells(row), str(row["nans"]))
    return found


def type_of(row: dict[str, Any]) -> str:
    """dtype and shape."""
    return f"{row['dtype']}{row['shape']}"


def cells(row: dict[str, Any]) -> list[str]:
    """The numbers of a summary; "-" where there are none."""
    return ["-" if row[k] is None else element(row[k], 6) for k in NUMBERS]
