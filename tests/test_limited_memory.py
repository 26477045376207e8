"""A process that may not have more memory refuses in words; no driver takes it down."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.sharing_models import DEVICES

ALLOCATE = """
import resource, sys
from conformance.devices import config_of, target_of
from engine.auto import probe
from engine.errors import DeviceMemoryError
from engine.runtime import Runtime

with Runtime() as runtime:
    target = target_of(sys.argv[1], runtime)
    backend = runtime.backend(target[0], config_of(target))
    probe(backend)
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    limit = used + (256 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    backend.allocate(64 << 20)
    try:
        backend.allocate(1 << 30)
    except DeviceMemoryError as error:
        print(error)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit is measured on Linux")
@pytest.mark.parametrize("device", [d for d in DEVICES if d != "cpu"])
def test_a_buffer_beyond_the_limit_is_refused_with_its_size(device: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ALLOCATE, device], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"asked for {1 << 30} bytes" in done.stdout
