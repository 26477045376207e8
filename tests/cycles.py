"""What runtimes that come and go leave in the C library's heap: `python -m tests.cycles DEVICE`.

Prints the bytes that a cycle of the engine keeps, and those that plain pyopencl keeps which makes
the same programs, kernels and buffers: what both keep, the driver keeps. (Resident memory grows by
more than that, because what is kept lies scattered over pages.)
"""

from __future__ import annotations

import ctypes
import gc
import json
import re
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from engine import Interpreter
from engine.backends.opencl import program_cache
from engine.backends.opencl.backend import OpenCLBackend
from engine.backends.protocol import Slot
from tests.sharing_models import MODELS, config, feeds

CYCLES, BLOCKS, WARM_UP = 20, 4, 10
X = feeds("conv", 0)["x"]
BUFFER = object()
"""In the place of every buffer."""


def in_use_nbytes() -> int:
    """Of all arenas of glibc's heap, by its own account."""
    gc.collect()
    libc = ctypes.CDLL(None)
    text, size = ctypes.c_char_p(), ctypes.c_size_t()
    libc.open_memstream.restype = ctypes.c_void_p
    stream = ctypes.c_void_p(libc.open_memstream(ctypes.byref(text), ctypes.byref(size)))
    libc.malloc_info(0, stream)
    libc.fclose(stream)
    whole = ctypes.string_at(text, size.value).decode()
    libc.free(text)
    last = whole[whole.rindex("</heap>") :]
    totals = dict(re.findall(r'<total type="(\w+)" count="\d+" size="(\d+)"', last))
    system = re.search(r'<system type="current" size="(\d+)"', last)
    assert system is not None
    return int(system[1]) - int(totals["fast"]) - int(totals["rest"]) + int(totals["mmap"])


def engine_cycle(device: str) -> Callable[[], None]:
    """Create, run and close a session with a runtime of its own."""
    model = Interpreter.from_buffer(MODELS["conv"])

    def cycle() -> None:
        with model.create_session(config(device), shapes={"x": X.shape}) as session:
            session({"x": X})

    return cycle


def plain_cycle(device: str) -> Callable[[], None]:
    """The same programs and kernels on a context that pyopencl makes."""
    made: list[tuple[Any, str, Any, Any, tuple[Any, ...]]] = []
    right = OpenCLBackend.command

    def noted(self: OpenCLBackend, *launch: Any) -> Any:
        program, name, global_size, local_size, *arguments = launch
        made.append((program, name, global_size, local_size, tuple(arguments)))
        return right(self, *launch)

    OpenCLBackend.command = noted  # type: ignore[method-assign,assignment]
    model = Interpreter.from_buffer(MODELS["conv"])
    with model.create_session(config(device), shapes={"x": X.shape}) as session:
        session({"x": X})
        context = session.execution.backends["opencl"].context
        cl, on = context.cl, context.device
        keys = {id(program): key for key, program in context._programs.items()}
        binaries = {
            key: program_cache.to_binary(cl, program, on)
            for key, program in context._programs.items()
        }
        launches = [
            (keys[id(program)], name, global_size, local_size, list(map(_argument, arguments)))
            for program, name, global_size, local_size, arguments in made
        ]
    OpenCLBackend.command = right  # type: ignore[method-assign]
    made.clear()

    def cycle() -> None:
        own = cl.Context([on])
        queue = cl.CommandQueue(own)
        buffer = cl.Buffer(own, cl.mem_flags.READ_WRITE, 1 << 20)
        with program_cache.quiet(cl):
            programs = {
                key: cl.Program(own, [on], [binary]).build(devices=[on])
                for key, binary in binaries.items()
            }
        for key, name, global_size, local_size, arguments in launches:
            kernel = cl.Kernel(programs[key], name)
            flat: list[Any] = []
            for argument in arguments:
                flat += [buffer if part is BUFFER else part for part in argument]
            kernel.set_args(*flat)
            cl.enqueue_nd_range_kernel(queue, kernel, global_size, local_size)
        queue.finish()

    return cycle


def _argument(argument: Any) -> list[Any]:
    if isinstance(argument, Slot):
        return [BUFFER, np.int64(0)]
    return [BUFFER] if hasattr(argument, "int_ptr") else [argument]


def main(device: str) -> None:
    """See above."""
    cycles = {"engine": engine_cycle(device)}
    if device != "cpu":
        cycles["plain"] = plain_cycle(device)
    kept = dict.fromkeys(cycles, 0)
    for block in range(BLOCKS + 1):  # in turns: drivers keep more after some hundred programs
        for name, cycle in cycles.items():
            before = in_use_nbytes()
            for _ in range(CYCLES if block else WARM_UP):
                cycle()
            kept[name] += in_use_nbytes() - before if block else 0
    print(json.dumps({name: nbytes / BLOCKS / CYCLES for name, nbytes in kept.items()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
