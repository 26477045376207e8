"""Errors of OpenCL, of device selection, of the command line, and the end of things."""

from __future__ import annotations

import ast
import time
from pathlib import Path

import numpy as np
import pytest

import engine.backends.opencl as opencl_package
from engine import (
    ClosedError,
    CompileError,
    ConfigError,
    DeviceError,
    DeviceMemoryError,
    Runtime,
    ScheduleConfig,
    Session,
)
from engine.backends import registry
from engine.backends.opencl import backend as opencl_backend
from engine.backends.opencl import context as opencl_context
from engine.backends.opencl import device as discovery
from engine.config import BackendConfig, ForwardType
from engine.execution import execution as executing
from parallax.cli import main
from tests.features.subjects import (
    CHAIN,
    OPENCL,
    blocked,
    chain_of,
    config,
    context_of,
    interpreter,
    on_every_device,
    row,
    rows_of,
)


@pytest.fixture
def session(runtime: Runtime):
    with interpreter().create_session(config(OPENCL), runtime, {"x": (2, 4)}) as made:
        yield made


# ------------------------------------------------------------------------- OpenCL (row 42)
@row(42)
def test_a_failed_launch_names_status_kernel_and_operator(session: Session):
    x = rows_of(2)
    session.write("x", x)
    command = session.execution.steps[1].command
    right = command._local
    command._local = tuple(1 << 20 for _ in command._global)
    with pytest.raises(DeviceError) as failed:
        session.run()
    message = str(failed.value)
    assert "Softmax 'the_s'" in message
    assert f"kernel {command.name}" in message
    assert "INVALID_WORK_" in message
    assert context_of(session).info.name in message
    command._local = right
    np.testing.assert_allclose(session({"x": x})["y"], chain_of(x), rtol=1e-5)


@row(42)
def test_a_failed_build_names_operator_file_options_and_carries_the_log(
    fresh: Runtime, monkeypatch: pytest.MonkeyPatch
):
    right = opencl_context.source
    monkeypatch.setattr(
        opencl_context, "source", lambda family: right(family) + "\n#error broken today"
    )
    with pytest.raises(CompileError, match=r"Relu 'the_r'.*kernels/unary\.cl.*-D") as failed:
        interpreter().create_session(config(OPENCL), fresh, {"x": (2, 4)})
    assert "broken today" in failed.value.build_log


@row(42)
def test_a_failed_allocation_says_what_was_asked_and_what_there_is(session: Session):
    context = context_of(session)
    too_much = context.device.max_mem_alloc_size + 1
    with pytest.raises(DeviceMemoryError, match=rf"asked for {too_much} bytes"):
        session.execution.backends["opencl"].allocate(too_much)


ASKS_THE_DRIVER = {
    "enqueue_copy",
    "enqueue_fill_buffer",
    "enqueue_marker",
    "enqueue_nd_range_kernel",
    "_enqueue",
    "finish",
    "flush",
    "set_args",
    "Buffer",
    "Context",
    "Kernel",
    "CommandQueue",
    "build",
}
OF_OURS = {"context.finish", "self.context.finish", "self.finish"}
"""Our own methods of the same names, which check inside."""


@row(42)
@pytest.mark.parametrize("path", sorted(Path(opencl_package.__file__).parent.glob("*.py")), ids=str)
def test_every_call_of_the_driver_is_checked(path: Path):
    tree = ast.parse(path.read_text())
    checked = {
        inner
        for guard in ast.walk(tree)
        if isinstance(guard, ast.Try) or (isinstance(guard, ast.With) and is_check(guard))
        for statement in guard.body
        for inner in ast.walk(statement)
    }
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and asks_the_driver(n)]
    unchecked = [f"{path.name}:{n.lineno} {ast.unparse(n.func)}" for n in calls if n not in checked]
    assert [u for u in unchecked if not u.endswith(CHECKED_BY_THEIR_CALLERS)] == []


CHECKED_BY_THEIR_CALLERS = ("cl.CommandQueue", "cl.Program(context, [device], [binary]).build")
"""In `queues.new_queue` and `program_cache.from_binary`, which are called inside a check."""


def is_check(guard: ast.With) -> bool:
    return any("checked(" in ast.unparse(item.context_expr) for item in guard.items)


def asks_the_driver(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    return name in ASKS_THE_DRIVER and ast.unparse(call.func) not in OF_OURS


# ------------------------------------------------------------------------- devices (row 43)
def chosen(**options: object) -> str:
    backend = BackendConfig(shared_context=options.pop("shared_context", None))
    settings = ScheduleConfig(type=ForwardType.OPENCL, backend_config=backend, **options)
    with Runtime() as runtime:
        info = runtime.backend(settings.type, settings).info
    return f"{info.platform} / {info.name}"


@row(43)
def test_a_device_is_chosen_by_numbers_by_name_and_by_object():
    for numbers, info in registry.opencl_devices():
        expected = f"{info.platform} / {info.name}"
        assert chosen(device=numbers) == expected
        assert chosen(device=info.platform.upper()) == expected
        assert chosen(shared_context=tuple(map(int, numbers.split(".")))) == expected
        assert chosen(shared_context=dict(discovery.devices())[numbers]) == expected


@row(43)
def test_a_device_is_chosen_by_type_when_one_has_it(monkeypatch: pytest.MonkeyPatch):
    found = discovery.devices()
    for _, device in found:
        assert device.type & discovery.opencl().device_type.CPU
    with pytest.raises(DeviceError, match="matches no device"):
        chosen(device="gpu")
    monkeypatch.setattr(discovery, "devices", lambda: found[:1])
    assert chosen(device="CPU") == f"{found[0][1].platform.name} / {found[0][1].name.strip()}"
    monkeypatch.setattr(discovery, "devices", lambda: [*found, *found])
    with pytest.raises(DeviceError, match="is ambiguous"):
        chosen(device="cpu")


@row(43)
@pytest.mark.parametrize("bad", ["9.9", "-1", "no such device", "", " ", "0."])
def test_a_bad_name_raises_with_the_candidates(bad: str):
    with pytest.raises(DeviceError, match=r"matches no device|is ambiguous") as failed:
        chosen(device=bad)
    for numbers, info in registry.opencl_devices():
        assert numbers in str(failed.value)
        assert info.name in str(failed.value)


@row(43)
@pytest.mark.parametrize(
    ("shared", "error", "words"),
    [
        ((9, 9), DeviceError, "there is no device 9.9"),
        ((0, -1), DeviceError, "there is no device"),
        (("0", "0"), ConfigError, "expected a pyopencl.Context"),
        (5, ConfigError, "expected a pyopencl.Context"),
    ],
)
def test_bad_numbers_raise(shared: object, error: type[Exception], words: str):
    with pytest.raises(error, match=words):
        chosen(shared_context=shared)


@row(43)
def test_a_session_works_in_the_users_context_and_queue(fresh: Runtime):
    cl, device = discovery.opencl(), discovery.select(OPENCL)
    context = cl.Context([device])
    queue = cl.CommandQueue(context)
    settings = ScheduleConfig(
        type=ForwardType.OPENCL, backend_config=BackendConfig(shared_context=queue)
    )
    with interpreter().create_session(settings, fresh, {"x": (2, 4)}) as session:
        assert context_of(session).context == context
        assert context_of(session).queue == queue
        x = rows_of(2)
        np.testing.assert_allclose(session({"x": x})["y"], chain_of(x), atol=5e-3)
    other = BackendConfig(shared_context=cl.Context([device]))
    with pytest.raises(ConfigError, match="another shared_context contradicts it"):
        fresh.backend(
            ForwardType.OPENCL, ScheduleConfig(type=ForwardType.OPENCL, backend_config=other)
        )


# ------------------------------------------------------------------------- exit codes (row 51)
@row(51)
def test_a_failure_and_nothing_to_verify_have_their_exit_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "chain.onnx"
    path.write_bytes(CHAIN)
    verify = ["verify", str(path), "--device", OPENCL, "--precision", "high", "--no-latency"]
    assert main(verify) == 0
    assert main(["verify", str(tmp_path / "absent.onnx")]) == 2
    with monkeypatch.context() as patch:
        patch.setattr(opencl_backend.OpenCLBackend, "why_not", lambda *_: "switched off")
        assert main(verify) == 3
    right = opencl_context.source
    line = "UNARY(Relu, v < ZERO ? ZERO : v)"
    assert line in right("unary"), "the seeded fault needs another anchor"
    monkeypatch.setattr(
        opencl_context, "source", lambda f: right(f).replace(line, line.replace("<", ">"))
    )
    assert main(verify) == 1
    assert "OUT OF BOUNDS" in capsys.readouterr().out


# ------------------------------------------------------------------------- the end (row 61)
@row(61)
def test_close_is_bounded_while_the_device_is_stuck(
    fresh: Runtime, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    session = interpreter().create_session(config(OPENCL), fresh, {"x": (2, 4)})
    session({"x": rows_of(2)})
    patience_s = executing.CLOSE_TIMEOUT_S
    for module in (executing, opencl_backend):
        monkeypatch.setattr(module, "CLOSE_TIMEOUT_S", 0.1)
    with blocked(context_of(session)):
        session.run({"x": rows_of(2)})
        started = time.monotonic()
        session.close()
        fresh.close()
        assert time.monotonic() - started < patience_s
    assert "0.1 s" in caplog.text


@row(61)
@on_every_device
def test_closing_twice_is_harmless_and_use_after_close_raises(device: str):
    runtime = Runtime()
    session = interpreter().create_session(config(device), runtime, {"x": (2, 4)})
    x = rows_of(2)
    session({"x": x})
    for _ in range(2):
        session.close()
    for call in (
        lambda: session({"x": x}),
        lambda: session.run(),
        lambda: session.read("y"),
        lambda: session.read_later("y"),
        lambda: session.input(),
        lambda: session.output(),
        lambda: session.write("x", x),
        lambda: session.resize({"x": (3, 4)}),
        lambda: session.resize_tensor("x", (3, 4)),
        lambda: session.resize_session(),
        lambda: session.synchronize(),
        lambda: session.info(),
        lambda: session.run_with_callbacks(),
    ):
        with pytest.raises(ClosedError):
            call()
    for _ in range(2):
        runtime.close()
    with pytest.raises(ClosedError):
        interpreter().create_session(config(device), runtime)


@row(61)
@on_every_device
def test_things_are_freed_in_whatever_order_they_are_closed(device: str):
    order = np.random.default_rng(3)
    for _ in range(3):
        with Runtime() as runtime:
            read = interpreter()
            sessions = [
                read.create_session(config(device), runtime, {"x": (n, 4)}) for n in (5, 1, 9)
            ]
            first = sessions[0]({"x": rows_of(5)})
            things = [read, *sessions[1:]]
            if order.integers(2):
                things.append(runtime)
            for index in order.permutation(len(things)):
                if things[index] is not read:
                    things[index].close()
            np.testing.assert_array_equal(sessions[0]({"x": rows_of(5)})["y"], first["y"])
            backends = runtime._made()
            assert sum(b.live().buffers for b in backends) > 0
            sessions[0].close()
            runtime.close()
            assert sum(b.live().nbytes for b in backends) == 0


@row(61)
@on_every_device
def test_the_ends_of_with_blocks_close(device: str):
    with Runtime() as runtime, interpreter() as read:
        with read.create_session(config(device), runtime, {"x": (2, 4)}) as session:
            session({"x": rows_of(2)})
        assert session.closed
        other = read.create_session(config(device), runtime, {"x": (2, 4)})
    assert other.closed
    with pytest.raises(ClosedError):
        runtime.backend(ForwardType.CPU, ScheduleConfig())
