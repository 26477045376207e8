"""`python tests/planted.py FAULT ARGUMENTS`: the command line with a seeded fault in it.

Fresh processes that it starts have the fault too.
"""

import sys

from conformance.bundles import replay
from parallax.cli import main
from properties.faults import select

if __name__ == "__main__":
    (fault,) = select([sys.argv[1]])
    replay.FRESH = (__file__, sys.argv[1])
    with fault.plant():
        sys.exit(main(sys.argv[2:]))
