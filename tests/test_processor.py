"""What drivers for processors are told of them, from the processor's flags alone."""

import dataclasses

import pytest

from engine import DeviceInfo, ForwardType, Precision, ScheduleConfig
from engine.backends import registry
from engine.backends.opencl import device as discovery
from engine.backends.opencl import intel_target, processor, program_cache
from engine.backends.opencl.intel_target import EXTENSIONS, VARIABLE
from engine.backends.protocol import LOW_IS_SLOW
from engine.config import BackendConfig
from parallax import devices
from tests.features.subjects import OPENCL, config, interpreter

pytestmark = pytest.mark.one_driver

AMX = {"amx_tile", "amx_int8", "amx_bf16"}
OLDER = processor.AVX512 | {"avx512_bf16", "avx512_vnni", "gfni"}


@pytest.mark.parametrize(
    ("flags", "environment", "name"),
    [
        (EXTENSIONS, {}, "sapphirerapids"),
        (EXTENSIONS | AMX, {"PATH": "/bin"}, "sapphirerapids"),
        (EXTENSIONS, {VARIABLE: "skx"}, None),
        (EXTENSIONS, {VARIABLE: ""}, None),
        (EXTENSIONS - {"avx512_fp16"}, {}, None),
        (EXTENSIONS - {"avx512_vbmi2"}, {}, None),
        (OLDER, {}, None),
        (frozenset(), {}, None),
    ],
)
def test_intels_runtime_is_told_of_half_where_the_processor_has_it(flags, environment, name):
    assert intel_target.wanted(flags, environment) == name


def test_what_is_set_is_in_the_environment_and_in_the_notes(monkeypatch):
    monkeypatch.setattr(intel_target, "_set_here", [])
    monkeypatch.setattr(processor, "flags", lambda: EXTENSIONS)
    environment = {"PATH": "/bin"}
    intel_target.set_target(environment)
    assert environment == {"PATH": "/bin", VARIABLE: "sapphirerapids"}
    assert intel_target.note().startswith(f"{VARIABLE}=sapphirerapids was set: the processor has")
    intel_target.set_target(environment)
    assert intel_target.note().count("was set") == 1


def test_what_the_user_set_stays_and_is_no_note(monkeypatch):
    monkeypatch.setattr(intel_target, "_set_here", [])
    monkeypatch.setattr(processor, "flags", lambda: EXTENSIONS)
    environment = {VARIABLE: "skx"}
    intel_target.set_target(environment)
    assert environment == {VARIABLE: "skx"}
    assert intel_target.note() == ""


def test_compiled_kernels_belong_to_the_target_they_were_compiled_for(monkeypatch):
    info = discovery.describe(discovery.select(OPENCL))
    assert info.is_cpu
    monkeypatch.delenv(VARIABLE, raising=False)
    plain = program_cache.key("unary", "text", (), info)
    monkeypatch.setenv(VARIABLE, "skx")
    assert program_cache.key("unary", "text", (), info) != plain
    monkeypatch.delenv(VARIABLE)
    assert program_cache.key("unary", "text", (), info) == plain
    monkeypatch.setattr(processor, "flags", lambda: frozenset({"sse2"}))
    assert program_cache.key("unary", "text", (), info) != plain


# ------------------------------------------------------------------------- emulated half
@pytest.mark.parametrize(
    ("cpuinfo", "emulates"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx512f avx512_fp16\nflags\t: fpu\n", False),
        ("processor\t: 0\nflags\t\t: fpu f16c avx512f avx512_bf16\n", True),
        ("processor\t: 0\nFeatures\t: fp asimd fphp asimdhp\n", False),
        ("processor\t: 0\nFeatures\t: fp asimd\n", True),
        ("processor\t: 0\n", False),
        ("", False),
    ],
)
def test_half_is_emulated_where_the_flags_lack_it(cpuinfo, emulates):
    assert processor.emulates_half(processor.flags_in(cpuinfo)) is emulates


@pytest.mark.parametrize("flags", [OLDER, EXTENSIONS])
def test_a_device_says_whether_its_half_is_emulated(monkeypatch, flags):
    monkeypatch.setattr(processor, "flags", lambda: flags)
    info = discovery.describe(discovery.select(OPENCL))
    assert info.half_is_emulated == (info.supports_fp16 and flags is OLDER)


DEVICE = registry.cpu_backend().info


@pytest.mark.parametrize("emulated", [True, False])
def test_devices_says_where_low_is_slower_than_high(monkeypatch, capsys, emulated):
    note = "VARIABLE=value was set: [a reason]"
    fake = dataclasses.replace(
        DEVICE, name="D", supports_fp16=True, half_is_emulated=emulated, notes=(note,)
    )
    monkeypatch.setattr(registry, "opencl_devices", lambda: [("0.0", fake)])
    monkeypatch.setattr(registry, "opencl_selectors", lambda: {"0.0": "amd"})
    assert devices.notes(fake) == [*([LOW_IS_SLOW] if emulated else []), note]
    from parallax.cli import main

    assert main(["devices"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert (LOW_IS_SLOW in printed) is emulated
    assert note in printed
    assert "select --device amd" in printed


@pytest.mark.parametrize("emulated", [True, False])
@pytest.mark.parametrize("precision", list(Precision))
def test_info_and_auto_say_at_low_that_it_is_slower_than_high(monkeypatch, precision, emulated):
    right = discovery.describe

    def describe(device: object) -> DeviceInfo:
        info = right(device)
        return dataclasses.replace(info, half_is_emulated=emulated and info.supports_fp16)

    monkeypatch.setattr(discovery, "describe", describe)
    asked = BackendConfig(precision=precision)
    auto = ScheduleConfig(type=ForwardType.AUTO, device=OPENCL, backend_config=asked)
    for settings in (config(OPENCL, precision), auto):
        with interpreter().create_session(settings, shapes={"x": (1, 4)}) as session:
            info = session.info()
        slow = precision is Precision.LOW and info.device.half_is_emulated
        assert slow == (precision is Precision.LOW and emulated and info.device.supports_fp16)
        assert (info.pipelines[0].precision.reason == LOW_IS_SLOW) == slow
        assert any(LOW_IS_SLOW in said for said in info.choices) == (slow and settings is auto)
