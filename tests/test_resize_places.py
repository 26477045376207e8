"""Places of Resize that are whole numbers come out as such, whatever is rounded on the way."""

import numpy as np
import pytest

from engine.ops import OPERATORS

pytestmark = pytest.mark.device_free


def test_a_place_on_a_pixel_takes_that_pixel() -> None:
    """3 pixels to round(1.5) = 2: the places are 0 and 2, as onnxruntime and the evaluator say."""
    x, sizes = np.array([[10.0, 0], [20, 0], [30, 0]]), np.array([6, 1])
    attributes = {
        "mode": "nearest",
        "nearest_mode": "ceil",
        "coordinate_transformation_mode": "half_pixel_symmetric",
        "keep_aspect_ratio_policy": "not_larger",
    }
    (y,) = OPERATORS["Resize"].reference((x[:, ::-1], None, None, sizes), attributes)
    np.testing.assert_array_equal(y, [[10], [30]])
