"""The memory plan of every corpus model stays close to what no plan can go below."""

import os

import pytest

from engine.config import ForwardType, ScheduleConfig
from engine.interpreter import Interpreter
from engine.runtime import Runtime
from fixtures.models.corpus import CORPUS, CorpusModel

pytestmark = pytest.mark.one_driver

DEVICES = [d.strip() for d in os.environ.get("PARALLAX_DEVICES", "cpu,portable").split(",")]
RATIO_MAX = 1.10


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "model", [m for m in CORPUS if not m.name.startswith("light_")], ids=lambda m: m.name
)
def test_the_arena_stays_within_a_tenth_of_the_largest_live_set(
    model: CorpusModel, device: str
) -> None:
    config = (
        ScheduleConfig()
        if device == "cpu"
        else ScheduleConfig(type=ForwardType.OPENCL, device=device)
    )
    interpreter = Interpreter.from_file(model.path)
    with Runtime() as runtime:
        for which, shapes in enumerate(model.shapes):
            feeds = model.feeds(0, which)
            with interpreter.create_session(config, runtime, shapes) as session:
                session.resize({}, {name: feeds[name] for name in session.deciding})
                info = session.info()
                for name, memory in info.memory.items():
                    limit = RATIO_MAX * memory.lower_bound_nbytes
                    assert memory.arena_nbytes <= limit, (name, shapes)
