"""Inference engines that are not ours, judged node by node by our derived bounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module

from conformance.engines.engine import Engine
from engine.errors import ConfigError

ENGINES = {
    "onnxruntime": "onnxruntime_engine",
    "openvino": "openvino_engine",
    "mnn": "mnn_engine",
}
"""Name -> module of this folder, whose `make` takes options by name."""


def engine_of(name: str, options: Mapping[str, str], *, option: str = "--engine") -> Engine:
    """The engine of a name.

    Args:
        option: begins messages.

    Raises:
        ConfigError: there is none, it is not installed, or it has no such option.
    """
    if name not in ENGINES:
        raise ConfigError(f"{option} {name}: expected one of {', '.join(ENGINES)}")
    module = import_module(f"conformance.engines.{ENGINES[name]}")
    try:
        make: Callable[[Mapping[str, str]], Engine] = module.make
        return make(options)
    except ImportError as error:
        raise ConfigError(
            f"{option} {name}: it is not installed: {error}; "
            'pip install "parallax-engine[engines]" has all engines'
        ) from error
