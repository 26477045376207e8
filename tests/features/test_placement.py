"""Where operators run: AUTO, backups, strictness, copies at borders, several paths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import engine.auto
from conformance.devices import first_working
from conformance.inputs import Feeds
from conformance.verify import verify
from engine import (
    BackendConfig,
    ConfigError,
    DeviceError,
    ForwardType,
    GraphPath,
    PathMode,
    PowerMode,
    Precision,
    Runtime,
    ScheduleConfig,
    UnsupportedError,
)
from engine.backends import registry
from engine.backends.opencl import context as opencl_context
from engine.backends.opencl import device as discovery
from engine.backends.opencl import drivers
from perf.latency import measure
from tests.features.subjects import (
    CHAIN,
    CONVOLUTIONS,
    OPENCL,
    chain_of,
    config,
    image,
    interpreter,
    row,
    rows_of,
)
from tests.model_writing import model_bytes, node

RELU, WRONG_RELU = "UNARY(Relu, v < ZERO ? ZERO : v)", "UNARY(Relu, v > ZERO ? ZERO : v)"
"""A line of kernels/unary.cl, and a seeded fault in its place."""
AUTO = ScheduleConfig(type=ForwardType.AUTO)


# ------------------------------------------------------------------------- AUTO (row 7)
@row(7)
def test_auto_chooses_a_device_that_computes_rightly_and_says_why(fresh: Runtime):
    with interpreter().create_session(AUTO, fresh, {"x": (2, 4)}) as session:
        x = rows_of(2)
        np.testing.assert_allclose(session({"x": x})["y"], chain_of(x), atol=5e-3)
        (said,) = session.info().choices
        name = session.info().device.name
    assert said.startswith("AUTO chose OpenCL: ")
    assert name in said
    assert "computed a probe rightly" in said


@row(7)
def test_auto_goes_on_to_the_next_device_and_says_what_was_wrong_with_the_first(
    fresh: Runtime, monkeypatch: pytest.MonkeyPatch
):
    right, tried = engine.auto.probe, []

    def probe(backend):
        tried.append(backend.info)
        if len(tried) == 1:
            raise DeviceError("the first one is broken")
        right(backend)

    found = registry.opencl_devices()
    monkeypatch.setattr(registry, "opencl_devices", lambda: [*found, found[-1]])
    monkeypatch.setattr(engine.auto, "probe", probe)
    backend = fresh.backend(ForwardType.AUTO, AUTO)
    (said,) = fresh.explanations
    assert backend.info == tried[1]
    assert f"{tried[0].name} cannot be used (the first one is broken)" in said
    assert fresh.backend(ForwardType.AUTO, AUTO) is backend
    assert len(tried) == 2


@row(7)
def test_auto_takes_the_cpu_when_every_device_gives_wrong_answers(
    fresh: Runtime, monkeypatch: pytest.MonkeyPatch
):
    right = opencl_context.source
    assert RELU in right("unary"), "the seeded fault needs another anchor"
    monkeypatch.setattr(
        opencl_context, "source", lambda family: right(family).replace(RELU, WRONG_RELU)
    )
    with interpreter().create_session(AUTO, fresh, {"x": (2, 4)}) as session:
        info = session.info()
    assert info.pipelines[0].backend == "cpu"
    assert "AUTO chose CPU: no OpenCL device works" in info.choices[0]
    assert "gives wrong answers" in info.choices[0]


@row(7)
def test_auto_without_any_device_takes_the_cpu_for_the_true_reason(
    fresh: Runtime, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(drivers, "platforms", lambda cl: [])
    with interpreter().create_session(AUTO, fresh, {"x": (2, 4)}) as session:
        (said,) = session.info().choices
    assert said.startswith("AUTO chose CPU: no OpenCL device was found")
    assert "works" not in said


def wishing(device: str | None = None, **preferences: Any) -> ScheduleConfig:
    return ScheduleConfig(
        type=ForwardType.AUTO, device=device, backend_config=BackendConfig(**preferences)
    )


@row(7)
@pytest.mark.parametrize(
    ("wish", "error", "words"),
    [
        (wishing("zzz"), DeviceError, "device 'zzz' matches no device"),
        (wishing("9.9"), DeviceError, "device '9.9' matches no device"),
        (wishing(shared_context=(7, 0)), DeviceError, "there is no device 7.0"),
        (wishing(shared_context="mine"), ConfigError, "expected a pyopencl.Context"),
    ],
)
def test_auto_refuses_a_device_that_was_asked_for_and_is_not_there(
    fresh: Runtime, wish: ScheduleConfig, error: type[Exception], words: str
):
    with pytest.raises(error, match=words):
        interpreter().create_session(wish, fresh)
    assert fresh.explanations == []


@row(7)
def test_auto_refuses_an_ambiguous_device(fresh: Runtime, monkeypatch: pytest.MonkeyPatch):
    found = discovery.devices()
    monkeypatch.setattr(discovery, "devices", lambda: [*found, ("7.0", found[0][1])])
    with pytest.raises(DeviceError, match="is ambiguous, 2 devices match"):
        fresh.backend(ForwardType.AUTO, wishing(found[0][1].platform.name))


@row(7)
def test_auto_refuses_a_device_that_was_asked_for_and_gives_wrong_answers(
    fresh: Runtime, monkeypatch: pytest.MonkeyPatch
):
    right = opencl_context.source
    monkeypatch.setattr(
        opencl_context, "source", lambda family: right(family).replace(RELU, WRONG_RELU)
    )
    with pytest.raises(DeviceError, match="gives wrong answers"):
        fresh.backend(ForwardType.AUTO, wishing(OPENCL))


@row(7)
@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"power": PowerMode.HIGH}, "power=HIGH: the CPU backend uses all cores"),
        ({"precision": Precision.LOW}, "precision=LOW: the CPU backend computes in float32"),
        ({"shared_context": (0, 0)}, "this device cannot do that"),
    ],
)
def test_auto_refuses_what_no_device_and_not_the_cpu_can_honour(
    fresh: Runtime, monkeypatch: pytest.MonkeyPatch, option: dict, words: str
):
    def refuse(*_: Any) -> None:
        raise ConfigError("this device cannot do that")

    monkeypatch.setattr(registry, "opencl_context", refuse)
    assert fresh.backend(ForwardType.AUTO, AUTO).name == "cpu", "nothing was asked for here"
    with pytest.raises(ConfigError, match=words) as failed:
        fresh.backend(ForwardType.AUTO, wishing(**option))
    if "shared_context" not in option:
        assert "; AUTO found nothing but the CPU: no OpenCL device works" in str(failed.value)
        for _, info in registry.opencl_devices():
            why = f"{info.platform} / {info.name} cannot be used (this device cannot do that)"
            assert why in str(failed.value)


@row(7)
def test_auto_honours_low_power_by_the_cpu_where_no_device_has_priorities(
    fresh: Runtime, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: Any) -> None:
        raise ConfigError("no priorities")

    monkeypatch.setattr(registry, "opencl_context", refuse)
    backend = fresh.backend(ForwardType.AUTO, wishing(power=PowerMode.LOW))
    assert backend.name == "cpu"
    assert "no priorities" in fresh.explanations[0]


@row(7)
def test_auto_works_in_a_context_that_is_lent_whatever_it_chose_before(fresh: Runtime):
    cl, device = discovery.opencl(), discovery.select(OPENCL)
    context = cl.Context([device])
    lent = fresh.backend(ForwardType.AUTO, wishing(shared_context=context))
    assert lent.context.context == context
    with Runtime() as other:
        other.backend(ForwardType.AUTO, AUTO)
        with pytest.raises(DeviceError, match=r"there is no device 7\.0"):
            other.backend(ForwardType.AUTO, wishing(shared_context=(7, 0)))


@row(7)
@pytest.mark.parametrize(
    ("gpu", "half", "first"), [(True, False, "1.0"), (False, True, "1.0"), (False, False, "0.0")]
)
def test_the_best_device_is_a_gpu_or_else_one_that_knows_half(
    monkeypatch: pytest.MonkeyPatch, gpu: bool, half: bool, first: str
):
    plain = replace(registry.opencl_devices()[0][1], is_cpu=True, supports_fp16=False)
    better = replace(plain, is_cpu=not gpu, supports_fp16=half)
    listed = [("0.0", plain), ("1.0", better), ("2.0", plain)]
    monkeypatch.setattr(registry, "opencl_devices", lambda: listed)
    tried = []

    def refuse(selector: str | None, *_: Any) -> None:
        tried.append(selector)
        raise DeviceError("not here")

    monkeypatch.setattr(registry, "opencl_context", refuse)
    with Runtime() as runtime:
        assert runtime.backend(ForwardType.AUTO, AUTO).name == "cpu"
        with pytest.raises(DeviceError, match="no OpenCL device works"):
            first_working(runtime)
    assert tried[0] == tried[3] == first
    monkeypatch.setattr(discovery, "devices", lambda: [(n, n) for n, _ in listed])
    monkeypatch.setattr(discovery, "describe", dict(listed).__getitem__)
    assert discovery.select(None) == first


# ------------------------------------------------------------------------- fallback (rows 8, 9)
@row(8)
def test_strict_refuses_any_fallback_by_name(lacking: list[str], runtime: Runtime):
    lacking[:] = ["Softmax"]
    with pytest.raises(UnsupportedError, match=r"Softmax 'the_s' .*strict.*switched off here"):
        interpreter().create_session(config(OPENCL, strict=True), runtime, {"x": (2, 4)})
    lacking.clear()
    with interpreter().create_session(config(OPENCL, strict=True), runtime, {"x": (2, 4)}) as s:
        assert s.info().fallbacks == []
        assert s.info().pipelines[0].backups == ()


@row(8)
def test_without_strict_a_fallback_is_in_the_report(lacking: list[str], runtime: Runtime):
    lacking[:] = ["Softmax"]
    with interpreter().create_session(config(OPENCL), runtime, {"x": (2, 4)}) as session:
        fallbacks = session.info().fallbacks
        assert session.info().pipelines[0].backups == ("cpu",)
    assert [(op.name, op.backend) for op in fallbacks] == [("the_s", "cpu")]
    assert "switched off here" in fallbacks[0].reason


@row(8)
def test_a_fallback_is_said_once_in_the_log(
    lacking: list[str], runtime: Runtime, caplog: pytest.LogCaptureFixture
):
    lacking[:] = ["Softmax"]
    with interpreter().create_session(config(OPENCL), runtime, {"x": (2, 4)}) as session:
        session.resize({"x": (3, 4)})
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "1 of 3 operators" in record.getMessage()
    assert "Softmax 'the_s' (opencl: switched off here)" in record.getMessage()


@row(9)
def test_the_placement_names_operator_backend_reason_copies_and_bytes(
    lacking: list[str], runtime: Runtime
):
    lacking[:] = ["Softmax"]
    x = rows_of(6)
    with interpreter().create_session(config(OPENCL), runtime, {"x": x.shape}) as session:
        info = session.info()
        np.testing.assert_allclose(session({"x": x})["y"], chain_of(x), rtol=1e-5)
    assert [(op.name, op.backend, bool(op.reason)) for op in info.operators] == [
        ("the_r", "opencl", False),
        ("the_s", "cpu", True),
        ("the_y", "opencl", False),
    ]
    assert [(c.tensor, c.source, c.target, c.nbytes, c.through_host) for c in info.copies] == [
        ("r", "opencl", "cpu", x.nbytes, True),
        ("s", "cpu", "opencl", x.nbytes, True),
    ]


@row(9)
def test_a_border_between_precisions_of_one_device_is_crossed_on_the_device(runtime: Runtime):
    configs = [
        config(OPENCL, Precision.HIGH, path=tensors("x", "r")),
        config(OPENCL, Precision.NORMAL, path=tensors("r", "y")),
    ]
    x = rows_of(6)
    read = interpreter()
    with read.create_multi_path_session(configs, runtime, {"x": x.shape}) as session:
        (copy,) = session.info().copies
        got = session({"x": x})["y"]
    assert (copy.tensor, copy.through_host) == ("r", False)
    np.testing.assert_allclose(got, chain_of(x), atol=5e-3)


@row(9)
def test_paths_of_different_precision_share_one_arena_and_no_bytes_that_are_live(fresh: Runtime):
    """Tensor "r" is read again after a path at another precision has run."""
    read = interpreter(
        model_bytes(
            [
                node("Relu", "x", "r"),
                node("Sigmoid", "r", "s"),
                node("Tanh", "s", "t"),
                node("Add", "t r", "y"),
            ],
            {"x": ("n", 4)},
            ["y"],
        )
    )
    parts = [("x", "r"), ("r", "t"), ("t r", "y")]
    precisions = [Precision.HIGH, Precision.NORMAL, Precision.HIGH]
    configs = [config(OPENCL, p, path=tensors(*names)) for p, names in zip(precisions, parts)]
    x = rows_of(500)
    with read.create_multi_path_session(configs, fresh) as session:
        report = session.resize({"x": x.shape})
        assert sum(report.reallocated_nbytes.values()) == fresh.live().nbytes
        assert session.info().device_nbytes == fresh.live().nbytes
        got = session({"x": x})["y"]
    r = np.maximum(x, 0)
    np.testing.assert_allclose(got, np.tanh(1 / (1 + np.exp(-r))) + r, atol=2e-3)


@row(9)
def test_the_profiler_sees_the_copies(lacking: list[str], runtime: Runtime):
    lacking[:] = ["Softmax"]
    x = rows_of(6)
    with interpreter().create_session(config(OPENCL), runtime, {"x": x.shape}) as session:
        latency = measure(session, runs=3, feeds={"x": x})
    assert latency.profile is not None
    spans = [span.title for span in latency.profile.spans]
    assert [title.split()[0] for title in spans] == ["Relu", "Copy", "Softmax", "Copy", "Add"]


# ------------------------------------------------------------------------- several paths (row 5)
def tensors(inputs: str, outputs: str) -> GraphPath:
    return GraphPath(inputs.split(), outputs.split(), PathMode.TENSOR)


@row(5)
def test_backbone_on_opencl_low_and_head_on_the_cpu(runtime: Runtime):
    read, shapes = interpreter(CONVOLUTIONS), {"x": (2, 3, 9, 9)}
    configs = [
        config(OPENCL, Precision.LOW, path=tensors("x", "f")),
        config("cpu", path=tensors("f", "y")),
    ]
    x = image(2, 9)
    with read.create_session(config(), runtime, shapes) as cpu:
        expected = cpu({"x": x})["y"]
    with read.create_multi_path_session(configs, runtime, shapes) as session:
        got = session({"x": x})["y"]
        info = session.info()
    backbone, head = info.pipelines
    assert (backbone.backend, backbone.inputs, backbone.outputs) == ("opencl", ("x",), ("f",))
    assert (head.backend, head.inputs, head.outputs) == ("cpu", ("f",), ("y",))
    assert backbone.precision.requested is Precision.LOW
    assert head.precision.effective is Precision.HIGH
    where = {op.type: op.backend for op in info.operators}
    assert where["Conv"] == "opencl"
    assert where["Softmax"] == where["GlobalAveragePool"] == "cpu"
    assert [(c.tensor, c.source, c.target) for c in info.copies] == [("f", "opencl", "cpu")]
    assert not info.fallbacks
    within(expected, got, bound_of(read, {"x": x}, Precision.LOW))


def bound_of(read, feeds: Feeds, precision: Precision) -> float:
    """What the whole model errs on the device, verified within the derived tolerances, twofold."""
    report = verify(read, device=OPENCL, precisions=[precision], inputs=feeds)
    assert report.exit_code == 0
    (only,) = report.precisions
    return 2 * only.outputs[0].max_abs + 1e-6


def within(expected: np.ndarray, got: np.ndarray, bound: float) -> None:
    assert np.abs(got.astype(np.float64) - expected).max() <= bound
    assert bound < 0.05


@row(5)
@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ("x r", "s y", "path 1 needs 's', which no earlier path computes"),
        ("s y", "x s", "put path 1"),
        ("x s", "r y", "is in path 0 .* and in path 1"),
    ],
)
def test_paths_that_do_not_connect_are_refused(first: str, second: str, words: str):
    configs = [config(path=tensors(*names.split())) for names in (first, second)]
    with pytest.raises(ConfigError, match=words):
        interpreter(CHAIN).create_multi_path_session(configs, shapes={"x": (2, 4)})


@row(5)
def test_several_configurations_need_paths_of_their_own():
    with pytest.raises(ConfigError, match="each needs a path"):
        interpreter().create_multi_path_session([config(), config()])
    with pytest.raises(ConfigError, match="at least one"):
        interpreter().create_multi_path_session([])


@row(5)
def test_options_of_each_path_are_its_own(lacking: list[str], runtime: Runtime):
    """Strictness refuses the fallback of its own path only."""
    lacking[:] = ["Softmax"]

    def made(strict: tuple[bool, bool]) -> Callable[[], object]:
        configs = [
            config(OPENCL, path=tensors(*names), strict=s)
            for names, s in zip((("x", "r"), ("r", "y")), strict)
        ]
        return lambda: interpreter().create_multi_path_session(configs, runtime, {"x": (2, 4)})

    made((False, False))()
    made((True, False))()
    for strict in ((True, True), (False, True)):
        with pytest.raises(UnsupportedError, match=r"Softmax 'the_s' cannot run.*switched off"):
            made(strict)()
