"""`dask worker --preload`: the worker's processes have a seeded fault, named in the environment."""

import os
from functools import partial

from conformance.bundles import replay, worker
from fixtures.bundles import planted

FAULT = os.environ["PARALLAX_TEST_FAULT"]
replay.FRESH = (planted.__file__, FAULT)
worker.PREPARE = partial(planted.Planted, FAULT)
