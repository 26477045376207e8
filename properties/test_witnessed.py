"""An engine that is not ours agrees on every operator, attribute by attribute."""

from __future__ import annotations

import json
import os
from fnmatch import fnmatchcase

import pytest

from engine.config import ForwardType, ScheduleConfig
from properties.devices import runtime
from properties.operator_table import witnessed, written
from properties.witnessed import COUNTS
from properties.witnessed.features import features, versions
from properties.witnessed.main import is_wrong, main, reason, verdict
from properties.witnessed.unwitnessed import UNWITNESSED
from properties.witnessed.walk import Walk, agreeing, every_feature, walked

pytestmark = pytest.mark.device_free

SEEDS = {"nightly": 8}.get(os.environ.get("HYPOTHESIS_PROFILE", "ci"), 1)


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize(
    ("op_type", "version"), [(name, k) for name in walked() for k in versions(name)]
)
def test_every_feature_is_witnessed_refused_or_known_not_to_be(
    op_type: str, version: int, seed: int
) -> None:
    walk = Walk(runtime().backend(ForwardType.CPU, ScheduleConfig()), seed)
    heard = {feature: walk.hear(feature) for feature in features(op_type, version)}
    COUNTS.update(verdict(feature, h) for feature, h in heard.items())
    wrong = {str(f): (h.verdict, reason(f, h)) for f, h in heard.items() if is_wrong(f, h)}
    assert wrong == {}
    if op_type in witnessed() and version == versions(op_type)[-1] and not seed:
        assert agreeing(heard.values()) == written(op_type), "docs/operators.md"


def test_every_entry_of_the_unwitnessed_is_a_feature() -> None:
    names = [str(feature) for feature in every_feature()]
    assert [p for p in UNWITNESSED if not any(fnmatchcase(name, p) for name in names)] == []


def test_the_command_prints_features_verdicts_and_counts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--operator", "Gelu", "--operator", "BatchNormalization", "--all"]) == 0
    printed = capsys.readouterr().out
    assert "witnessed: Gelu-20: approximate=tanh (onnxruntime, evaluator)" in printed
    assert "refused: BatchNormalization-7: spatial=0" in printed
    assert main(["--operator", "Gelu", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "parallax.witnessed/1"
    verdicts = {f["feature"]: f["verdict"] for f in document["features"]}
    assert verdicts["Gelu-20: T of float32"] == "witnessed"
    with pytest.raises(SystemExit, match="2"):
        main(["--operator", "Gulp"])
