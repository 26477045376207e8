"""Two OpenCL devices in one session."""

import numpy as np
import pytest
from subjects import CHAIN, chain_of, config, interpreter, row, rows_of

from engine import GraphPath, PathMode


@row(5, 9, 57)
@pytest.mark.several_devices
def test_a_head_and_a_tail_run_on_two_devices_with_one_copy_through_the_host(two_opencl, fresh):
    first, second = two_opencl
    model = interpreter(CHAIN, cached=False)
    head = GraphPath(["x"], ["r"], PathMode.TENSOR)
    tail = GraphPath(["r"], ["y"], PathMode.TENSOR)
    x = rows_of(3)
    session = model.create_multi_path_session(
        [config(first, path=head), config(second, path=tail)], fresh, {"x": x.shape}
    )
    y = session({"x": x})["y"]
    np.testing.assert_allclose(y, chain_of(x), rtol=1e-6, atol=1e-6)
    info = session.info()
    assert len({op.backend for op in info.operators}) == 2
    (copy,) = info.copies
    assert (copy.tensor, copy.nbytes, copy.through_host) == ("r", x.nbytes, True)
    assert info.pipelines[0].device.platform != info.pipelines[1].device.platform
    session.close()
