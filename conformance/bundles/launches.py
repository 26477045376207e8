"""The kernel launches of one node, written down so that `run_cl.py` can repeat them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from importlib import resources
from typing import Any

import numpy as np

from conformance.bundles.arrays import npz
from engine.backends.opencl import intel_target
from engine.backends.opencl.launch import BytesCopy, Launch
from engine.backends.protocol import Backend, Command, Slot
from engine.execution.execution import Execution
from engine.ir.graph import Node, Value
from engine.ir.types import NARROW
from engine.ops.numerics import Units

BUFFERS_NBYTES_MAX = 64 << 20
"""Of all buffers together: a bundle is to be sent to somebody."""
POISON = 0xFF
"""In every byte of the outputs before the launches: NaN, where nothing is written."""


class _CannotBeWritten(Exception):
    """The node has no launches, or not only such."""


class _Recorder:
    """Numbers programs and buffers as they are met."""

    def __init__(self, backend: Any) -> None:
        self.context = backend.context
        self.files: dict[str, bytes] = {}
        self.programs: list[dict[str, Any]] = []
        self.arenas: list[Any] = []

    def step(self, command: Any) -> dict[str, Any]:
        """One entry of `launches`."""
        if isinstance(command, BytesCopy):
            source, target = command.source, command.target
            return {
                "source": self.buffer(source.arena),
                "target": self.buffer(target.arena),
                "source_offset": source.offset_nbytes,
                "target_offset": target.offset_nbytes,
                "nbytes": source.nbytes,
            }
        launch = getattr(command, "launch", None)
        if launch is None:
            raise _CannotBeWritten
        return {
            "program": self.program(launch),
            "kernel": launch.kernel,
            "global": launch.global_size,
            "local": launch.local_size,
            "arguments": [x for a in launch.arguments for x in self.arguments(a)],
        }

    def program(self, launch: Launch) -> int:
        """The index of a source with its options."""
        texts = [*self.files.values()]
        data = launch.source.encode()
        name = f"cl/program{texts.index(data) if data in texts else len(texts)}.cl"
        self.files[name] = data
        entry = {"file": name, "options": list(launch.options)}
        if entry not in self.programs:
            self.programs.append(entry)
        return self.programs.index(entry)

    def buffer(self, arena: Any) -> int:
        """The index of a buffer."""
        known = [a.buffer.int_ptr for a in self.arenas]
        if arena.buffer.int_ptr not in known:
            self.arenas.append(arena)
            return len(known)
        return known.index(arena.buffer.int_ptr)

    def arguments(self, argument: Any) -> Iterator[dict[str, Any]]:
        """Those of the kernel that one of a command stands for."""
        if isinstance(argument, Slot):
            yield {"buffer": self.buffer(argument.arena)}
            argument = np.int64(argument.offset)
        array = np.asarray(argument)
        kind = array.dtype.name if array.dtype.names is None else type(argument).__name__
        yield {"type": kind, "value": array.tolist(), "hex": array.tobytes().hex()}

    def contents(self) -> list[np.ndarray]:
        """The bytes of all buffers."""
        if sum(max(a.nbytes, 1) for a in self.arenas) > BUFFERS_NBYTES_MAX:
            raise _CannotBeWritten
        found = []
        for arena in self.arenas:
            host = np.empty(max(arena.nbytes, 1), np.uint8)
            cl, queue = self.context.cl, self.context.queue
            cl.enqueue_copy(queue, host, arena.buffer, is_blocking=True)
            found.append(host)
        return found


def launch_files(run: Execution, node: Node, output: Value, units: Units) -> dict[str, bytes]:
    """`run_cl.py` and the folder `cl`; nothing for a node that no OpenCL kernel computes.

    Args:
        run: has run, and kept every tensor. output: the tensor of the node to look at.
    """
    backend = run.backend_of(output)
    if backend.name != "opencl" or output.known_type.dtype in NARROW:
        return {}
    try:
        return _written(run, node, output, units, backend)
    except _CannotBeWritten:
        return {}


def _written(
    run: Execution, node: Node, output: Value, units: Units, backend: Backend
) -> dict[str, bytes]:
    recorder = _Recorder(backend)
    commands = [leaf for s in run.steps if s.node is node for leaf in leaves(s.command)]
    launches = [recorder.step(c) for c in commands if type(c).__name__ != "EmptyCommand"]
    if not launches:
        raise _CannotBeWritten
    outputs = {v: run.slot(v) for v in node.outputs}
    place = _place(recorder, outputs[output])
    contents = recorder.contents()
    for slot in outputs.values():
        contents[recorder.buffer(slot.arena)][slot.offset_nbytes :][: slot.nbytes] = POISON
    names = [f"buffer{i}" for i in range(len(contents))]
    target = os.environ.get(intel_target.VARIABLE)
    facts = {
        "platform": backend.info.platform,
        "environment": {} if target is None else {intel_target.VARIABLE: target},
        "programs": recorder.programs,
        "buffers": names,
        "launches": launches,
        "output": place,
        "largest": units.largest,
    }
    return {
        "run_cl.py": _own("conformance.bundles", "run_cl.py"),
        "cl/launches.json": f"{json.dumps(facts, indent=1)}\n".encode(),
        "cl/buffers.npz": npz(dict(zip(names, contents, strict=True))),
        **recorder.files,
        **_companions(backend.info.platform),
    }


def leaves(command: Command) -> Iterator[Command]:
    """The commands that a composite one is made of."""
    parts = getattr(command, "parts", None)
    if parts is None:
        yield command
        return
    for part in parts:
        yield from leaves(part)


def _place(recorder: _Recorder, slot: Slot) -> dict[str, Any]:
    return {
        "buffer": recorder.buffer(slot.arena),
        "offset_nbytes": slot.offset_nbytes,
        "size": slot.type.size,
        "storage": slot.storage.name,
        "shape": slot.type.dims,
        "strides": slot.strides,
    }


def _companions(platform: str) -> dict[str, bytes]:
    """What some drivers need: that they are found, or that they know the processor's name."""
    if platform == intel_target.PLATFORM:
        return {"cl/drivers.py": _own("engine.backends.opencl", "drivers.py")}
    if platform != "Portable Computing Language":
        return {}
    files = {n: _own("engine.backends.opencl", n) for n in ("pocl_target.py", "processor.py")}
    package = b"from engine.backends.opencl"
    text = files["pocl_target.py"].replace(package + b" import processor", b"import processor")
    files["pocl_target.py"] = text.replace(package + b".processor", b"from processor")
    return {f"cl/{name}": data for name, data in files.items()}


def _own(package: str, name: str) -> bytes:
    return (resources.files(package) / name).read_bytes()
