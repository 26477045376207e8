"""Faults of the engine that the attack must notice: at least one for each kind of finding."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from conformance import document
from engine.backends.cpu import unary
from engine.onnx_import import build


@dataclass(frozen=True)
class Planted:
    """A fault, and what must be said of it.

    Attributes:
        plant: puts it in place in the process that calls it, for good.
        attack: whose cases must find it.
        outcome: the finding that it must become. place: is part of that finding's place.
    """

    plant: Callable[[], None]
    attack: str
    outcome: str
    place: str


def _replace_function(op_type: str, change: Callable[[np.ndarray, np.ndarray], object]) -> None:
    """Put something else in the place of a function of one tensor on the CPU."""
    real = unary.function_of

    def changed(asked: str, attributes: dict[str, Any]) -> Any:
        return change if asked == op_type else real(asked, attributes)

    vars(unary)["function_of"] = changed


def _raise(x: np.ndarray, out: np.ndarray) -> NoReturn:
    raise IndexError("list index out of range")


def raw_exception() -> None:
    """Elu raises what is no ParallaxError."""
    _replace_function("Elu", _raise)


def hang() -> None:
    """Selu never ends."""
    _replace_function("Selu", lambda x, out: time.sleep(1e6))


def crash() -> None:
    """HardSwish takes the process with it."""
    _replace_function("HardSwish", lambda x, out: os.abort())


def memory() -> None:
    """ThresholdedRelu takes 256 MiB more than it needs."""
    _replace_function("ThresholdedRelu", lambda x, out: np.ones(1 << 28, np.int8).sum())


def wrong_answer() -> None:
    """LeakyRelu computes with its default alpha, whatever the model says."""
    real = unary.function_of

    def changed(asked: str, attributes: dict[str, Any]) -> Any:
        return real(asked, {} if asked == "LeakyRelu" else attributes)

    vars(unary)["function_of"] = changed


def misreading() -> None:
    """The importer drops Celu's alpha, so that everything of ours agrees."""
    real = vars(build)["to_newest"]

    def changed(form: Any, emitter: Any) -> None:
        real(form, emitter)
        if form.op_type == "Celu":
            form.attributes.pop("alpha", None)

    vars(build)["to_newest"] = changed


def raw_exception_of_a_file() -> None:
    """The importer trips over every initialiser of two dimensions."""
    real = vars(build)["constant_of"]

    def changed(tensor: Any, *others: Any) -> Any:
        if len(tensor.dims) == 2:
            raise IndexError("tuple index out of range")
        return real(tensor, *others)

    vars(build)["constant_of"] = changed


def raw_exception_of_a_command() -> None:
    """`parallax run` trips over its own report."""
    command = importlib.import_module("parallax.run")

    def changed(*_: Any) -> NoReturn:
        raise KeyError("precision")

    vars(command)["facts"] = changed


def destroyed_file() -> None:
    """`--output` puts a file of its own in the place of whatever is there."""

    def changed(name: str, write: Callable[[Any], object]) -> None:
        new = f"{name}.new"
        with open(new, "wb") as file:
            write(file)
        os.replace(new, name)

    vars(document)["write"] = changed


PLANTED: tuple[Planted, ...] = (
    Planted(raw_exception, "operators", "raw exception", "engine/backends/cpu/unary.py"),
    Planted(hang, "operators", "hang", "engine/backends/cpu/unary.py"),
    Planted(crash, "operators", "crash", "engine/backends/cpu/unary.py"),
    Planted(memory, "operators", "memory", ""),
    Planted(wrong_answer, "operators", "wrong answer", "LeakyRelu on cpu"),
    Planted(misreading, "operators", "wrong answer", "Celu by "),
    Planted(raw_exception_of_a_file, "models", "raw exception", "engine/onnx_import"),
    Planted(raw_exception_of_a_command, "commands", "raw exception", "parallax/run.py"),
    Planted(destroyed_file, "commands", "wrong answer", "a link was replaced"),
)
