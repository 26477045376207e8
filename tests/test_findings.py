"""What was found in other engines: written down, and still so in the versions that are named."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

import pytest

from conformance.bundles.bundle import read
from conformance.bundles.failing import NothingVerified, Place
from conformance.bundles.replay import Outcome, replay
from conformance.engines.place import EnginePlace
from engine.config import Precision
from engine.runtime import Runtime

pytestmark = pytest.mark.device_free

ROOT = Path(__file__).parents[1]
BUNDLES = sorted((ROOT / "fixtures" / "bundles" / "engines").glob("*.zip"))
PAGES = sorted((ROOT / "docs" / "findings").glob("*.md"))
BY_PROCESSOR = {"onnxruntime-products-of-bytes"}
"""Wrong on some processors alone."""
NO_NUMBER_HERE = {
    *("onnxruntime-ReduceMean", "onnxruntime-ScatterElements", "onnxruntime-Sign"),
    "onnxruntime-ReduceSumSquare",
}
"""Right is NaN, which proves little, or a constant that is folded."""


@pytest.mark.parametrize("path", BUNDLES, ids=lambda path: path.stem)
def test_a_finding_is_right_here_and_wrong_where_it_was_found(path: Path) -> None:
    """Another version of the engine may be right; which one was wrong, the bundle says."""
    bundle = read(path)
    engine, found = bundle.facts["engine"], bundle.facts["device"]["version"]
    with Runtime() as runtime:
        cpu = Place(runtime, "cpu", Precision.HIGH)
        if path.stem in NO_NUMBER_HERE:
            with pytest.raises(NothingVerified):
                replay(bundle, cpu)
        else:
            here = replay(bundle, cpu)
            assert here.outcome is Outcome.PASSES, here.said
        try:
            installed = importlib.metadata.version(engine["name"])
        except importlib.metadata.PackageNotFoundError:
            return
        if installed != found or path.stem in BY_PROCESSOR:
            return
        there = replay(bundle, EnginePlace(runtime, engine["name"], engine["options"]))
    assert there.outcome is Outcome.SAME, there.said


def test_every_bundle_is_written_up_and_every_page_is_listed() -> None:
    text = "\n".join(page.read_text() for page in PAGES)
    named = set(re.findall(r"fixtures/bundles/engines/([\w-]+)\.zip", text))
    assert named == {path.stem for path in BUNDLES}
    index = (ROOT / "docs" / "findings" / "README.md").read_text()
    listed = set(re.findall(r"\]\(([\w-]+\.md)\)", index))
    assert listed == {page.name for page in PAGES} - {"README.md"}
