"""Bugs that were do not come back; `pytest` begins with these."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.bundles.bundle import read
from conformance.bundles.failing import NothingVerified, Place
from conformance.bundles.replay import Outcome, replay
from engine.config import Precision
from engine.runtime import Runtime
from fixtures.bundles import build_bundles
from fixtures.bundles.recorded import RECORDED
from tests.command_line import DEVICES, OPENCL

FOLDER = Path(build_bundles.__file__).parent
CORPUS = sorted(p.stem for p in FOLDER.glob("*.zip"))
SIZE_NBYTES_MAX = 30_000


def outcome(name: str, device: str) -> Outcome | None:
    """None where nothing is verified, which is right away from where the bug showed."""
    bundle = read(FOLDER / f"{name}.zip")
    with Runtime() as runtime:
        place = Place(runtime, device, Precision.HIGH)
        is_home = place.backend.info.platform == bundle.facts["device"]["platform"]
        try:
            return replay(bundle, place).outcome
        except NothingVerified:
            assert not is_home
            return None


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", CORPUS)
def test_a_bug_that_was_does_not_come_back(name: str, device: str) -> None:
    assert outcome(name, device) in (Outcome.PASSES, None)


@pytest.mark.uses_opencl
@pytest.mark.parametrize("name", CORPUS)
def test_a_bundle_of_the_corpus_knows_its_bug(name: str) -> None:
    bug = RECORDED[name]
    device = "cpu" if bug.device == "cpu" else OPENCL
    with bug.fault.plant():
        found = outcome(name, device)
    if found is Outcome.PASSES and bug.of_one_driver:
        pytest.skip("another driver than the one that has it")
    assert found is Outcome.SAME


@pytest.mark.device_free
def test_the_corpus_is_small_and_complete() -> None:
    assert set(RECORDED) == set(CORPUS)
    for name in CORPUS:
        path = FOLDER / f"{name}.zip"
        assert path.stat().st_size < SIZE_NBYTES_MAX
        bundle = read(path)
        assert bundle.facts["origin"] == RECORDED[name].what
        assert bundle.facts["device"]["selector"] == RECORDED[name].device
        assert bundle.passing is not None
