"""ONNX's standard backend interface, by which tools and ONNX's own suite drive an engine.

The functions of `onnx.backend.base.Backend`, as a class and as a module, as tools expect them::

    import onnx

    import parallax.onnx_backend as backend

    (y,) = backend.run_model(onnx.load("model.onnx"), [array], device="CPU")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, helper
from onnx.backend import base
from onnx.defs import onnx_opset_version

from conformance.devices import Target, config_of, precision_of, target_of
from engine import arguments
from engine.config import Precision
from engine.errors import DeviceError, InputError, UnsupportedError
from engine.interpreter import Interpreter
from engine.runtime import Runtime
from engine.session import Session


class Prepared(base.BackendRep):  # type: ignore[misc]
    """A model on a device, ready to run."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def run(self, inputs: Any, **_: Any) -> tuple[np.ndarray, ...]:
        """All outputs, in graph order.

        Args:
            inputs: arrays in the order of the graph's inputs that have no initialiser, or by name.

        Raises:
            InputError: another number of arrays, or what `Session.run` refuses.
        """
        names = list(self.session.inputs)
        if not isinstance(inputs, Mapping):
            given = _listed("run", inputs)
            if len(given) != len(names):
                raise InputError(f"run: got {len(given)} inputs, expected {names}")
            inputs = dict(zip(names, given, strict=True))
        return tuple(self.session(inputs).values())


class Backend(base.Backend):  # type: ignore[misc]
    """Parallax, as ONNX's tools call it.

    `device` is "CPU", the CPU backend; "OPENCL", the first OpenCL device that works; or what
    `ScheduleConfig.device` takes, such as "intel".
    """

    @classmethod
    def is_compatible(cls, model: ModelProto, device: str = "CPU", **_: Any) -> bool:
        """Whether the model can be loaded; raises ModelError where it is none."""
        arguments.of_kind("is_compatible", model, ModelProto, "an onnx.ModelProto")
        try:
            Interpreter.from_buffer(model.SerializeToString())
        except UnsupportedError:
            return False
        return cls.supports_device(device)

    @classmethod
    def prepare(cls, model: ModelProto, device: str = "CPU", **options: Any) -> Prepared:
        """Load a model onto a device.

        Args:
            options: `precision` ("high", the default, "normal" or "low") and `runtime`, to share.

        Raises:
            ParallaxError: the model or the device cannot be used.
        """
        arguments.of_kind("prepare", model, ModelProto, "an onnx.ModelProto")
        precision = precision_of(options.pop("precision", Precision.HIGH))
        runtime = arguments.optional("runtime", options.pop("runtime", None), Runtime, "a Runtime")
        if options:
            raise InputError(f"prepare: unknown options {sorted(options)}; precision and runtime")
        interpreter = Interpreter.from_buffer(model.SerializeToString())
        with ExitStack() as stack:
            target = _target(device, runtime or stack.enter_context(Runtime()))
        return Prepared(interpreter.create_session(config_of(target, precision), runtime))

    @classmethod
    def run_model(
        cls, model: ModelProto, inputs: Any, device: str = "CPU", **options: Any
    ) -> tuple[np.ndarray, ...]:
        """`prepare`, `run`, and everything is freed."""
        prepared = cls.prepare(model, device, **options)
        with prepared.session:
            return prepared.run(inputs)

    @classmethod
    def run_node(
        cls,
        node: NodeProto,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Sequence[tuple[np.dtype, tuple[int, ...]]] | None = None,
        **options: Any,
    ) -> tuple[np.ndarray, ...]:
        """One operator on arrays in the order of its inputs, omitted ones left out.

        Args:
            outputs_info: not needed.
            options: of `prepare`, and `opset_version` (the newest).
        """
        arguments.of_kind("run_node", node, NodeProto, "an onnx.NodeProto")
        names = [name for name in node.input if name]
        arrays = [np.asarray(x) for x in _listed("run_node", inputs)]
        if len(arrays) != len(names):
            raise InputError(f"run_node: got {len(arrays)} inputs, expected {names}")
        version = options.pop("opset_version", onnx_opset_version())
        version = min(arguments.count("opset_version", version, 1), 2**31 - 1)
        opset = helper.make_opsetid("", version)
        apart = NodeProto()  # a name that is read twice stands for two arrays
        apart.CopyFrom(node)
        del apart.input[:]
        apart.input.extend(f"{name}/{i}" if name else "" for i, name in enumerate(node.input))
        graph = helper.make_graph(
            [apart],
            node.op_type,
            [
                helper.make_tensor_value_info(name, _element_type(x), x.shape)
                for name, x in zip(filter(None, apart.input), arrays, strict=True)
            ],
            [helper.make_empty_tensor_value_info(name) for name in node.output if name],
        )
        model = helper.make_model(graph, opset_imports=[opset])
        return cls.run_model(model, arrays, device, **options)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether there is such a device here."""
        try:
            with Runtime() as runtime:
                _target(device, runtime)
        except DeviceError:
            return False
        return True


def _listed(where: str, inputs: Any) -> list[Any]:
    """Arrays in order; a single one stands for a list of it."""
    if isinstance(inputs, (np.ndarray, np.generic)):
        return [inputs]
    return list(arguments.of_kind(where, inputs, Sequence, "a list of arrays", InputError))


def _element_type(array: np.ndarray) -> int:
    try:
        return int(helper.np_dtype_to_tensor_dtype(array.dtype))
    except (KeyError, ValueError):
        raise InputError(f"run_node: ONNX has no tensors of {array.dtype}") from None


def _target(device: str, runtime: Runtime) -> Target:
    arguments.of_kind("device", device, str, "'CPU', 'OPENCL' or the name of an OpenCL device")
    name = device.lower().removesuffix(":0")
    return target_of(None if name == "opencl" else "cpu" if name == "cpu" else device, runtime)


is_compatible = Backend.is_compatible
prepare = Backend.prepare
run_model = Backend.run_model
run_node = Backend.run_node
supports_device = Backend.supports_device
