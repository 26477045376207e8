"""What an engine under judgement must be able to do."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

import numpy as np

from engine.errors import ConfigError, ParallaxError

Arrays = Mapping[str, np.ndarray]


class Died(ParallaxError):
    """An engine that took the process with it in which it ran.

    Attributes:
        kind: how, such as `crash: SIGSEGV`.
    """

    def __init__(self, kind: str, said: str) -> None:
        super().__init__(said)
        self.kind = kind


class Engine(Protocol):
    """An engine that takes ONNX models.

    Attributes:
        name: of the package. version: of the package. setting: what was asked of it, in words.
    """

    name: str
    version: str
    setting: str

    def run(self, data: bytes, feeds: Arrays) -> Arrays:
        """All outputs of a model, by name; raises whatever the engine raises.

        Args:
            data: a serialised ModelProto, weights included.
        """
        ...


def option(options: Mapping[str, str], name: str, allowed: Collection[str], default: str) -> str:
    """The value of an option; raises ConfigError for another than those allowed."""
    value = options.get(name, default)
    if value not in allowed:
        raise ConfigError(f"--engine-option {name}={value}: expected {', '.join(allowed)}")
    return value


def check_options(engine: str, options: Mapping[str, str], known: Collection[str]) -> None:
    """Raise ConfigError for an option that the engine has not."""
    for name in options:
        if name not in known:
            raise ConfigError(
                f"--engine-option {name}: {engine} has the options {', '.join(known)}"
            )
