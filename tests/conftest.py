"""A process that has compiled nothing yet; two OpenCL devices."""

import os

import pytest

from engine.backends.opencl import program_cache


@pytest.fixture
def nothing_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that earlier tests built are built again."""
    monkeypatch.setattr(program_cache, "BUILT", program_cache.Binaries(64 << 20))


@pytest.fixture
def two_opencl() -> list[str]:
    """Selectors of two OpenCL devices; `tox -e both` has them."""
    named = [d.strip() for d in os.environ.get("PARALLAX_DEVICES", "").split(",")]
    found = [d for d in named if d not in ("", "cpu")]
    if len(found) < 2:
        pytest.skip("PARALLAX_DEVICES names one OpenCL device; tox -e both runs it on two")
    return found[:2]
