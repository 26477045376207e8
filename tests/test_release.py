"""What a session held on a shared runtime goes with it."""

import gc
import os

import numpy as np
import pytest

from engine.config import BackendConfig, ForwardType, Precision, ScheduleConfig
from engine.interpreter import Interpreter
from engine.runtime import Runtime
from fixtures.models.corpus import by_name

pytestmark = pytest.mark.one_driver

OPENCL = next(
    d for d in os.environ.get("PARALLAX_DEVICES", "cpu,portable").split(",") if d.strip() != "cpu"
)


def test_weights_are_shared_by_sessions_and_freed_with_the_last_one():
    model = by_name("tiny_resnet")
    config = ScheduleConfig(
        type=ForwardType.OPENCL,
        device=OPENCL,
        backend_config=BackendConfig(precision=Precision.HIGH),
    )
    feeds = model.feeds(0)
    shapes = {name: array.shape for name, array in feeds.items()}
    with Runtime() as runtime:
        packed = runtime.backend(config.type, config)._packed
        interpreter = Interpreter.from_file(model.path)
        first = interpreter.create_session(config, runtime, shapes)
        count = len(packed)
        assert count > 0
        second = interpreter.create_session(config, runtime, shapes)
        assert len(packed) == count
        before = first(feeds)
        first.close()
        del first
        gc.collect()
        assert len(packed) == count
        for name, array in second(feeds).items():
            np.testing.assert_array_equal(array, before[name])
        second.close()
        del second
        gc.collect()
        assert len(packed) == 0
