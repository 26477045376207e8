"""`python -m properties.hostile`; see `main.py`."""

import signal
import sys
from importlib.util import find_spec

if __name__ == "__main__":
    if find_spec("onnxruntime") is None:
        print(
            'properties.hostile: needs onnxruntime: pip install "parallax-engine[test]"',
            file=sys.stderr,
        )
        sys.exit(2)
    from properties.hostile.main import main

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was counted is kept
    sys.exit(main())
