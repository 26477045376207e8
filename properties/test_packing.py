"""Whatever is packed into an arena, nothing that lives at the same time overlaps."""

import pytest

from properties.packing import check_packing

pytestmark = pytest.mark.device_free


@pytest.mark.parametrize("first", [0, 40, 80])
def test_blocks_that_live_at_the_same_time_lie_apart(first):
    for seed in range(first, first + 40):
        check_packing(seed)
