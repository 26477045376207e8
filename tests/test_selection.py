"""Which device a selector names, over made-up machines; drivers that loaders do not find."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine import DeviceError
from engine.backends.opencl import drivers
from engine.backends.opencl.device import opencl
from engine.backends.opencl.selection import SHORT, TYPES, Listed, matches, one, shortest

ROOT = Path(__file__).resolve().parent.parent

POCL, INTEL, INTEL_GPU = (
    "Portable Computing Language",
    "Intel(R) OpenCL",
    "Intel(R) OpenCL Graphics",
)
NVIDIA, AMD = "NVIDIA CUDA", "AMD Accelerated Parallel Processing"
LONG = "Extremely Long Marketing Name of a Device " * 4


def machine(*devices: tuple[str, str, str]) -> list[Listed]:
    """Devices of (platform, name, type); one platform for each name of a platform."""
    platforms = list(dict.fromkeys(platform for platform, _, _ in devices))
    counts = dict.fromkeys(platforms, 0)
    listed = []
    for platform, name, kind in devices:
        numbers = f"{platforms.index(platform)}.{counts[platform]}"
        counts[platform] += 1
        listed.append(Listed(numbers, platform, name, kind))
    return listed


XEON = machine(
    (POCL, "pthread-Intel(R) Xeon(R) Processor", "cpu"),
    (INTEL, "Intel(R) Xeon(R) Processor", "cpu"),
)
EPYC = machine((POCL, "cpu-znver3-AMD EPYC", "cpu"), (INTEL, "AMD EPYC", "cpu"))
LAPTOP = machine(
    (POCL, "pthread-Intel(R) Core(TM) i7", "cpu"),
    (INTEL, "Intel(R) Core(TM) i7", "cpu"),
    (INTEL_GPU, "Intel(R) Iris(R) Xe Graphics [0x9a49]", "gpu"),
)
STATION = machine(
    (NVIDIA, "NVIDIA H200", "gpu"),
    (AMD, "gfx1100", "gpu"),
    ("rusticl", "AMD Radeon RX 7900 (radeonsi, navi31, LLVM 17)", "gpu"),
    ("Clover", "AMD Radeon RX 580", "gpu"),
    (POCL, "cpu-haswell-AMD Ryzen", "cpu"),
)
TWO_CARDS = machine((NVIDIA, "NVIDIA H200", "gpu"), (NVIDIA, "NVIDIA T4", "gpu"))
ODD = machine(("X", "Y", "accelerator"), (LONG + "platform", LONG, "gpu"), ("Z", "", ""))


@pytest.mark.parametrize(
    ("listed", "selector", "numbers"),
    [
        (XEON, "intel", "1.0"),
        (XEON, "pocl", "0.0"),
        (XEON, "portable", "0.0"),
        (XEON, "pthread", "0.0"),
        (XEON, " INTEL(R) OpenCL ", "1.0"),
        (XEON, "1.0", "1.0"),
        (EPYC, "intel", "1.0"),
        (EPYC, "amd epyc", "1.0"),
        (EPYC, "znver3", "0.0"),
        (LAPTOP, "intel(r) opencl", "1.0"),
        (LAPTOP, "graphics", "2.0"),
        (LAPTOP, "gpu", "2.0"),
        (LAPTOP, "[0x9a49]", "2.0"),
        (STATION, "nvidia", "0.0"),
        (STATION, "cuda", "0.0"),
        (STATION, "h200", "0.0"),
        (STATION, "amd", "1.0"),
        (STATION, "rusticl", "2.0"),
        (STATION, "clover", "3.0"),
        (STATION, "cpu", "4.0"),
        (TWO_CARDS, "t4", "0.1"),
        (TWO_CARDS, "0.1", "0.1"),
        (ODD, "x", "0.0"),
        (ODD, "y", "0.0"),
        (ODD, "marketing name of a device", "1.0"),
        (ODD, LONG, "1.0"),
        (ODD, "accelerator", "0.0"),
        (ODD, "z", "2.0"),
    ],
)
def test_a_selector_names_one_device(listed, selector, numbers):
    assert one(selector, listed).numbers == numbers


@pytest.mark.parametrize(
    ("listed", "selector", "numbers"),
    [
        (XEON, "cpu", ["0.0", "1.0"]),
        (XEON, "xeon", ["0.0", "1.0"]),
        (LAPTOP, "intel", ["1.0", "2.0"]),
        (STATION, "gpu", ["0.0", "1.0", "2.0", "3.0"]),
        (TWO_CARDS, "nvidia", ["0.0", "0.1"]),
    ],
)
def test_what_several_have_is_refused_with_these_and_no_others(listed, selector, numbers):
    with pytest.raises(
        DeviceError, match=f"{selector}' is ambiguous, {len(numbers)} dev"
    ) as failed:
        one(selector, listed)
    lines = str(failed.value).splitlines()[1:-1]
    assert lines == [f"  {d}" for d in listed if d.numbers in numbers]


@pytest.mark.parametrize("selector", ["", " ", "zzz", "9.9", "0.", "amd", "gpu", "portables"])
def test_what_none_has_is_refused_with_every_device(selector):
    with pytest.raises(DeviceError, match="matches no device") as failed:
        one(selector, XEON, ["one driver cannot be loaded"])
    text = str(failed.value)
    assert all(f"\n  {device}" in text for device in XEON)
    assert text.endswith("\n  one driver cannot be loaded")


def test_a_type_is_never_part_of_a_name():
    named = machine((POCL, "cpu-znver3-AMD EPYC", "cpu"), ("Y", "a cpu that is a gpu", "gpu"))
    assert [d.numbers for d in matches("cpu", named)] == ["0.0"]
    assert [d.numbers for d in matches("gpu", named)] == ["1.0"]
    assert matches("accelerator", named) == []
    assert set(TYPES) == {"cpu", "gpu", "accelerator"}


@pytest.mark.parametrize("listed", [XEON, EPYC, LAPTOP, STATION, TWO_CARDS, ODD])
def test_the_shortest_selector_of_a_device_means_that_device(listed):
    for device in listed:
        assert one(shortest(device, listed), listed) == device


def test_the_shortest_selector_is_a_short_name_where_there_is_one():
    assert [shortest(d, XEON) for d in XEON] == ["pocl", "intel"]
    assert [shortest(d, STATION) for d in STATION] == ["nvidia", "amd", "rusticl", "3.0", "pocl"]
    assert [shortest(d, TWO_CARDS) for d in TWO_CARDS] == ["0.0", "0.1"]
    assert "portable" not in SHORT


# ------------------------------------------------------------------------- what is visible
LIST = (
    "import json\n"
    "from engine.backends import registry\n"
    "print(json.dumps([[n, i.platform, i.name] for n, i in registry.opencl_devices()]))"
)
FIRST = (
    "import pyopencl\ntry: print(len(pyopencl.get_platforms()))\nexcept pyopencl.Error: print(0)\n"
)


def python(code: str, **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_what_is_visible_does_not_depend_on_who_used_pyopencl_first():
    (alone,) = python(LIST)
    count, after = python(FIRST + LIST)
    seen = json.loads(alone)
    assert seen == json.loads(after)
    assert len({numbers.partition(".")[0] for numbers, _, _ in seen}) >= int(count)


def test_the_loaders_platforms_keep_its_numbers():
    code = (
        "import pyopencl\n"
        "try: mine = pyopencl.get_platforms()\n"
        "except pyopencl.Error: mine = []\n"
        "from engine.backends.opencl import device\n"
        "theirs = dict(device.devices())\n"
        "for p, platform in enumerate(mine):\n"
        "    for d, each in enumerate(platform.get_devices()):\n"
        "        assert theirs[f'{p}.{d}'] == each\n"
        "print('same')\n"
    )
    assert python(code) == ["same"]


def test_a_driver_of_a_wheel_is_visible_unless_the_user_chose_the_drivers(monkeypatch):
    found = drivers.wheel_drivers()
    if not found:
        pytest.skip("no installed wheel brings a driver that loaders do not find; tox -e intel has")
    alone = "import os, pyopencl\nos.environ['PYOPENCL_HOME'] = '/nowhere'\n"
    for before in ("", alone):  # the second hides a driver that lies in pyopencl's own folder
        (seen,) = python(before + LIST)
        assert any(platform == "Intel(R) OpenCL" for _, platform, _ in json.loads(seen))
    monkeypatch.setenv("OCL_ICD_VENDORS", "/nowhere")
    assert drivers.wheel_drivers() == []


def test_a_driver_that_the_loader_lists_too_is_listed_once(monkeypatch):
    class Platform:
        def __init__(self, address: int) -> None:
            self.int_ptr = address

    class Cl:
        Error = RuntimeError

        def get_platforms(self) -> list[Platform]:
            return [Platform(16), Platform(32)]

    Cl.Platform = type("", (), {"from_int_ptr": staticmethod(Platform)})
    monkeypatch.setattr(drivers, "wheel_drivers", lambda: [Path("a"), Path("b")])
    opened = {Path("a"): ([32], ""), Path("b"): ([48], "")}
    monkeypatch.setattr(drivers, "_opened", opened.__getitem__)
    assert [p.int_ptr for p in drivers.platforms(Cl())] == [16, 32, 48]


def test_a_driver_that_cannot_be_loaded_is_said_where_devices_are_asked_for(
    monkeypatch, tmp_path, capsys
):
    from engine.backends import registry
    from parallax.cli import main

    broken = tmp_path / "libintelocl.so"
    broken.write_text("no library")
    monkeypatch.setattr(drivers, "wheel_drivers", lambda: [broken])
    assert drivers.problems(opencl())[0].startswith(
        f"{broken} is installed, but cannot be loaded ("
    )
    try:
        assert main(["devices"]) == 0
        assert f"{broken} is installed, but cannot be loaded" in capsys.readouterr().err
        with pytest.raises(DeviceError, match="is installed, but cannot be loaded"):
            registry.opencl_device("zzz")
    finally:
        drivers._opened.cache_clear()


def test_a_driver_without_devices_is_said_where_devices_are_asked_for(monkeypatch):
    """As PoCL, when it cannot write into its cache folder."""

    class Cl:
        class Error(Exception):
            pass

    class Silent:
        name = "Portable Computing Language "

        def get_devices(self):
            raise Cl.Error

    monkeypatch.setattr(drivers, "wheel_drivers", list)
    monkeypatch.setattr(drivers, "platforms", lambda cl: [Silent()])
    (said,) = drivers.problems(Cl)
    assert said.startswith("Portable Computing Language lists no device, as where")
    assert "POCL_CACHE_DIR" in said
