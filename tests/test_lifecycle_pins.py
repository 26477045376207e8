"""What random lives of sessions once found wrong, each in its smallest form."""

import numpy as np
import pytest

from engine.config import BackendConfig, MemoryMode, ScheduleConfig
from engine.errors import InputError
from engine.interpreter import Interpreter
from engine.ir import Graph, TensorType
from engine.ir.types import FLOAT

SHAPES = {"x": (2, 3)}
ONES = np.ones((2, 3), np.float32)


def model() -> Interpreter:
    """y = Relu(Flatten(x)) with a free batch."""
    graph = Graph("pins")
    x = graph.add_input("x", TensorType(FLOAT, ("batch", 3)))
    flat = graph.add_node("Flatten", [x], [("flat", None)], {"axis": 1}).outputs
    graph.outputs = graph.add_node("Relu", flat, [("y", None)]).outputs
    return Interpreter(graph)


def config(**options: object) -> ScheduleConfig:
    return ScheduleConfig(backend_config=BackendConfig(memory=MemoryMode.HIGH), **options)


@pytest.mark.parametrize("name", ["x", "y"])
def test_a_tensor_that_holds_nothing_is_not_read(name):
    with model().create_session(config(save_tensors=["x"]), shapes=SHAPES) as session:
        tensor = session.output(name)
        for read in (tensor.read, tensor.read_later, tensor.snapshot):
            with pytest.raises(InputError, match="holds no data"):
                read()
        with pytest.raises(InputError, match="holds no data"):
            session.take("x", tensor)
        with pytest.raises(InputError, match="not written"):
            session.run()


def test_a_session_is_released_as_often_as_one_likes():
    interpreter = model()
    session = interpreter.create_session()
    interpreter.release_session(session)
    interpreter.release_session(session)
    assert session.closed


def test_going_back_to_kept_shapes_finds_no_old_inputs_and_results():
    with model().create_session(config(), shapes=SHAPES) as session:
        session.run({"x": ONES})
        session.resize({"x": (5, 3)})
        assert session.resize(SHAPES).reused
        with pytest.raises(InputError, match="no run was completed"):
            session.read("y")
        with pytest.raises(InputError, match="not written"):
            session.run()


def test_memory_that_was_attached_before_a_resize_is_not_written_after_it():
    mine = ONES.copy()
    with model().create_session(config(), shapes=SHAPES) as session:
        session.attach("x", mine)
        session.resize({"x": (5, 3)})
        session.run({"x": 3 * ONES})
        np.testing.assert_array_equal(session.read("y"), 3 * ONES)
    np.testing.assert_array_equal(mine, ONES)


def test_a_saved_view_of_an_input_is_that_of_the_last_run():
    with model().create_session(config(save_tensors=["flat"]), shapes=SHAPES) as session:
        session.run({"x": ONES})
        session.write("x", 2 * ONES)
        np.testing.assert_array_equal(session.read("flat"), ONES)
