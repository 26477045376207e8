"""Options: each changes something, or is refused with a sentence; effective values are echoed."""

from __future__ import annotations

import dataclasses
import logging
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from conformance.verify import verify
from engine import (
    BackendConfig,
    ConfigError,
    DeviceMemoryError,
    ForwardType,
    GpuMode,
    GraphPath,
    InputError,
    MemoryMode,
    ParallaxWarning,
    PathMode,
    PowerMode,
    Precision,
    Runtime,
    ScheduleConfig,
)
from engine import config as configuration
from engine.backends import registry
from engine.backends.opencl.device import select
from parallax.cli import main
from tests.features.subjects import (
    CONVOLUTIONS,
    DEVICES,
    OPENCL,
    chain_of,
    config,
    context_of,
    image,
    interpreter,
    on_every_device,
    row,
    rows_of,
)
from tests.model_writing import model_bytes, node

BUFFER, IMAGE = GpuMode.MEMORY_BUFFER, GpuMode.MEMORY_IMAGE


# ------------------------------------------------------------------------- threads and modes
@row(10)
def test_threads_belong_to_the_cpu_and_modes_to_opencl():
    with pytest.raises(ConfigError, match=r"num_threads=2 applies to CPU only"):
        ScheduleConfig(type=ForwardType.OPENCL, strict=True, num_threads=2)
    with pytest.raises(ConfigError, match=r"mode=.* applies to OpenCL only"):
        ScheduleConfig(mode=GpuMode.TUNING_NONE)
    for number in (4, 1, 65):
        with pytest.raises(ConfigError, match="the number of CPU threads is num_threads"):
            ScheduleConfig(type=ForwardType.OPENCL, mode=number)
    for number in (0, -1, 1.5, True, "2"):
        with pytest.raises(ConfigError, match="expected an integer of at least 1"):
            ScheduleConfig(num_threads=number)


@row(10)
def test_threads_are_those_of_the_backend_and_echoed(
    fresh: Runtime, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("engine.backends.cpu.backend.cores", lambda: 4)
    settings = ScheduleConfig(num_threads=3)
    with interpreter().create_session(settings, fresh, {"x": (1, 4)}) as session:
        threads = session.info().pipelines[0].num_threads
        assert (threads.requested, threads.effective, threads.reason) == (3, 3, "")
        assert session.execution.backends["cpu"].team.size == 3


@row(10)
@pytest.mark.parametrize("order", [(3, None), (None, 3)])
def test_an_unset_number_of_threads_never_contradicts_a_set_one(
    order: tuple[int | None, ...], fresh: Runtime, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("engine.backends.cpu.backend.cores", lambda: 4)
    read, x = interpreter(CONVOLUTIONS), image(2, 32)
    sessions = [read.create_session(ScheduleConfig(num_threads=n), fresh) for n in order]
    first, second = [session({"x": x})["y"] for session in sessions]
    np.testing.assert_array_equal(first, second)
    told = {s.config.num_threads: s.info().pipelines[0].num_threads for s in sessions}
    assert (told[3].effective, told[3].reason) == (3, "")
    assert told[None].effective == 3
    assert told[None].reason == "another session of this Runtime set it"


@row(10)
def test_more_threads_than_cores_are_capped_with_a_warning(
    fresh: Runtime, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("engine.backends.cpu.backend.cores", lambda: 2)
    with pytest.warns(ParallaxWarning, match="num_threads=4096: 2 are used"):
        session = interpreter().create_session(ScheduleConfig(num_threads=4096), fresh)
    session({"x": rows_of(2)})
    threads = session.info().pipelines[0].num_threads
    assert (threads.requested, threads.effective) == (4096, 2)
    assert threads.reason == "as many as there are cores"
    assert session.execution.backends["cpu"].team.size == 2


@row(10, 21)
@pytest.mark.parametrize(
    ("mode", "words"),
    [
        (BUFFER, "exactly one TUNING level"),
        (GpuMode.TUNING_NONE | GpuMode.TUNING_FAST, "exactly one TUNING level"),
        (GpuMode.TUNING_NONE | BUFFER | IMAGE, "MEMORY_BUFFER or MEMORY_IMAGE, not both"),
        (GpuMode(1 << 5 | 1), "mean nothing"),
    ],
)
def test_modes_that_contradict_themselves_are_refused(mode: GpuMode, words: str):
    with pytest.raises(ConfigError, match=words):
        ScheduleConfig(type=ForwardType.OPENCL, mode=mode)


# ------------------------------------------------------------------------- what comes later
@row(11, 12, 13)
@pytest.mark.parametrize("level", ["FAST", "NORMAL", "WIDE", "HEAVY"])
def test_tuning_levels_that_do_not_exist_yet_are_refused(level: str):
    with pytest.raises(ConfigError, match="only TUNING_NONE exists in this version"):
        ScheduleConfig(type=ForwardType.OPENCL, mode=GpuMode[f"TUNING_{level}"])


@row(13)
def test_nothing_is_tuned_by_the_first_run(fresh: Runtime):
    with interpreter().create_session(config(OPENCL), fresh) as session:
        assert session.resize({"x": (2, 4)}).tuned == ()
        builds = fresh._made()[0].builds
        session.run({"x": rows_of(2)}, sync=True)
        assert fresh._made()[0].builds == builds


@row(19)
def test_compressed_weights_are_refused():
    with pytest.raises(ConfigError, match="memory=LOW keeps weights compressed"):
        BackendConfig(memory=MemoryMode.LOW)


@row(20)
@pytest.mark.parametrize("kind", [ScheduleConfig, BackendConfig])
def test_there_is_no_way_to_ask_for_winograd(kind: type):
    with pytest.raises(TypeError, match="winograd"):
        kind(winograd=1)


# ------------------------------------------------------------------------- memory mode (row 16)
@row(16)
def test_the_memory_mode_is_chosen_with_a_reason(runtime: Runtime):
    with pytest.raises(ConfigError, match="only MEMORY_BUFFER exists in this version"):
        ScheduleConfig(type=ForwardType.OPENCL, mode=GpuMode.TUNING_NONE | IMAGE)
    with interpreter().create_session(config(OPENCL), runtime, {"x": (1, 4)}) as session:
        mode = session.info().pipelines[0].mode
    assert mode.requested is None
    assert mode.effective == GpuMode.TUNING_NONE | BUFFER
    assert "MEMORY_BUFFER: every kernel works on buffers" in mode.reason
    asked = config(OPENCL, mode=GpuMode.TUNING_NONE | BUFFER)
    with interpreter().create_session(asked, runtime, {"x": (1, 4)}) as session:
        assert session.info().pipelines[0].mode.reason == ""


@row(16)
@on_every_device
def test_more_memory_than_a_device_gives_is_refused_with_both_sizes(device: str, fresh: Runtime):
    with interpreter().create_session(config(device), fresh, {"x": (2, 4)}) as session:
        expected = session({"x": rows_of(2)})["y"]
        with pytest.raises(DeviceMemoryError, match=r"asked for \d{13} bytes.* \d+"):
            session.resize({"x": (2**38, 4)})
        np.testing.assert_array_equal(session({"x": rows_of(2)})["y"], expected)


# ------------------------------------------------------------------------- precision (row 17)
@row(17)
@pytest.mark.parametrize("precision", Precision)
def test_the_effective_precision_is_reported_and_is_what_is_stored(
    precision: Precision, runtime: Runtime
):
    settings = config(OPENCL, precision)
    with interpreter().create_session(settings, runtime, {"x": (2, 4)}) as session:
        choice = session.info().pipelines[0].precision
        supports = session.info().device.supports_fp16
        low = precision is Precision.LOW
        assert choice.requested is precision
        assert choice.effective is (Precision.NORMAL if low and not supports else precision)
        assert ("cl_khr_fp16" in choice.reason) == (low and not supports)
        half = precision is not Precision.HIGH
        assert session.input().storage_dtype == (np.float16 if half else np.float32)
        x = rows_of(2)
        np.testing.assert_allclose(session({"x": x})["y"], chain_of(x), atol=2e-2)


@row(17)
def test_the_cpu_computes_in_float_and_says_so(runtime: Runtime):
    with interpreter().create_session(ScheduleConfig(), runtime, {"x": (1, 4)}) as session:
        choice = session.info().pipelines[0].precision
    assert (choice.requested, choice.effective) == (Precision.NORMAL, Precision.HIGH)
    assert "float32" in choice.reason
    with pytest.raises(ConfigError, match="precision=LOW: the CPU backend computes in float32"):
        config("cpu", Precision.LOW)


@row(17)
def test_overflow_and_nan_are_detected():
    data = model_bytes(
        [node("Mul", "x x", "q"), node("Sub", "q q", "z"), node("Add", "q k", "y")],
        {"x": (3,)},
        ["z", "y"],
        {"k": np.float32([7e4, 1, 1])},
    )
    feeds = {"x": np.float32([2, 300, 1])}
    report = verify(data, device=OPENCL, precisions=["normal", "high"], inputs=feeds)
    normal, high = report.precisions
    assert normal.overflows == 1, "q, where it begins: 90000 has no half"
    z, y = normal.outputs
    assert (z.name, z.nans, y.name, y.overflows) == ("z", 1, "y", 1)
    assert [(s.name, s.elements) for s in normal.saturated] == [("k", 1)]
    assert normal.nans == 1, "z: infinity - infinity"
    assert (high.overflows, high.nans, high.saturated) == (0, 0, ())


# ------------------------------------------------------------------------- integers (row 18)
BIG = np.array([[2**24 + 1, -(2**24) - 3, 2**31 - 5], [2049, -70001, 2**29 + 7]], np.int32)
SMALL = np.array([[1, 2, -4], [3, 0, 11]], np.int32)
WHERE = np.array([[True, False, True], [False, True, True]])
INTEGER_OPERATORS = {
    "Add": (node("Add", "a b", "y"), BIG + SMALL),
    "Sub": (node("Sub", "a b", "y"), BIG - SMALL),
    "Mul": (node("Mul", "b b", "y"), SMALL * SMALL),
    "Abs": (node("Abs", "a", "y"), np.abs(BIG)),
    "Neg": (node("Neg", "a", "y"), -BIG),
    "Max": (node("Max", "a b", "y"), np.maximum(BIG, SMALL)),
    "Min": (node("Min", "a b", "y"), np.minimum(BIG, SMALL)),
    "Concat": (node("Concat", "a b", "y", axis=1), np.concatenate([BIG, SMALL], 1)),
    "Transpose": (node("Transpose", "a", "y", perm=[1, 0]), BIG.T),
    "Gather": (node("Gather", "a i", "y", axis=1), BIG[:, [2, 0]]),
    "Where": (node("Where", "w a b", "y"), np.where(WHERE, BIG, SMALL)),
    "Slice": (node("Slice", "a one three one", "y"), BIG[:, 1:3]),
    "Reshape": (node("Reshape", "a flat", "y"), BIG.reshape(-1)),
    "ReduceMax": (node("ReduceMax", "a", "y", axes=[1], keepdims=0), BIG.max(1)),
    "Cast": (node("Cast", "a", "y", to=TensorProto.INT64), BIG.astype(np.int64)),
    "Identity": (node("Identity", "a", "y"), BIG),
}
INTEGER_CONSTANTS = {
    "i": np.array([2, 0], np.int64),
    "w": WHERE,
    "one": np.array([1], np.int64),
    "three": np.array([3], np.int64),
    "flat": np.array([-1], np.int64),
}


@row(18)
@pytest.mark.parametrize("op_type", INTEGER_OPERATORS)
def test_large_integers_survive_at_every_precision(op_type: str, runtime: Runtime):
    operator, expected = INTEGER_OPERATORS[op_type]
    chained = [operator, node("Identity", "y", "same")]
    constants = {k: v for k, v in INTEGER_CONSTANTS.items() if k in operator.input}
    inputs = {name: (2, 3) for name in ("a", "b") if name in operator.input}
    read = interpreter(
        model_bytes(chained, inputs, ["y", "same"], constants, dtype=TensorProto.INT32)
    )
    feeds = {name: {"a": BIG, "b": SMALL}[name] for name in inputs}
    for device in DEVICES:
        for precision in Precision if device != "cpu" else [Precision.HIGH]:
            with read.create_session(config(device, precision), runtime) as session:
                for got in session(feeds).values():
                    np.testing.assert_array_equal(got, expected, strict=True)


@row(18)
def test_large_integers_survive_a_chain_and_two_precisions(runtime: Runtime):
    chain = [
        node("Add", "a b", "s"),
        node("Transpose", "s", "t", perm=[1, 0]),
        node("Concat", "t t", "c", axis=0),
        node("Max", "c zero", "m"),
        node("Sub", "m zero", "y"),
    ]
    constants = {"zero": np.zeros((), np.int32)}
    inputs = {"a": (2, 3), "b": (2, 3)}
    read = interpreter(model_bytes(chain, inputs, ["y"], constants, dtype=TensorProto.INT32))
    wanted = np.maximum(np.concatenate([(BIG + SMALL).T] * 2), 0)
    for precision in Precision:
        with read.create_session(config(OPENCL, precision), runtime) as session:
            np.testing.assert_array_equal(session({"a": BIG, "b": SMALL})["y"], wanted)
            assert session.input("a").storage_dtype == np.int32


# ------------------------------------------------------------------------- types (rows 21, 22)
@row(21)
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"type": 0}, "type: got 0, expected a ForwardType, or 'cpu', 'opencl', 'auto'"),
        (
            {"backup_type": Precision.LOW},
            "backup_type: got <Precision.LOW: 'low'>, expected a Forw",
        ),
        ({"backend_config": Precision.LOW}, "expected a BackendConfig"),
        ({"path": "the_r"}, "path: got 'the_r', expected a GraphPath, or None"),
        ({"save_tensors": "y"}, r"got 'y', expected a sequence of names, such as \('a', 'b'\)"),
        ({"strict": "no"}, "strict: got 'no', expected True or False"),
        ({"device": 0}, "device: got 0, expected the name or the numbers of an OpenCL device"),
    ],
)
def test_an_option_of_the_wrong_type_is_refused(options: dict, words: str):
    with pytest.raises(ConfigError, match=words):
        ScheduleConfig(**options)


@row(21)
@pytest.mark.parametrize(
    ("kind", "option", "given", "member"),
    [
        (ScheduleConfig, "type", "opencl", ForwardType.OPENCL),
        (ScheduleConfig, "backup_type", " CPU ", ForwardType.CPU),
        (BackendConfig, "precision", "High", Precision.HIGH),
        (BackendConfig, "memory", "HIGH", MemoryMode.HIGH),
        (BackendConfig, "power", "low", PowerMode.LOW),
    ],
)
def test_a_member_may_be_given_by_its_name_and_is_read_as_the_member(
    kind: type, option: str, given: str, member: object
):
    by_name, by_member = kind(**{option: given}), kind(**{option: member})
    assert getattr(by_name, option) is member
    assert by_name == by_member
    assert hash(by_name) == hash(by_member)
    assert dataclasses.replace(by_name) == pickle.loads(pickle.dumps(by_name)) == by_member


@row(21)
def test_modes_and_the_mode_of_a_path_may_be_given_by_name():
    both = GpuMode.TUNING_NONE | GpuMode.MEMORY_BUFFER
    for text in ("tuning_none+memory_buffer", "TUNING_NONE | memory_buffer"):
        assert ScheduleConfig(type="opencl", mode=text).mode == both
    with pytest.raises(ConfigError, match="only TUNING_NONE exists in this version"):
        ScheduleConfig(type="opencl", mode="tuning_fast")
    with pytest.raises(ConfigError, match=r"mode 'tuning_non': .*did you mean tuning_none"):
        ScheduleConfig(type="opencl", mode="tuning_non")
    assert GraphPath(["a"], ["b"], "tensor") == GraphPath(("a",), ("b",), PathMode.TENSOR)


@row(21)
def test_unknown_values_and_options_raise():
    for kind in (ForwardType, Precision, MemoryMode, PowerMode, PathMode):
        with pytest.raises(ValueError, match="vulkan"):
            kind("vulkan")
    with pytest.raises(TypeError, match="session_mode"):
        ScheduleConfig(session_mode=3)
    for name in ("precision", "memory", "power"):
        with pytest.raises(ConfigError, match=f"{name} 'fast': expected one of .*normal"):
            BackendConfig(**{name: "fast"})
    with pytest.raises(ConfigError, match="expected one of high, normal, low; did you mean high"):
        BackendConfig(precision="hihg")


@row(21)
@pytest.mark.parametrize("kind", [ScheduleConfig, BackendConfig])
def test_every_option_is_documented_with_what_it_applies_to(kind: type):
    text = (kind.__doc__ or "") + configuration.__doc__
    enums = {"precision": Precision, "memory": MemoryMode, "power": PowerMode}
    for option in dataclasses.fields(kind):
        described = re.search(rf"\b`?{option.name}`?:? ", text) or enums.get(option.name)
        assert described, option.name
        assert enums.get(option.name, kind).__doc__


@row(22)
def test_effective_values_are_echoed_for_every_option(runtime: Runtime):
    settings = config(OPENCL, Precision.NORMAL, mode=GpuMode.TUNING_NONE | BUFFER)
    with interpreter().create_session(settings, runtime, {"x": (1, 4)}) as session:
        info = session.info()
    (pipeline,) = info.pipelines
    assert pipeline.backend == "opencl"
    assert pipeline.device.name == select(OPENCL).name.strip()
    assert pipeline.precision.effective is Precision.NORMAL is info.precision
    assert pipeline.mode.effective == settings.mode == info.mode
    assert (pipeline.inputs, pipeline.outputs) == (("x",), ("y",))
    assert pipeline.memory.effective is MemoryMode.NORMAL
    assert pipeline.power.effective is PowerMode.NORMAL
    assert info.device == pipeline.device


@row(22)
@pytest.mark.parametrize("kind", [ScheduleConfig, BackendConfig])
def test_an_unknown_hint_is_refused(kind: type):
    with pytest.raises(TypeError, match="max_tuning_number"):
        kind(max_tuning_number=5)


# ------------------------------------------------------------------------- power (row 60)
@row(60)
def test_power_is_a_priority_where_the_device_has_them_and_refused_elsewhere(fresh: Runtime):
    has = "cl_khr_priority_hints" in select(OPENCL).extensions.split()
    for power in (PowerMode.LOW, PowerMode.HIGH):
        settings = ScheduleConfig(
            type=ForwardType.OPENCL, device=OPENCL, backend_config=BackendConfig(power=power)
        )
        with Runtime() as runtime:
            if has:
                backend = runtime.backend(settings.type, settings)
                assert backend.context.power is power
            else:
                with pytest.raises(ConfigError, match=r"power=.* needs cl_khr_priority_hints"):
                    runtime.backend(settings.type, settings)
    with interpreter().create_session(config(OPENCL), fresh, {"x": (1, 4)}) as session:
        assert context_of(session).power is PowerMode.NORMAL


@row(60)
def test_power_on_the_cpu_is_a_number_of_threads(fresh: Runtime, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("engine.backends.cpu.backend.cores", lambda: 4)
    low = ScheduleConfig(backend_config=BackendConfig(power=PowerMode.LOW))
    with interpreter().create_session(low, fresh, {"x": (1, 4)}) as session:
        threads = session.info().pipelines[0].num_threads
    assert threads.effective == registry.cpu_threads(None, PowerMode.LOW) < registry.cpu_threads()
    assert threads.reason == "half of the cores"
    with pytest.raises(ConfigError, match="power=HIGH"):
        ScheduleConfig(backend_config=BackendConfig(power=PowerMode.HIGH))


# ------------------------------------------------------------------------- cache (rows 14, 15)
ONE_KERNEL = model_bytes([node("Relu", "x", "y")], {"x": (2, 4)}, ["y"])


def cached_session(path: Path, data: bytes = ONE_KERNEL):
    read = interpreter(data)
    runtime = Runtime()
    read.set_cache_file(path)
    return read, read.create_session(config(OPENCL), runtime), runtime


@row(14)
def test_the_cache_file_is_written_once_found_again_and_explained(tmp_path: Path):
    path = tmp_path / "kernels"
    read, session, runtime = cached_session(path)
    expected = session({"x": rows_of(2)})["y"]
    assert not path.exists(), "no first result waits for the file"
    cold = read.update_cache_file()
    assert cold.misses
    assert not cold.hits
    assert cold.unsaved == 0
    written = path.read_bytes()
    changed = path.stat().st_mtime_ns
    read.update_cache_file()
    assert path.stat().st_mtime_ns == changed, "nothing is new, so nothing is written"
    session.close()
    runtime.close()
    read, session, runtime = cached_session(path)
    warm = read.explain_cache()
    assert warm.loaded
    assert (warm.hits, warm.misses) == (cold.misses, ())
    assert f"{len(warm.hits)} kernels were found" in str(warm)
    assert path.read_bytes() == written
    np.testing.assert_array_equal(session({"x": rows_of(2)})["y"], expected)
    runtime.close()


@row(14)
def test_a_session_that_ran_writes_the_cache_file_when_it_is_closed(tmp_path: Path):
    path = tmp_path / "kernels"
    read, session, runtime = cached_session(path)
    session.close()
    assert not path.exists(), "what was never launched is not compiled to the end"
    session = read.create_session(config(OPENCL), runtime)
    session({"x": rows_of(2)})
    assert not path.exists()
    session.close()
    assert "was written and holds" in str(read.explain_cache())
    assert cached_session(path)[0].explain_cache().misses == ()
    runtime.close()


@row(14)
def test_updating_the_cache_of_a_session_that_never_ran_launches_its_kernels(tmp_path: Path):
    read, session, runtime = cached_session(tmp_path / "kernels")
    assert read.update_cache_file(session).unsaved == 0
    assert session.execution.launched
    with pytest.raises(InputError, match="not written"):
        session.run()
    runtime.close()


@row(14)
def test_updating_a_cache_leaves_inputs_and_results_alone(tmp_path: Path):
    read, session, runtime = cached_session(tmp_path / "kernels")
    session.write("x", rows_of(2))
    read.update_cache_file(session)
    session.run()
    expected = session.read("y")
    read.update_cache_file(session)
    np.testing.assert_array_equal(session.read("y"), expected)
    runtime.close()


@row(14)
def test_the_cache_of_another_interpreters_session_is_not_updated(tmp_path: Path):
    read, _, runtime = cached_session(tmp_path / "kernels")
    other = interpreter(ONE_KERNEL).create_session(config(OPENCL), runtime)
    with pytest.raises(InputError, match="not made by this interpreter"):
        read.update_cache_file(other)
    assert not (tmp_path / "kernels").exists()
    runtime.close()


AT_EXIT = """
import sys
import numpy as np
from tests.features.test_options import ONE_KERNEL, cached_session
read, session, runtime = cached_session(sys.argv[1])
session({"x": np.zeros((2, 4), np.float32)})
print(len(read.explain_cache().misses))
"""


@row(14)
def test_a_process_that_ends_without_closing_anything_writes_the_cache_file(tmp_path: Path):
    command = [sys.executable, "-c", AT_EXIT, str(tmp_path / "kernels")]
    first, second = (subprocess.check_output(command, text=True) for _ in range(2))
    assert (int(first) > 0, int(second)) == (True, 0)


@row(14)
def test_a_cache_file_is_replaced_as_a_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "kernels"
    cached_session(path)[0].update_cache_file()
    before = path.read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise OSError("the disk is full")

    for name in ("replace", "rename"):
        monkeypatch.setattr(f"os.{name}", fail)
    other = model_bytes([node("Tanh", "x", "y")], {"x": (2, 4)}, ["y"])
    read, session, runtime = cached_session(path, other)
    assert session({"x": rows_of(2)})["y"].shape == (2, 4), "a session needs no cache"
    with pytest.raises(ConfigError, match="cannot save the kernel cache"):
        read.update_cache_file()
    runtime.close()
    assert path.read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} <= {"kernels", "kernels.lock"}


@row(15)
@pytest.mark.parametrize("damage", ["magic", "index", "binary", "short"])
def test_a_damaged_cache_is_ignored_with_a_reason_and_rebuilt(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
):
    path = tmp_path / "kernels"
    _, session, runtime = cached_session(path)
    expected = session({"x": rows_of(2)})["y"]
    session.close()
    runtime.close()
    good = path.read_bytes()
    at = {"magic": 0, "index": 90, "binary": len(good) // 2}.get(damage)
    if at is not None:
        path.write_bytes(good[:at] + bytes([good[at] ^ 0x55]) + good[at + 1 :])
    else:
        path.write_bytes(good[: len(good) // 3])
    with caplog.at_level(logging.WARNING, "parallax.cache"):
        read, session, runtime = cached_session(path)
    report = read.explain_cache()
    assert report.reason or report.rejected
    reasons = " ".join((report.reason, *report.rejected.values()))
    assert re.search("checksum|truncated|schema version|first bytes|the file has not", reasons)
    assert caplog.records
    np.testing.assert_array_equal(session({"x": rows_of(2)})["y"], expected)
    session.close()
    runtime.close()
    again, _, runtime = cached_session(path)
    assert again.explain_cache().misses == ()
    runtime.close()


@row(45)
def test_there_is_no_way_to_ask_for_a_chrome_trace(capsys: pytest.CaptureFixture[str]):
    assert main(["bench", "absent.onnx", "--chrome-trace", "t.json"]) == 2
    assert "--chrome-trace" in capsys.readouterr().err
