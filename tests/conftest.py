"""A process that has compiled nothing yet; two OpenCL devices; what users install; faults."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from conformance.bundles import replay, worker
from engine.backends.opencl import program_cache
from fixtures.bundles import planted
from tests.distributions import Distributions, build, install


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


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    """Built once."""
    return build(tmp_path_factory.mktemp("distributions"))


@pytest.fixture(scope="session")
def installed(distributions: Distributions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `python` of an environment in which the wheel is installed."""
    return install(distributions.wheel, tmp_path_factory.mktemp("installed") / "environment")


@pytest.fixture
def planting(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], AbstractContextManager[Any]]:
    """A seeded fault by name, in this process and in the fresh ones that it starts."""

    def plant(name: str) -> AbstractContextManager[Any]:
        monkeypatch.setattr(replay, "FRESH", (planted.__file__, name))
        monkeypatch.setattr(worker, "PREPARE", partial(planted.Planted, name))
        return planted.fault_named(name).plant()

    return plant
