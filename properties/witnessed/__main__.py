"""`python -m properties.witnessed`; see `main.py`."""

import sys

from properties.witnessed.main import main

sys.exit(main())
