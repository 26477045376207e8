"""A process that has compiled nothing yet."""

import pytest

from engine.backends.opencl import program_cache


@pytest.fixture
def nothing_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that earlier tests built are built again."""
    monkeypatch.setattr(program_cache, "BUILT", program_cache.Binaries(64 << 20))
