"""`python -m modelgrid.gateway`: settles which form of the modules runs before any is loaded; the rest is `process`."""

import sys

from modelgrid.gateway import compiled

if __name__ == "__main__":
    compiled.use()

    from modelgrid.gateway.process import main

    sys.exit(main())
